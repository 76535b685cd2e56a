"""Clauses: the exact DSL, what they refuse, and that the server scores them as the exact dot product."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import CapabilityError, ClusterError, QueryError
from opensearch_splade.index_meta import DenseMeta, SparseMeta
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.query import filtered, fit, knn, match, match_none, neural_sparse, search_body, weighted_terms
from opensearch_splade.query.explanation import as_stored
from opensearch_splade.query.limits import MAX_NEURAL_SPARSE_WEIGHT, as_float32
from opensearch_splade.transport import asking
from opensearch_splade.types import Capabilities

ALL = Capabilities((3, 6, 0), frozenset({"opensearch-neural-search", "opensearch-knn", "mapper-extras"}))
NAMES = ["run", "##ning", "<dot>", "naïve", "🙂", "a b", 'quo"te', "back\\slash", "field*", "汉", "x:y", "+", "/", "{}"]


def test_import_is_light():
    """Importing ``query`` loads no model library, no array library, no tokenizer and no client."""
    heavy = ["torch", "onnxruntime", "transformers", "numpy", "tokenizers", "opensearchpy", "pydantic"]
    code = f"import sys, opensearch_splade.query; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_match_keeps_the_text_in_a_value():
    """Query syntax in the user's text stays text."""
    assert match('a" OR {"b": *') == {"match": {"text": {"query": 'a" OR {"b": *'}}}


def test_weighted_terms_is_a_should_of_linear_rank_features():
    """Each feature is one clause that scores boost times stored weight."""
    assert weighted_terms({"run": 2.5, "##s": 1.0}) == {
        "bool": {
            "should": [
                {"rank_feature": {"field": "sparse.run", "boost": 2.5, "linear": {}}},
                {"rank_feature": {"field": "sparse.##s", "boost": 1.0, "linear": {}}},
            ]
        }
    }


def test_neural_sparse_takes_raw_tokens():
    """The tokens stand under the field, with their weights."""
    assert neural_sparse({"a.b": 64.0}, capabilities=ALL) == {
        "neural_sparse": {"sparse": {"query_tokens": {"a.b": 64.0}}}
    }


def test_no_features_match_nothing():
    """A question without any known feature is a question without hits, not an error."""
    assert weighted_terms({}) == neural_sparse({}, capabilities=ALL) == match_none() == {"match_none": {}}


def test_weighted_terms_refuses_dots_by_name():
    """A dotted feature would silently match nothing, so it is refused and named."""
    with pytest.raises(QueryError, match=r"feature '\.\.\.' has a dot"):
        weighted_terms({"fine": 1.0, "...": 1.0})


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan"), float("inf"), 1e-50, 1e39])
def test_clauses_refuse_weights_the_server_refuses(weight):
    """Weights are positive and finite as the server reads them, in 32 bits, or the feature is named."""
    with pytest.raises(QueryError, match="'bad'"):
        weighted_terms({"bad": weight})
    with pytest.raises(QueryError, match="'bad'"):
        neural_sparse({"bad": weight}, capabilities=ALL)


def test_neural_sparse_refuses_more_than_64():
    """The error says the bound and what mends it."""
    with pytest.raises(QueryError, match=r"\(0, 64\]; limits.fit"):
        neural_sparse({"bad": 64.5}, capabilities=ALL)


@pytest.mark.parametrize(
    ("capabilities", "message"),
    [
        (Capabilities((2, 13, 0), ALL.plugins), "needs OpenSearch 2.14 or later; this server is 2.13.0"),
        (Capabilities((3, 6, 0)), "needs the plugin opensearch-neural-search"),
    ],
)
def test_neural_sparse_needs_version_and_plugin(capabilities, message):
    """A server that cannot take raw tokens is not asked."""
    with pytest.raises(CapabilityError, match=message):
        neural_sparse({"a": 1.0}, capabilities=capabilities)


def test_knn_clause_and_its_bounds():
    """The vector, k and filter stand where the k-NN plugin reads them; bad ones are refused."""
    tag = {"term": {"metadata.lang": "en"}}
    assert knn([0.6, 0.8], 7, filter=tag, capabilities=ALL) == {
        "knn": {"dense": {"vector": [0.6, 0.8], "k": 7, "filter": tag}}
    }
    for vector, k in (([], 1), ([float("nan")], 1), ([1.0], 0), ([1.0], 10_001)):
        with pytest.raises(QueryError):
            knn(vector, k, capabilities=ALL)
    with pytest.raises(CapabilityError, match="opensearch-knn"):
        knn([1.0], 1, capabilities=Capabilities((3, 6, 0)))


def test_filter_goes_into_knn_and_around_the_rest():
    """A filter beside kNN would thin out its k hits, so it goes inside, together with one that is there."""
    one, two = {"term": {"a": 1}}, {"term": {"b": 2}}
    assert filtered(match("x"), one) == {"bool": {"must": [match("x")], "filter": [one]}}
    assert filtered(knn([1.0], 5, capabilities=ALL), one) == knn([1.0], 5, filter=one, capabilities=ALL)
    both = {"bool": {"filter": [one, two]}}
    assert filtered(knn([1.0], 5, filter=one, capabilities=ALL), two) == knn([1.0], 5, filter=both, capabilities=ALL)


# On the real node


def fill(client, index, documents, dimension=0):
    """Make an index of ours and put documents into it."""
    body = index_body(
        sparse=SparseMeta("s1", "tiny", "siamese"),
        dense=DenseMeta("d1", "mini", dimension) if dimension else None,
        capabilities=probe(client),
    )
    client.indices.create(index=index, body=body)
    lines = [part for key, source in documents.items() for part in ({"index": {"_id": key}}, source)]
    assert not client.bulk(index=index, body=lines, refresh=True)["errors"]


def scores(client, index, query, size=100):
    """Document id to score."""
    answer = client.search(index=index, body=search_body(query, size=size))
    return {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}


def exact(query, documents):
    """Document id to exact dot product of what the server holds; documents that share no feature are no hits."""
    return {
        key: sum(as_float32(query[name], name) * as_stored(source["sparse"][name]) for name in shared)
        for key, source in documents.items()
        if (shared := [name for name in query if name in source["sparse"]])
    }


@pytest.mark.server
def test_server_scores_are_the_exact_dot_product(client, index_name):
    """Both sparse clauses give exactly the documents and, within float32 rounding, the scores of the dot product."""
    chance = random.Random(7)  # noqa: S311 (made-up documents)
    documents = {
        str(i): {"text": "x", "sparse": {name: chance.uniform(1e-3, 4) for name in chance.sample(NAMES, 6)}}
        for i in range(60)
    }
    fill(client, index_name, documents)

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(st.dictionaries(st.sampled_from([*NAMES, "unknown"]), st.floats(1 / 1024, 200), min_size=1))
    def law(features):
        fitted = fit(features, max_clauses=1024, max_weight=MAX_NEURAL_SPARSE_WEIGHT)
        by_tokens = scores(client, index_name, neural_sparse(fitted.features, capabilities=ALL))
        by_terms = scores(client, index_name, weighted_terms(features))
        assert by_tokens == pytest.approx(exact(fitted.features, documents), rel=1e-6)
        assert by_terms == pytest.approx(exact(features, documents), rel=1e-6)
        # the one ranks as the other, at one scale
        assert {key: score * fitted.scale for key, score in by_terms.items()} == pytest.approx(by_tokens, rel=1e-6)

    law()


@pytest.mark.server
def test_server_takes_dotted_tokens_by_neural_sparse_only(client, index_name):
    """neural_sparse finds a feature with dots; weighted terms would not, which is why they refuse it."""
    fill(client, index_name, {"1": {"text": "x", "sparse": {"...": 2.0}}})
    assert scores(client, index_name, neural_sparse({"...": 3.0}, capabilities=ALL)) == {"1": 6.0}
    misread = {"rank_feature": {"field": "sparse....", "boost": 3.0, "linear": {}}}
    assert scores(client, index_name, misread) == {}


@pytest.mark.server
def test_server_refuses_what_fit_mends(client, index_name):
    """Weights above 64 and more than 1,024 features are refused by this very server, and accepted once fitted."""
    fill(client, index_name, {"1": {"text": "x", "sparse": {f"f{i}": 1.0 for i in range(1100)}}})

    def raw(features):
        return {"neural_sparse": {"sparse": {"query_tokens": features}}}

    heavy = {"f0": 128.0, "f1": 32.0}
    with pytest.raises(ClusterError, match=r"weight must be in \(0, 64.0\]"), asking(index_name):
        scores(client, index_name, raw(heavy))
    fitted = fit(heavy, max_clauses=1024, max_weight=64.0)
    assert fitted.scale == 0.5
    assert scores(client, index_name, neural_sparse(fitted.features, capabilities=ALL)) == {"1": 80.0}
    assert scores(client, index_name, weighted_terms(heavy)) == {"1": 160.0}

    many = {f"f{i}": 1.0 + i / 1024 for i in range(1100)}
    for query in (raw(many), weighted_terms(many)):
        with pytest.raises(ClusterError, match="maxClauseCount is set to 1024"), asking(index_name):
            scores(client, index_name, query)
    kept = fit(many, max_clauses=1024).features
    expected = pytest.approx(sum(kept.values()), rel=1e-6)
    assert scores(client, index_name, weighted_terms(kept)) == {"1": expected}


@pytest.mark.server
def test_server_answers_knn_with_and_without_filter(client, index_name):
    """The inner product of unit vectors is the cosine, scored 1 + cosine by the Lucene engine."""
    documents = {
        "same": {"text": "x", "dense": [0.6, 0.8], "metadata": {"lang": "en"}},
        "right": {"text": "x", "dense": [0.8, -0.6], "metadata": {"lang": "de"}},
        "opposite": {"text": "x", "dense": [-0.6, -0.8], "metadata": {"lang": "en"}},
    }
    fill(client, index_name, documents, dimension=2)
    query = knn([0.6, 0.8], 3, capabilities=ALL)
    found = scores(client, index_name, query)
    assert list(found) == ["same", "right", "opposite"]
    assert found["same"] == pytest.approx(2.0)
    assert found["right"] == pytest.approx(1.0)
    assert list(scores(client, index_name, filtered(query, {"term": {"metadata.lang": "en"}}))) == ["same", "opposite"]
