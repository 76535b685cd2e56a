"""User text never becomes query syntax: whatever is typed, the shape of a body stays the same."""

from __future__ import annotations

import json

import pytest
from clause_examples import server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import QueryError
from opensearch_splade.query import (
    boosted,
    constant_boost,
    feature_boost,
    fit,
    knn,
    knn_within,
    logarithm,
    match,
    match_none,
    multi_match,
    neural_sparse,
    neural_sparse_by_analyzer,
    neural_sparse_by_model,
    saturation,
    sigmoid,
    user_query,
    weighted_terms,
)
from opensearch_splade.query.dsl import Q
from opensearch_splade.query.limits import fit_text
from opensearch_splade.types import DOT

ON = server((3, 8))
SYNTAX = [
    '"}}, {"match_all": {}}',
    'a" OR *:*',
    "text^9",
    "{{x}}",
    "sparse.*",
    "\\",
    "_exists_:a",
    "$ref",
    "hybrid",
    "__",
]
TYPED = st.one_of(st.text(), st.sampled_from(SYNTAX), st.lists(st.sampled_from(SYNTAX)).map(" ".join))
TEXT_BUILDERS = {
    "match": match,
    "multi_match": lambda text: multi_match(text, {"title": 2, "text": 1}),
    "by model": lambda text: neural_sparse_by_model(text, "MODEL", capabilities=ON),
    "by analyzer": lambda text: neural_sparse_by_analyzer(text, "bert-uncased", capabilities=ON),
    "as a filter": lambda text: user_query(Q("term", host=text)),
}


def emptied(node, value):
    """The body with one value taken out wherever it stands, and how often it stood there."""
    if node == value and isinstance(node, str):
        return None, 1
    if isinstance(node, dict):
        pairs = {key: emptied(each, value) for key, each in node.items()}
        return {key: pair[0] for key, pair in pairs.items()}, sum(pair[1] for pair in pairs.values())
    if isinstance(node, list):
        parts = [emptied(each, value) for each in node]
        return [part[0] for part in parts], sum(part[1] for part in parts)
    return node, 0


@pytest.mark.parametrize("name", TEXT_BUILDERS)
@given(typed=TYPED.filter(str.strip))
def test_text_stands_in_one_value(name, typed):
    """Of two questions the bodies differ in exactly one value, which is the question to the letter."""
    marked = "\ue000 mark \ue001"  # like no text that a builder writes itself
    build = TEXT_BUILDERS[name]
    shape, places = emptied(build(marked), marked)
    assert places == 1
    body = json.loads(json.dumps(build(typed)))
    assert body == json.loads(json.dumps(build(marked)).replace(json.dumps(marked), json.dumps(typed)))
    assert shape.keys() == body.keys()


@pytest.mark.parametrize("name", ["match", "multi_match", "by model", "by analyzer"])
@pytest.mark.parametrize("typed", [{"query": "a", "fuzziness": 2}, ["a"], None, 7, b"a"])
def test_what_is_no_text_is_refused(name, typed):
    """An object where the text belongs, say from a decoded request, would be syntax."""
    with pytest.raises(QueryError, match="not a string"):
        TEXT_BUILDERS[name](typed)


@given(st.dictionaries(TYPED.map(lambda name: name.replace(".", DOT)), st.floats(0.01, 64), min_size=1))
def test_features_name_features_only(features):
    """A feature may be called anything: it is the end of a field's name, or the key of a token, and nothing more."""
    tokens = neural_sparse(features, capabilities=ON)
    assert tokens == {"neural_sparse": {"sparse": {"query_tokens": features}}}
    clauses = weighted_terms(features)["bool"]["should"]
    fields = [each["rank_feature"]["field"] for each in clauses]
    assert [field.rpartition(".")[2] for field in fields] == list(features)  # as the server takes it apart
    assert {field.rpartition(".")[0] for field in fields} == {"sparse"}
    assert all(each.keys() == {"rank_feature"} for each in clauses)
    assert Q(tokens).to_dict() == tokens


@given(st.dictionaries(st.text("ab.<dot>", max_size=6), st.floats(-2, 200, width=32)))
def test_no_feature_is_lost_unreported(features):
    """Whichever way dots are mended, weighted terms take the result, and every feature is accounted for."""
    for dots in ("alias", "leave out"):
        fitted = fit(features, max_clauses=3, dots=dots)
        weighted_terms(fitted.features, max_clauses=3)
        merged = 0 if dots == "leave out" else len(features) - len({name.replace(".", DOT) for name in features})
        assert len(fitted.features) + fitted.dropped + fitted.truncated + fitted.dotted + merged == len(features)
        assert fitted.aliased + fitted.dotted == sum("." in name for name in features)
        assert bool(fitted.notices) == (fitted.features.items() != features.items())


@given(TYPED, st.integers(1, 5))
def test_a_text_is_cut_never_changed(typed, room):
    """What ``fit_text`` keeps is the beginning of the question."""
    assert typed.startswith(fit_text(typed, max_clauses=room)[0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: multi_match("a", {}),
        lambda: multi_match("a", {"title^3": 1}),
        lambda: multi_match("a", {"title": float("nan")}),
        lambda: neural_sparse_by_model("a", "", capabilities=ON),
        lambda: neural_sparse_by_analyzer("a", "", capabilities=ON),
        lambda: weighted_terms({"a": 1.0, "b": 1.0}, max_clauses=1),
        lambda: neural_sparse({f"f{i}": 1.0 for i in range(1025)}, capabilities=ON),
        lambda: saturation(0),
        lambda: logarithm(0.5),
        lambda: sigmoid(1, float("inf")),
        lambda: feature_boost("popularity", saturation(), -1),
        lambda: constant_boost({"term": {"a": 1}}, float("nan")),
        lambda: boosted({"hybrid": {"queries": []}}, []),
        lambda: knn([1.5], 1, kind="byte", capabilities=ON),
        lambda: knn([128], 1, kind="binary", capabilities=ON),
        lambda: knn_within([1.0], capabilities=ON),
        lambda: knn_within([1.0], min_score=1, max_distance=1, capabilities=ON),
        lambda: knn_within([1.0], min_score=0, capabilities=ON),
        lambda: knn_within([1.0], max_distance=float("nan"), capabilities=ON),
        lambda: knn_within([1], min_score=1, kind="binary", capabilities=ON),
        lambda: user_query({}),
        lambda: user_query({"term": {"a": 1}, "match_all": {}}),
        lambda: user_query([{"match_all": {}}]),
        lambda: user_query({"term": {"a": float("nan")}}),
        lambda: user_query({"term": {"a": object()}}),
        lambda: user_query({"bool": {"must": [{"hybrid": {"queries": []}}]}}),
    ],
)
def test_what_the_server_would_refuse_or_misread_is_refused(call):
    """Each builder refuses arguments out of bounds before anything is sent."""
    with pytest.raises(QueryError):
        call()


@pytest.mark.parametrize("typed", ["", " \n"])
def test_an_empty_question_matches_nothing(typed):
    """The server answers an empty ``query_text`` with an error, and an empty ``match`` with no hits."""
    assert neural_sparse_by_model(typed, "MODEL", capabilities=ON) == match_none()
    assert neural_sparse_by_analyzer(typed, "standard", capabilities=ON) == match_none()


def test_a_query_of_the_users_is_a_copy():
    """Changing the dictionary afterwards does not change what was built; a field called hybrid is just a field."""
    mine = {"term": {"hybrid": "yes"}}
    copy = user_query(mine)
    mine["term"]["hybrid"] = "no"
    assert copy == {"term": {"hybrid": "yes"}}


@pytest.mark.server
def test_the_real_node_takes_any_text(client, index_name):
    """Whatever is typed, the node answers, and finds nothing in an index that holds only another word."""
    fields = {"text": {"type": "text"}, "title": {"type": "text"}, "sparse": {"type": "rank_features"}}
    client.indices.create(index=index_name, body={"mappings": {"properties": fields}})
    client.index(index=index_name, id="1", body={"text": "zzyzx", "sparse": {"zzyzx": 1.0}}, refresh=True)

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(TYPED.filter(lambda typed: "zzyzx" not in typed.lower()))
    def law(typed):
        bodies = [match(typed), multi_match(typed, {"title": 2, "text": 1})]
        bodies.append(neural_sparse_by_analyzer(typed, "standard", capabilities=ON))
        bodies.append(weighted_terms({typed.replace(".", DOT): 1.0}))
        for body in bodies:
            assert client.search(index=index_name, body={"query": body})["hits"]["hits"] == [], body

    law()
