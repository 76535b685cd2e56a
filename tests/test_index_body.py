"""The index body: fixed layout, gated by capabilities, and taken as it is by the real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from opensearchpy import OpenSearch
from opensearchpy.exceptions import RequestError

from opensearch_splade.errors import CapabilityError, TargetError
from opensearch_splade.index_meta import DenseMeta, IndexMeta, QueryWeightsMeta, SparseMeta
from opensearch_splade.plugin.analysis import Analysis
from opensearch_splade.plugin.bm25 import Bm25
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.types import Capabilities

LATEST = Capabilities((3, 6, 0), frozenset({"opensearch-knn", "mapper-extras"}))
SPARSE = SparseMeta("s1", "splade-tiny", "siamese")
DENSE = DenseMeta("d1", "minilm", 3)
WEIGHTS = QueryWeightsMeta("osplade-weights", "books")


def response(**parts):
    """The answer of ``GET books/_mapping`` with that record."""
    return {"books": {"mappings": {"_meta": {"opensearch_splade": parts}}}}


def test_a_text_index_has_no_vector_fields():
    """Without bundles there is nothing to write vectors with, so strict mapping refuses them."""
    assert index_body(capabilities=Capabilities((2, 7, 0))) == {
        "settings": {"index": {"number_of_shards": 1, "auto_expand_replicas": "0-1"}},
        "mappings": {
            "dynamic": "strict",
            "_meta": {"opensearch_splade": {}},
            "properties": {
                "id": {"type": "keyword", "index": False},
                "title": {"type": "text", "analyzer": "english", "copy_to": "text"},
                "text": {"type": "text", "analyzer": "english"},
                "encoded": {"type": "keyword"},
                "hash": {"type": "keyword", "index": False},
                "metadata": {"type": "flat_object"},
            },
        },
    }


def test_vector_fields_and_their_record():
    """A bundle brings its field and stands in the record; the kNN engine is always named."""
    body = index_body(sparse=SPARSE, dense=DENSE, shards=3, replicas=2, capabilities=LATEST)
    assert body["settings"] == {"index": {"number_of_shards": 3, "number_of_replicas": 2, "knn": True}}
    assert body["mappings"]["properties"]["sparse"] == {"type": "rank_features"}
    assert body["mappings"]["properties"]["dense"] == {
        "type": "knn_vector",
        "dimension": 3,
        "method": {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"},
    }
    assert body["mappings"]["_meta"]["opensearch_splade"] == {
        "sparse": {"fingerprint": "s1", "bundle": "splade-tiny", "kind": "siamese", "pruning": ""},
        "dense": {"fingerprint": "d1", "bundle": "minilm", "dimension": 3},
    }


@pytest.mark.parametrize(
    ("capabilities", "parts", "message"),
    [
        (Capabilities((2, 6, 0)), {}, "a flat_object field needs OpenSearch 2.7 or later"),
        (Capabilities((2, 7, 0)), {"sparse": SPARSE}, "needs the plugin mapper-extras"),
        (Capabilities((2, 12, 0), LATEST.plugins), {"dense": DENSE}, "needs OpenSearch 2.13 or later"),
        (Capabilities((3, 6, 0)), {"dense": DENSE}, "needs the plugin opensearch-knn"),
    ],
)
def test_field_types_the_server_lacks_are_refused(capabilities, parts, message):
    """An index that the server would refuse is refused with the reason."""
    with pytest.raises(CapabilityError, match=message):
        index_body(capabilities=capabilities, **parts)


@pytest.mark.parametrize("meta", [IndexMeta(), IndexMeta(SPARSE), IndexMeta(SPARSE, DENSE, WEIGHTS)])
def test_the_record_reads_back(meta):
    """What is written into ``_meta`` is what is read from it."""
    assert IndexMeta.from_mappings("books", {"books": {"mappings": {"_meta": meta.to_json()}}}) == meta


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, "no index matches 'books'"),
        ({"books": {"mappings": {}}}, "index 'books' was not made by opensearch-splade"),
        (response(sparse={"fingerprint": "s1"}), "index 'books': _meta.opensearch_splade cannot be read"),
        (response(sparse="s1"), "cannot be read"),
        (response(images={}), "written by a newer version"),
        (
            response(query_weights={"index": "w", "id": "1", "kind": "x"}),
            "query weights of the kind 'x'.*newer version",
        ),
        ({**response(), "b2": {"mappings": {"_meta": IndexMeta(SPARSE).to_json()}}}, r"differently \(b2, books\)"),
    ],
)
def test_records_that_cannot_be_used(answer, message):
    """Foreign, damaged and contradicting indices are told apart."""
    with pytest.raises(TargetError, match=message):
        IndexMeta.from_mappings("books", answer)


def test_a_record_without_a_kind_of_query_weights_says_idf():
    """As all were before there was another."""
    meta = IndexMeta.from_mappings("books", response(query_weights={"index": "w", "id": "1"}))
    assert meta.query_weights == QueryWeightsMeta("w", "1", "idf")


def test_fingerprints_of_another_bundle_are_refused():
    """Both fingerprints, the bundle and the remedy are named; what an index has not cannot contradict."""
    meta = IndexMeta(SPARSE)
    meta.check_fingerprints("books", sparse="s1", dense="any")
    with pytest.raises(TargetError, match=r"sparse vectors of bundle 'splade-tiny' \(fingerprint s1\).*fingerprint s2"):
        meta.check_fingerprints("books", sparse="s2")


# On the real node


@pytest.mark.server
@pytest.mark.parametrize("parts", [{}, {"sparse": SPARSE}, {"dense": DENSE}, {"sparse": SPARSE, "dense": DENSE}])
def test_server_takes_the_body_and_keeps_the_record(client, index_name, parts):
    """Every variant makes an index, and the record comes back through an alias as well."""
    client.indices.create(index=index_name, body=index_body(**parts, capabilities=probe(client)))
    client.indices.put_alias(index=index_name, name=f"{index_name}-alias")
    assert IndexMeta.read(client, index_name) == IndexMeta.read(client, f"{index_name}-alias") == IndexMeta(**parts)


@pytest.mark.server
def test_server_holds_documents_as_laid_out(client, index_name):
    """Title is found by ``text``, metadata filters by its paths, stemming is English, other fields are refused."""
    client.indices.create(index=index_name, body=index_body(sparse=SPARSE, capabilities=probe(client)))
    source = {"title": "Foxes", "text": "running", "sparse": {"##s": 1.0}, "encoded": ["s1"]}
    client.index(index=index_name, id="1", body={**source, "metadata": {"a": {"b": 3}, "lang": "en"}}, refresh=True)

    def count(query):
        return client.count(index=index_name, body={"query": query})["count"]

    assert count({"match": {"text": "fox"}}) == 1
    assert count({"match": {"text": "runs"}}) == 1
    assert count({"term": {"encoded": "s1"}}) == 1
    assert count({"term": {"metadata.lang": "en"}}) == 1
    assert count({"term": {"metadata.a.b": "3"}}) == 1
    assert count({"term": {"metadata.lang": "de"}}) == 0
    for wrong in ({"vector": {"a": 1.0}}, {"dense": [1.0, 0.0, 0.0]}):
        with pytest.raises(RequestError, match="strict_dynamic_mapping_exception"):
            client.index(index=index_name, body={**source, **wrong})


@pytest.mark.server
def test_an_index_that_is_not_there(client, index_name):
    """An unknown index is a target error with a hint, a pattern without matches too."""
    with pytest.raises(TargetError, match="there is no index or alias 'nowhere-"):
        IndexMeta.read(client, f"nowhere-{index_name}")
    with pytest.raises(TargetError, match="no index matches"):
        IndexMeta.read(client, f"nowhere-{index_name}-*")


def test_an_analyzer_of_ones_own(client: OpenSearch, index_name: str, tmp_path: Path) -> None:
    """A file of analysis settings and BM25's parameters reach the index, and title and text are analysed so."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"analyzer": {"mine": {"tokenizer": "standard", "filter": ["uppercase"]}}}), "utf-8")
    analysis = Analysis.parse(str(path), Bm25.parse("0.9,0.4"))
    client.indices.create(index=index_name, body=index_body(sparse=SPARSE, analysis=analysis, capabilities=LATEST))
    tokens = client.indices.analyze(index=index_name, body={"field": "title", "text": "a fox"})["tokens"]
    assert [one["token"] for one in tokens] == ["A", "FOX"]
    settings = client.indices.get_settings(index=index_name)[index_name]["settings"]["index"]
    assert settings["similarity"]["default"] == {"type": "BM25", "k1": "0.9", "b": "0.4"}


@pytest.mark.parametrize("settings", ["{", "[]", "{}", '{"analyzer": {"a": {}, "b": {}}}'])
def test_an_analyzer_that_cannot_be_known_is_refused(tmp_path: Path, settings: str) -> None:
    """No JSON, none, or several: the file is named."""
    path = tmp_path / "mine.json"
    path.write_text(settings, "utf-8")
    with pytest.raises(TargetError, match=r"mine\.json"):
        Analysis.parse(str(path))
    with pytest.raises(TargetError, match="cannot be read"):
        Analysis.parse(str(tmp_path / "missing.json"))


@pytest.mark.parametrize("text", ["1", "a,b", "-1,.5", "1,2", "inf,.5", "nan,.5"])
def test_bm25_out_of_bounds_is_refused(text: str) -> None:
    """Numbers that the server would refuse or take for something else."""
    with pytest.raises(TargetError, match="--bm25"):
        Bm25.parse(text)
