"""Indices of Elasticsearch as ``GET /NAME`` gives them, with a document each; no such server can be had here.

Written from Elastic's public reference (www.elastic.co/guide/en/elasticsearch/reference/7.17 and /8.19, and
www.elastic.co/docs/reference/elasticsearch for 9.2): "Field data types", "Mapping parameters", "Index modules".
"""

from __future__ import annotations

from dataclasses import dataclass

from opensearch_splade.types import Json


@dataclass(frozen=True)
class Elastic:
    """One index.

    Attributes:
        number: The server's version.
        mappings: Its mapping.
        settings: Those below ``index``.
        document: One that it holds.
    """

    number: str
    mappings: Json
    settings: Json
    document: Json

    @property
    def version(self) -> Json:
        """What ``GET /`` says below ``version``: no distribution is named."""
        return {"number": self.number, "build_flavor": "default", "lucene_version": "9.12.2"}


def settings(created: str, **more: object) -> Json:
    """What every index has, ILM and tiers among it."""
    return {
        "creation_date": "1700000000000",
        "lifecycle": {"name": "thirty-days", "rollover_alias": "books"},
        "number_of_replicas": "0",
        "number_of_shards": "1",
        "provided_name": "books",
        "routing": {"allocation": {"include": {"_tier_preference": "data_content"}}},
        "uuid": "aFGnqKjRTgWIJgsgYtBAlw",
        "version": {"created": created},
        **more,
    }


SEVEN = Elastic(
    "7.17.22",
    {
        "dynamic": "runtime",
        "_data_stream_timestamp": {"enabled": False},
        "_routing": {"required": False},
        "_field_names": {"enabled": True},
        "runtime": {"decade": {"type": "long", "script": {"source": "emit(doc['year'].value / 10)"}}},
        "date_detection": False,
        "dynamic_templates": [
            {"labels": {"path_match": "labels.*", "match_mapping_type": "string", "mapping": {"type": "flattened"}}},
            {"unmapped": {"match_mapping_type": "string", "runtime": {"type": "keyword"}}},
        ],
        "properties": {
            "title": {
                "type": "text",
                "analyzer": "folded",
                "fields": {"raw": {"type": "keyword", "normalizer": "lower"}},
                "copy_to": "everything",
            },
            "everything": {"type": "text"},
            "abstract": {"type": "match_only_text"},
            "attributes": {"type": "flattened", "ignore_above": 100, "depth_limit": 5},
            "isbn": {"type": "wildcard", "ignore_above": 64},
            "library": {"type": "constant_keyword", "value": "main", "meta": {"owner": "us"}},
            "branch": {"type": "constant_keyword"},
            "edition": {"type": "version"},
            "sold": {"type": "unsigned_long"},
            "year": {"type": "short", "script": {"source": "emit(1990)"}, "on_script_error": "continue"},
            "latency": {"type": "histogram"},
            "price": {
                "type": "aggregate_metric_double",
                "metrics": ["min", "max", "sum", "value_count"],
                "default_metric": "max",
            },
            "embedding": {"type": "dense_vector", "dims": 3},
            "place": {"type": "point"},
            "area": {"type": "shape"},
            "where": {"type": "geo_point"},
            "span": {"type": "date_range"},
            "parts": {"type": "nested", "include_in_parent": True, "properties": {"tags": {"type": "flattened"}}},
            "boost": {"type": "rank_feature"},
            "topics": {"type": "rank_features"},
            "suggest": {"type": "completion"},
            "kind": {"type": "join", "relations": {"book": ["review"]}},
            "isbn13": {"type": "alias", "path": "isbn"},
            "vector": {"type": "alias", "path": "embedding"},
        },
    },
    settings(
        "7172299",
        analysis={
            "analyzer": {"folded": {"type": "custom", "tokenizer": "standard", "filter": ["asciifolding"]}},
            "normalizer": {"lower": {"type": "custom", "filter": ["lowercase"]}},
        },
        mapping={"total_fields": {"limit": "2000"}, "dimension_fields": {"limit": "16"}},
        merge={"policy": {"max_merge_at_once_explicit": "30", "segments_per_tier": "8.0"}},
        max_ngram_diff="2",
        refresh_interval="5s",
        search={"slowlog": {"threshold": {"query": {"warn": "10s"}}}, "throttled": "false"},
        bloom_filter_for_id_field={"enabled": "true"},
        codec="best_compression",
        verified_before_close="true",
        xpack={"ccr": {"following_index": "true"}},
    ),
    {
        "title": "Die Zeit",
        "abstract": "a book about time",
        "attributes": {"color": "red", "size": {"height": 20}},
        "isbn": "978-3",
        "branch": "north",
        "edition": "1.10.2",
        "sold": 18446744073709551615,
        "latency": {"values": [0.1, 0.2], "counts": [3, 7]},
        "price": {"min": 1.0, "max": 9.0, "sum": 30.0, "value_count": 4},
        "embedding": [0.1, 0.2, 0.3],
        "place": {"x": 1, "y": 2},
        "area": {"type": "Point", "coordinates": [1, 2]},
        "where": "41.1,2.1",
        "span": {"gte": "2020-01-01", "lt": "2021-01-01"},
        "parts": [{"tags": {"a": "b"}}],
        "boost": 2.0,
        "topics": {"physics": 3.0},
        "suggest": "Die Zeit",
        "kind": "book",
        "unknown": "kept and not searched",
    },
)

EIGHT = Elastic(
    "8.17.4",
    {
        "subobjects": False,
        "_source": {"mode": "stored"},
        "properties": {
            "host.ip": {"type": "ip", "time_series_dimension": True},
            "host.name": {"type": "keyword", "synthetic_source_keep": "arrays"},
            "content": {"type": "text", "copy_to": ["content_semantic"]},
            "content_semantic": {
                "type": "semantic_text",
                "inference_id": ".elser-2-elasticsearch",
                "model_settings": {"task_type": "sparse_embedding"},
            },
            "chunks": {"type": "alias", "path": "content_semantic"},
            "active": {"type": "boolean", "ignore_malformed": True},
            "embedding": {
                "type": "dense_vector",
                "dims": 4,
                "index": True,
                "similarity": "cosine",
                "index_options": {"type": "int8_hnsw", "m": 16, "ef_construction": 100},
            },
            "small": {
                "type": "dense_vector",
                "dims": 4,
                "element_type": "byte",
                "index": True,
                "similarity": "l2_norm",
            },
            "visits": {"type": "counted_keyword"},
            "rank": {"type": "rank_feature", "null_value": 1},
            "tokens": {"type": "sparse_vector"},
        },
        "dynamic_templates": [
            {"words": {"match_mapping_type": ["string", "boolean"], "mapping": {"type": "keyword"}}},
            {"others": {"match": "*", "unmatch_mapping_type": ["object"], "mapping": {"type": "long"}}},
            {"codes": {"match": ["x_*", "y_*"], "unmatch": ["x_no"], "mapping": {"type": "counted_keyword"}}},
            {"paths": {"path_match": ["a.*"], "path_unmatch": ["a.b", "a.c"], "mapping": {"type": "long"}}},
        ],
    },
    settings(
        "8521000",
        mapping={
            "source": {"mode": "stored"},
            "total_fields": {"ignore_dynamic_beyond_limit": "true", "limit": "1000"},
            "synthetic_source_keep": "none",
        },
        codec="legacy_best_compression",
        default_pipeline="elser",
        mode="logsdb",
        sort={"field": ["host.ip"], "order": ["desc"], "mode": ["max"]},
        search={"slowlog": {"include": {"user": "true"}}},
        seq_no={"index_options": "doc_values_only"},
    ),
    {
        "host": {"ip": "10.0.0.1"},
        "host.name": "a.example.org",
        "content": "the fox jumps",
        "content_semantic": {
            "text": "the fox sleeps",
            "inference": {
                "inference_id": ".elser-2-elasticsearch",
                "chunks": [{"text": "the fox sleeps", "embeddings": {"fox": 2.1, "sl__": 0.3}}],
            },
        },
        "active": True,
        "embedding": [0.5, 0.5, 0.5, 0.5],
        "small": [1, 2, 3, 4],
        "visits": ["a", "a", "b"],
        "x_code": "X1",
        "y_code": "Y1",
        "x_no": "what it is",
        "tokens": {"fox": 2.0, "u__s": 1.0},
    },
)

NINE = Elastic(
    "9.2.1",
    {
        "dynamic": "strict",
        "properties": {
            "title": {"type": "semantic_text", "inference_id": "e5", "fields": {"raw": {"type": "keyword"}}},
            "body": {"type": "text", "analyzer": "english"},
            "message": {"type": "pattern_text"},
            "embedding": {"type": "dense_vector", "dims": 4, "index": True, "similarity": "dot_product"},
            "late": {"type": "rank_vectors", "dims": 4},
            "elser": {"type": "sparse_vector"},
            "resource": {
                "type": "passthrough",
                "priority": 10,
                "time_series_dimension": True,
                "properties": {"service": {"type": "keyword"}},
            },
        },
    },
    settings("9039000", mapping={"field_name_length": {"limit": "1000"}}),
    {
        "title": "A plain string",
        "body": "of the fox",
        "message": "took 5 ms",
        "resource": {"service": "shop"},
    },
)

FLAT = Elastic(
    "8.19.3",
    {
        "subobjects": False,
        "properties": {
            "time": {"type": "long"},
            "time.max": {"type": "long"},
            "time.min": {"type": "long"},
            "message": {"type": "text"},
            "latency": {"type": "histogram"},
        },
    },
    settings("8536000"),
    {"time": 2, "time.max": 3, "time.min": 1, "message": "took long"},
)

ALL = {"7.17": SEVEN, "8.17": EIGHT, "9.2": NINE}
