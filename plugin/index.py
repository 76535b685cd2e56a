"""The index: its fields, settings and the record of who encoded it."""

from __future__ import annotations

from typing import Literal

from opensearch_splade.errors import TargetError
from opensearch_splade.index_meta import (
    AddedMeta,
    DenseMeta,
    IndexMeta,
    PassagesMeta,
    PassageStore,
    SeismicMeta,
    SparseMeta,
)
from opensearch_splade.plugin.bm25 import Bm25
from opensearch_splade.types import Capabilities, Json, Requirement

RANK_FEATURES = Requirement("a rank_features field", (1, 0), "mapper-extras")
SPARSE_VECTOR = Requirement("a sparse_vector field (SEISMIC)", (3, 3), "opensearch-neural-search")
NESTED_SPARSE_VECTOR = Requirement("sparse_vector fields of nested passages", (3, 4), "opensearch-neural-search")
FLAT_OBJECT = Requirement("a flat_object field", (2, 7))
KNN_INNER_PRODUCT = Requirement("a kNN field with Lucene's inner product", (2, 13), "opensearch-knn")

HASH: Json = {"type": "keyword", "index": False}
"""The content hash: doc values alone, which is what an audit reads."""


def index_body(
    *,
    sparse: SparseMeta | None = None,
    dense: DenseMeta | None = None,
    passages: PassagesMeta | None = None,
    added: AddedMeta | None = None,
    analyzer: str = "english",
    bm25: Bm25 | None = None,
    shards: int = 1,
    replicas: int | None = None,
    capabilities: Capabilities,
) -> Json:
    """The body of ``PUT {index}``.

    ``text`` takes a copy of ``title``, so one BM25 ``match`` covers both. The mapping is strict: an unmapped vector
    would become thousands of float fields. A vector field is there only if a bundle is named for it.

    Args:
        sparse: The bundle that encodes ``sparse``, and the kind of that field.
        dense: The bundle that encodes ``dense``; its vectors have length 1, so the inner product is the cosine.
        passages: How documents are cut, and where the sparse field of a passage lies.
        added: Static features, which get a field each.
        analyzer: A named analyzer for title and text.
        bm25: The similarity of both; None leaves the server's own.
        shards: Primary shards.
        replicas: Copies of each shard; None keeps one wherever the cluster has a second node.
        capabilities: What the server can do.

    Raises:
        CapabilityError: The server lacks a field type.
        TargetError: A ``sparse_vector`` and a kNN field are wanted in one index.
    """
    capabilities.require(FLAT_OBJECT)
    seismic = sparse.seismic if sparse else None
    if dense and seismic:
        # Measured on 3.6.0: HTTP 500, "existing codec service factory already overridden".
        raise TargetError(
            "an index cannot have both a sparse_vector and a kNN field, since each brings a codec of its own "
            "(index.sparse, index.knn): ingest into two indices, or take rank_features beside the dense bundle"
        )
    store = passages.store if passages else ""
    properties: Json = {
        # The same as `_id`, which has no doc values: rankings are read from these without opening stored documents.
        "id": {"type": "keyword", "index": False},
        "title": {"type": "text", "analyzer": analyzer, "copy_to": "text"},
        "text": {"type": "text", "analyzer": analyzer},
        "encoded": {"type": "keyword"},
        "hash": HASH,
        "metadata": {"type": "flat_object"},
    }
    if seismic:
        capabilities.require(SPARSE_VECTOR)
        if store == "nested":
            capabilities.require(NESTED_SPARSE_VECTOR)
        properties |= _sparse_fields(_sparse_vector(seismic), store)
    elif sparse:
        capabilities.require(RANK_FEATURES)
        properties |= _sparse_fields({"type": "rank_features"}, store)
    if dense:
        capabilities.require(KNN_INNER_PRODUCT)
        properties["dense"] = _knn_vector(dense.dimension)
    similarity: Json = {"similarity": bm25.similarity} if bm25 else {}
    copies: Json = {"auto_expand_replicas": "0-1"} if replicas is None else {"number_of_replicas": replicas}
    codec: Json = {"knn": True} if dense else {"sparse": True} if seismic else {}
    if added and added.static:
        capabilities.require(RANK_FEATURES)
        properties["static"] = {"properties": {name: {"type": "rank_feature"} for name in added.static}}
    meta = IndexMeta(sparse, dense, passages=passages, added=added).to_json()
    return {
        "settings": {"index": {"number_of_shards": shards, **copies, **codec, **similarity}},
        "mappings": {"dynamic": "strict", "_meta": meta, "properties": properties},
    }


def _sparse_fields(field: Json, store: PassageStore | Literal[""]) -> Json:
    """The sparse field where it lies, and what tells passages apart."""
    offset = {"type": "integer", "index": False}
    place = {"start": offset, "end": offset}
    if store == "nested":
        return {"passages": {"type": "nested", "dynamic": "strict", "properties": {**place, "sparse": field}}}
    if store == "documents":
        # Passages of a document are found by its id.
        return {"id": {"type": "keyword"}, "number": offset, "passage_count": offset, **place, "sparse": field}
    return {"sparse": field}


def _sparse_vector(seismic: SeismicMeta) -> Json:
    return {
        "type": "sparse_vector",
        "method": {
            "name": "seismic",
            "parameters": {
                "approximate_threshold": seismic.threshold,
                "quantization_ceiling_ingest": seismic.ceiling_ingest,
                "quantization_ceiling_search": seismic.ceiling_search,
            },
        },
    }


def _knn_vector(dimension: int) -> Json:
    # The engine is always named: the default one, faiss, fails on nodes without native libraries.
    return {
        "type": "knn_vector",
        "dimension": dimension,
        "method": {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"},
    }
