"""Every builder of clauses on every server of the version table, on the real node, through the DSL and in the docs."""

from __future__ import annotations

import contextlib
import inspect
import json
import re
from pathlib import Path

import pytest
from clause_examples import BODIES, EXAMPLES, PLUGINS, VERSIONS, server
from opensearchpy import Search
from opensearchpy.exceptions import TransportError

from opensearch_splade import query
from opensearch_splade.errors import CapabilityError
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.query import neural_sparse_by_analyzer
from opensearch_splade.query.dsl import Q

HERE = Path(__file__).resolve().parent
GOLDEN = json.loads((HERE / "golden_clauses.json").read_text(encoding="utf-8"))
DOCS = (HERE.parent / "docs" / "clauses.md").read_text(encoding="utf-8")
NEEDS_ML = {"neural_sparse_by_model", "neural_sparse_by_analyzer"}


def since(name):
    """First version that takes an example."""
    major, minor = GOLDEN[name]["since"].split(".")
    return int(major), int(minor)


def test_every_example_has_a_golden_body():
    """Neither is forgotten when the other is added."""
    assert GOLDEN.keys() == EXAMPLES.keys()


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version[0]}.{version[1]}")
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_body_on_each_version(name, version):
    """A server gets exactly the golden body, or, where it is too old for it, a refusal that names what it lacks."""
    if version >= since(name):
        assert EXAMPLES[name](server(version)) == GOLDEN[name]["body"]
        return
    with pytest.raises(CapabilityError) as refused:
        EXAMPLES[name](server(version))
    [named] = re.findall(r"needs OpenSearch (\d+)\.(\d+) or later", str(refused.value))
    assert version < tuple(map(int, named)) <= since(name)  # of two things that it lacks, either


@pytest.mark.parametrize("name", EXAMPLES)
def test_plugins_that_a_body_needs(name):
    """Where a body holds a plugin's query, a server without that plugin is not asked; the others need none."""
    body = json.dumps(GOLDEN[name]["body"])
    needed = {"neural_sparse": "opensearch-neural-search", "knn": "opensearch-knn", "rank_feature": ""}
    plugins = {plugin for kind, plugin in needed.items() if f'"{kind}"' in body and plugin}
    plugins |= {"opensearch-ml"} if name in NEEDS_ML else set()
    assert EXAMPLES[name](server((3, 8), frozenset(plugins))) == GOLDEN[name]["body"]
    for plugin in plugins:
        with pytest.raises(CapabilityError, match=plugin):
            EXAMPLES[name](server((3, 8), PLUGINS - {plugin}))


# The DSL


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_dsl_gives_every_body_back(name):
    """``Q`` takes what a builder returns, alone and in a search, and gives exactly that."""
    body = GOLDEN[name]["body"]
    assert Q(body).to_dict() == body
    assert Search().query(Q(body)).to_dict() == {"query": body}
    assert Q("bool", should=[Q(body)]).to_dict() == {"bool": {"should": [body]}}


# The documentation


def sections():
    """Heading of a section to its text."""
    parts = re.split(r"^## ", DOCS, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0].strip("`"): part for part in parts}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_docs_show_the_body_and_its_version(name):
    """A clause's section holds the exact JSON of each example, marked by its name and the first server."""
    text = sections()[name.partition(",")[0]]
    shown = re.search(rf"^{re.escape(name)} \(server ([\d.]+)\):\n\n```json\n(.*?)\n```$", text, re.M | re.S)
    assert shown, f"docs/clauses.md does not show {name}"
    assert shown[1] == GOLDEN[name]["since"]
    assert json.loads(shown[2]) == GOLDEN[name]["body"]
    for part in ("**When**", "**Paper**"):
        assert part in text


@pytest.mark.parametrize("name", BODIES)
def test_the_docs_show_what_is_built_of_clauses(name):
    """The exact JSON again, which a server of the version before gets otherwise or not at all."""
    (version, make), text = BODIES[name], sections()[name]
    shown = re.search(rf"^{name} \(server ([\d.]+)\):\n\n```json\n(.*?)\n```$", text, re.M | re.S)
    assert shown, f"docs/clauses.md does not show {name}"
    assert tuple(map(int, shown[1].split("."))) == version
    for each in VERSIONS[VERSIONS.index(version) :]:
        assert make(server(each)) == json.loads(shown[2])
    for part in ("**When**", "**Paper**"):
        assert part in text
    if version > VERSIONS[0]:
        before = server(VERSIONS[VERSIONS.index(version) - 1])
        with contextlib.suppress(CapabilityError):
            assert make(before) != json.loads(shown[2])


ELSEWHERE = {
    "saturation": "weighted_terms",
    "logarithm": "weighted_terms",
    "sigmoid": "weighted_terms",
    "boosted": "feature_boost",
    "parse_boost": "constant_boost",
    "check_body": "Limits",
}
"""Builders without a section of their own, and where they are told of."""


def test_the_docs_name_every_builder():
    """Whatever of this room returns JSON for a server stands in a section; none is exported and forgotten."""
    functions = {name: getattr(query, name) for name in query.__all__ if inspect.isfunction(getattr(query, name))}
    builders = {name for name, each in functions.items() if "Json" in str(inspect.signature(each).return_annotation)}
    assert len(builders) > 20
    for name in builders:
        assert f"`{name}" in sections().get(ELSEWHERE.get(name, name), "") or name in sections(), name


# The real node


def knn_field(dimension, kind, space):
    """A field of the engine that needs no native library."""
    method = {"name": "hnsw", "engine": "lucene", "space_type": space}
    return {"type": "knn_vector", "dimension": dimension, "data_type": kind, "method": method}


FIELDS = {
    "title": {"type": "text"},
    "text": {"type": "text"},
    "popularity": {"type": "rank_feature"},
    "metadata": {
        "properties": {name: {"type": "keyword"} for name in ("lang", "host")} | {"year": {"type": "integer"}}
    },
}
PLAIN = FIELDS | {
    "sparse": {"type": "rank_features"},
    "dense": knn_field(2, "float", "innerproduct"),
    "bytes": knn_field(2, "byte", "l2"),
    "bits": knn_field(16, "binary", "hamming"),
    "passages": {"type": "nested", "properties": {"sparse": {"type": "rank_features"}, "text": {"type": "text"}}},
}
VECTOR = {"type": "sparse_vector", "method": {"name": "seismic", "parameters": {"approximate_threshold": 1}}}
SPARSE = FIELDS | {"sparse": VECTOR, "passages": {"type": "nested", "properties": {"sparse": VECTOR}}}
DOCUMENT = {
    "title": "hello",
    "text": "hello planet",
    "popularity": 10.0,
    "metadata": {"lang": "en", "host": "docs", "year": 2024},
}


@pytest.fixture
def two_indices(client, index_name):
    """One document with every kind of field, in an index for ranking features and one for sparse vectors."""
    plain = {
        "sparse": {"hello": 2.0, "planet": 1.0},
        "dense": [0.6, 0.8],
        "bytes": [1, -2],
        "bits": [5, -128],
        "passages": [{"sparse": {"other": 1.0}, "text": "no"}, {"sparse": {"hello": 2.0}, "text": "yes"}],
    }
    ids = {"7592": 2.0, "4774": 1.0}
    for kind, fields, more in (
        ("knn", PLAIN, plain),
        ("sparse", SPARSE, {"sparse": ids, "passages": [{"sparse": ids}]}),
    ):
        name = f"{index_name}-{kind}"
        client.indices.create(
            index=name, body={"settings": {f"index.{kind}": True}, "mappings": {"properties": fields}}
        )
        client.index(index=name, id="1", body=DOCUMENT | more, refresh=True)
    return index_name


@pytest.mark.server
def test_the_real_node_takes_every_body(client, two_indices):
    """Each body finds the one document that is made for it: the server read the clause as it was meant."""
    for name, body in GOLDEN.items():
        if name in NEEDS_ML:  # and a model that is there: tests of `osplade cluster` ask by one
            continue
        kind = "sparse" if "seismic" in name else "knn"
        answer = client.search(index=f"{two_indices}-{kind}", body={"query": body["body"]})
        found = [hit["_id"] for hit in answer["hits"]["hits"]]
        assert found == ([] if name == "match_none" else ["1"]), name
        if name == "best_passage":
            inner = answer["hits"]["hits"][0]["inner_hits"]["passages"]["hits"]["hits"]
            assert [hit["_source"]["text"] for hit in inner] == ["yes"]


@pytest.mark.server
def test_the_real_node_takes_what_is_built_of_clauses(client, two_indices):
    """Each of them finds the document too."""
    for name, (_, make) in BODIES.items():
        body = make(probe(client))
        body = body if "query" in body else {"query": body}
        if name == "late_interaction":
            body = query.rescored(query.search_body(query.match("hello")), body["query"], window=10)
        hits = client.search(index=f"{two_indices}-knn", body=body | {"from": 0})["hits"]["hits"]
        assert [hit["_id"] for hit in hits] == ["1"], name


@pytest.mark.server
def test_scores_of_boosts_and_rank_functions(client, two_indices):
    """The formulas that the docs name are those of the server, for a stored number of 2."""

    def score(body):
        [hit] = client.search(index=f"{two_indices}-knn", body={"query": body})["hits"]["hits"]
        return hit["_score"]

    expected = {
        "weighted_terms": 3.5 * 2 + 5.0 * 1,
        "weighted_terms, saturation": 3.5 * 2 / (2 + 1.5),
        "weighted_terms, log": 3.5 * 1.0986123,
        "weighted_terms, sigmoid": 3.5 * 2**0.5 / (2**0.5 + 1.5**0.5),
        "neural_sparse": 3.5 * 2 + 5.0 * 1,
        "best_passage": 3.5 * 2,
    }
    for name, value in expected.items():
        assert score(GOLDEN[name]["body"]) == pytest.approx(value, rel=1e-5), name
    words = score({"match": {"text": {"query": "hello"}}})
    assert score(GOLDEN["feature_boost"]["body"]) == pytest.approx(words + 2 * 0.5, rel=1e-5)
    assert score(GOLDEN["constant_boost"]["body"]) == pytest.approx(words + 1.5, rel=1e-5)


@pytest.mark.server
def test_the_server_takes_any_analyzer_for_its_query_weights(client, two_indices):
    """An analyzer of the index serves too, and each of its tokens weighs 1."""
    body = neural_sparse_by_analyzer("hello planet", "standard", capabilities=probe(client))
    [hit] = client.search(index=f"{two_indices}-knn", body={"query": body})["hits"]["hits"]
    assert hit["_score"] == pytest.approx(3.0)


@pytest.mark.server
def test_bodies_for_ml_commons_are_read(client, two_indices):
    """The node misses the model that nobody registered; without ML Commons it misses both, and nothing else."""

    def ask(name):
        return client.search(index=f"{two_indices}-knn", body={"query": GOLDEN[name]["body"]})["hits"]["hits"]

    has_ml_commons = "opensearch-ml" in probe(client).plugins
    with pytest.raises(TransportError, match="Fail to find model" if has_ml_commons else "MLModelGetAction"):
        ask("neural_sparse_by_model")
    if has_ml_commons:
        assert [hit["_id"] for hit in ask("neural_sparse_by_analyzer")] == ["1"]
    else:
        with pytest.raises(TransportError, match="bert-uncased"):
            ask("neural_sparse_by_analyzer")
