"""Indices of Elasticsearch: said in OpenSearch's words, taken by the real node, or refused with the reason."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch_mappings import ALL, EIGHT, FLAT, NINE, SEVEN, Elastic, settings

from opensearch_splade.errors import MigrationError
from opensearch_splade.ingest.rules import Rules
from opensearch_splade.ingest.target import meta_for
from opensearch_splade.migration.elsewhere import brought
from opensearch_splade.migration.source import SourceIndex
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.migration.target import kept_meta, target_body
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.types import Capabilities, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

SPEC = MigrationSpec(source="http://elastic:9200/books", target="books")
VECTORS = MigrationSpec(source="http://elastic:9200/books", target="books", way="vectors", vectors="elser")
KNN = Capabilities((3, 6, 0), frozenset({"opensearch-knn", "mapper-extras"}))


def as_brought(elastic: Elastic, capabilities: Capabilities = KNN, spec: MigrationSpec = SPEC) -> SourceIndex:
    """The index as the new cluster can have it."""
    source = SourceIndex("books", "books", deepcopy(elastic.mappings), deepcopy(elastic.settings), {})
    source.check()
    return brought(source, elastic.version, spec, capabilities)


def body_of(source: SourceIndex, capabilities: Capabilities, spec: MigrationSpec = SPEC) -> Json:
    """The body of the new index."""
    meta = meta_for(SparseEncoder.load("splade-tiny-idf"), None, Rules(kept=kept_meta(source, spec)))
    return target_body(source, spec, meta, capabilities)


@pytest.mark.filterwarnings("ignore:Disabling _field_names:opensearchpy.exceptions.OpenSearchWarning")
@pytest.mark.parametrize("version", ALL)
def test_the_node_takes_what_becomes_of_it(client: OpenSearch, index_name: str, version: str) -> None:
    """The translated index is made by the real server, and holds the document as it was."""
    elastic = ALL[version]
    capabilities = probe(client)
    client.indices.create(index=index_name, body=body_of(as_brought(elastic, capabilities), capabilities))
    client.index(index=index_name, id="1", body=elastic.document, refresh=True)
    assert client.get(index=index_name, id="1")["_source"] == elastic.document


@pytest.mark.parametrize("version", ALL)
def test_without_translation_the_node_refuses_it(client: OpenSearch, index_name: str, version: str) -> None:
    """So that the tests above can fail."""
    from opensearchpy.exceptions import RequestError

    source = SourceIndex("books", "books", ALL[version].mappings, settings("1"), {})
    with pytest.raises(RequestError, match="mapper_parsing_exception"):
        client.indices.create(index=index_name, body={"mappings": source.mappings})


def test_what_was_searched_there_is_searched_here(client: OpenSearch, index_name: str) -> None:
    """By members of flat objects, versions in their order, names with dots, and vectors."""
    capabilities = probe(client)
    for place, elastic in enumerate((SEVEN, EIGHT)):
        index = f"{index_name}-{place}"
        client.indices.create(index=index, body=body_of(as_brought(elastic, capabilities), capabilities))
        client.index(index=index, id="1", body=elastic.document, refresh=True)
    asked: list[tuple[int, Json]] = [
        (0, {"term": {"attributes.size.height": "20"}}),
        (0, {"range": {"edition": {"gt": "1.9.0", "lt": "1.11.0"}}}),
        (0, {"wildcard": {"isbn13": "*8-3"}}),
        (0, {"range": {"price.max": {"gte": 9}}}),
        (0, {"term": {"library": "main"}}),
        (1, {"term": {"host.ip": "10.0.0.1"}}),
        (1, {"term": {"host.name": "a.example.org"}}),
        (1, {"match": {"content_semantic.text": "sleeps"}}),
        (1, {"knn": {"embedding": {"vector": [0.5, 0.5, 0.5, 0.4], "k": 1}}}),
    ]
    for place, query in asked:
        found = client.search(index=f"{index_name}-{place}", body={"query": query})
        assert found["hits"]["total"]["value"] == 1, query


def test_a_template_of_several_patterns_becomes_several(client: OpenSearch, index_name: str) -> None:
    """The server would take a list for one pattern; what follows from each is what followed there."""
    capabilities = probe(client)
    body = body_of(as_brought(EIGHT, capabilities), capabilities)
    templates = {name: one for entry in body["mappings"]["dynamic_templates"] for name, one in entry.items()}
    assert [one.get("match_mapping_type") or one["match"] for one in templates.values()] == [
        "string",
        "boolean",
        "x_*",
        "y_*",
    ]
    body["mappings"]["dynamic_templates"] = [{name: templates[name]} for name in ("codes_0", "codes_1")]
    client.indices.create(index=index_name, body=body)
    client.index(index=index_name, id="1", body=EIGHT.document, refresh=True)
    made = client.indices.get_mapping(index=index_name)[index_name]["mappings"]["properties"]
    assert [made[name]["type"] for name in ("x_code", "y_code", "x_no")] == ["keyword", "keyword", "text"]


def test_a_name_that_goes_on_from_another(client: OpenSearch, index_name: str) -> None:
    """``time`` beside ``time.max``: no object can have both, so there are none; what is one has to be left behind."""
    capabilities = probe(client)
    with pytest.raises(MigrationError, match="no objects beside such names: leave latency behind with --drop"):
        as_brought(FLAT, capabilities)
    spec = SPEC.model_copy(update={"drop": ("latency", "time.min")})
    body = body_of(as_brought(FLAT, capabilities, spec), capabilities, spec)
    assert {"time", "time.max", "message"} < set(body["mappings"]["properties"])
    assert not {"latency", "time.min"} & set(body["mappings"]["properties"])
    client.indices.create(index=index_name, body=body)
    client.index(index=index_name, id="1", body=FLAT.document, refresh=True)
    for field, value in (("time", 2), ("time.max", 3)):
        assert client.count(index=index_name, body={"query": {"term": {field: value}}})["count"] == 1


def test_text_for_people_is_what_is_encoded() -> None:
    """Semantic text too, wherever documents hold it; its chunks are not."""
    for elastic, texts, title in (
        (SEVEN, ("everything", "abstract"), "title"),
        (EIGHT, ("content", "content_semantic.text"), ""),
        (NINE, ("body", "message"), "title"),
    ):
        kept = kept_meta(as_brought(elastic), SPEC)
        assert kept is not None
        assert (kept.texts, kept.title) == (texts, title)
    kept = kept_meta(as_brought(EIGHT), SPEC)
    assert kept is not None
    assert kept.read(EIGHT.document) == ("", "the fox jumps\n\nthe fox sleeps")


def test_every_change_is_told() -> None:
    """Field by field and setting by setting, in sentences that name them."""
    told = "\n".join(as_brought(SEVEN).notes)
    for words in (
        "runtime is Elasticsearch's own: left out (derived fields of OpenSearch are like them)",
        "_data_stream_timestamp is Elasticsearch's own",
        "dynamic = runtime became false",
        "attributes: flattened became flat_object",
        "parts.tags: flattened became flat_object",
        "branch: constant_keyword without a value became keyword",
        "year: on_script_error, script left out",
        "latency: histogram is kept in documents and not searched (--drop latency leaves it behind)",
        "embedding: dense_vector is kept in documents",
        "vector: left out, another name of embedding",
        "dynamic template unmapped",
        "bloom_filter_for_id_field, lifecycle, mapping.dimension_fields, merge.policy.max_merge_at_once_explicit",
        "search.throttled, verified_before_close, xpack",
    ):
        assert words in told
    eight = "\n".join(as_brought(EIGHT).notes)
    assert "default_pipeline = 'elser' names a pipeline of the other cluster" in eight
    assert "content: not copied to content_semantic" in eight
    assert "rank: null_value left out" in eight
    assert "dynamic template codes: counted_keyword became keyword" in eight
    assert "template others: left out, OpenSearch has no unmatch_mapping_type" in eight
    assert "template paths: left out, OpenSearch has no list of path_unmatch" in eight
    assert "codec = legacy_best_compression" in eight
    nine = "\n".join(as_brought(NINE).notes)
    assert "documents come without vectors" in nine
    assert "resource: passthrough became object" in nine


def test_settings_of_use_are_kept() -> None:
    """Analyzers, limits, sorting and slow logs; what is another cluster's is not."""
    capabilities = KNN
    kept = body_of(as_brought(SEVEN, capabilities), capabilities)["settings"]["index"]
    assert kept == {
        "number_of_replicas": "0",
        "number_of_shards": "1",
        "analysis": SEVEN.settings["analysis"],
        "mapping": {"total_fields": {"limit": "2000"}},
        "merge": {"policy": {"segments_per_tier": "8.0"}},
        "max_ngram_diff": "2",
        "refresh_interval": "5s",
        "search": {"slowlog": {"threshold": {"query": {"warn": "10s"}}}},
        "codec": "best_compression",
    }
    assert body_of(as_brought(EIGHT), KNN)["settings"]["index"]["sort"] == EIGHT.settings["sort"]


def test_an_index_sorted_by_what_opensearch_cannot_is_not_sorted() -> None:
    """Sorting is for speed, so it is left out and told."""
    found = brought(*changed(SEVEN, sort={"field": "sold", "order": "desc"}), SPEC, KNN)
    assert "sort" not in found.settings
    assert "does not sort an index by unsigned_long" in found.notes[-1]


@pytest.mark.parametrize(
    ("plugins", "spec", "kind"),
    [
        ({"opensearch-knn"}, {}, "knn_vector"),
        (set(), {}, "object"),
        ({"opensearch-knn"}, {"sparse_field": "sparse_vector"}, "object"),
    ],
)
def test_dense_vectors_become_knn_vectors_where_they_can(plugins: set[str], spec: Json, kind: str) -> None:
    """With the plugin, and not beside a SEISMIC field; else they are kept and not searched."""
    spec = {"source": "http://elastic:9200/books", "target": "books", **spec}
    source = as_brought(EIGHT, Capabilities((3, 6, 0), frozenset(plugins)), MigrationSpec(**spec))
    assert source.mappings["properties"]["embedding"]["type"] == kind
    assert source.mappings["properties"]["small"]["type"] == "object"
    assert ("knn" in source.settings) == (kind == "knn_vector")


def changed(elastic: Elastic, number: str = "", flavor: str = "default", **more: Any) -> tuple[SourceIndex, Json]:
    """An index with other settings, and the version of its server."""
    source = SourceIndex("books", "books", deepcopy(elastic.mappings), deepcopy(elastic.settings) | more, {})
    return source, {**elastic.version, "number": number or elastic.number, "build_flavor": flavor}


@pytest.mark.parametrize(
    ("given", "spec", "says"),
    [
        (changed(SEVEN, mode="time_series"), SPEC, "synthetic.*index.mapping.source.mode: stored"),
        (changed(NINE, mapping={"source": {"mode": "SYNTHETIC"}}), SPEC, "synthetic"),
        (changed(NINE, mode="columnar"), SPEC, "synthetic"),
        (changed(NINE, disable_sequence_numbers="true"), SPEC, "no sequence numbers.*this setting at false"),
        (changed(EIGHT, number="9.4.0", mode="time_series"), SPEC, "no sequence numbers"),
        (changed(SEVEN, number="6.8.23"), SPEC, "from 7.0 on it can be followed"),
        (changed(NINE, flavor="serverless"), SPEC, "Serverless, which has no shards"),
        (changed(NINE), VECTORS, "leaves vectors out of _source.*'elser' cannot be read.*at false"),
        (changed(EIGHT, mapping={"exclude_source_vectors": "true"}), VECTORS, "leaves vectors out of _source"),
        (
            changed(EIGHT, analysis={"filter": {"names": {"type": "synonym_graph", "synonyms_set": "people"}}}),
            SPEC,
            "'names' takes its synonyms from the set 'people'",
        ),
    ],
)
def test_what_would_not_come_whole_is_refused(given: tuple[SourceIndex, Json], spec: MigrationSpec, says: str) -> None:
    """With the reason and what to do."""
    with pytest.raises(MigrationError, match=says):
        brought(given[0], given[1], spec, KNN)


@pytest.mark.parametrize(
    "given",
    [
        changed(EIGHT),
        changed(NINE, mapping={"exclude_source_vectors": "false"}),
        changed(NINE, version={"created": "8521000"}),
    ],
)
def test_vectors_that_documents_hold_can_be_copied(given: tuple[SourceIndex, Json]) -> None:
    """Before 9.2, where the setting says so, and of indices that are older than their server.

    A ``sparse_vector`` of Elasticsearch has tokens, that of OpenSearch token ids: it is not taken for one.
    """
    source = brought(*given, VECTORS, KNN)
    field = "tokens" if "tokens" in source.fields else "elser"
    assert source.fields[field] == "object"


@pytest.mark.parametrize(
    ("created", "more", "kind"),
    [
        ("8521000", {}, "old"),
        ("8525000", {}, "new"),
        ("8525000", {"semantic_text": {"use_legacy_format": "true"}}, "old"),
        ("9004000", {}, "old"),
        ("9007000", {}, "new"),
    ],
)
def test_semantic_text_is_where_its_version_writes_it(created: str, more: Json, kind: str) -> None:
    """In an object with its chunks, or as the plain string that was given."""
    source, version = changed(EIGHT, number="9.1.0", version={"created": created}, mapping=more)
    field = brought(source, version, SPEC, KNN).mappings["properties"]["content_semantic"]
    assert field.get("type", "object") == ("object" if kind == "old" else "text")


def test_another_opensearch_leaves_little_behind() -> None:
    """Settings that its nodes and plugins gave a meaning to, and the names of its pipelines."""
    given = settings(
        "136408327",
        default_pipeline="clean",
        store={"hybrid": {"mmap": {"extensions": ["nvd"]}}},
        plugins={"index_state_management": {"policy_id": "warm"}},
        remote_store={"enabled": "true"},
    )
    del given["lifecycle"]
    source = SourceIndex("books", "books", {"properties": {"a": {"type": "text"}}}, given, {})
    found = brought(source, {"distribution": "opensearch", "number": "2.19.5"}, SPEC, KNN)
    assert not {"default_pipeline", "plugins", "remote_store"} & set(found.settings)
    assert found.settings["store"] == {}
    assert len(found.notes) == 4
    assert found.mappings == source.mappings
    assert given["default_pipeline"] == "clean"
