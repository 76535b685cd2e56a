"""The index: its fields, settings and the record of who encoded it."""

from __future__ import annotations

from opensearch_splade.errors import TargetError
from opensearch_splade.index_meta import DenseMeta, IndexMeta, QueryWeightsMeta, SeismicMeta, SparseMeta
from opensearch_splade.types import Capabilities, Json, Requirement

RANK_FEATURES = Requirement("a rank_features field", (1, 0), "mapper-extras")
SPARSE_VECTOR = Requirement("a sparse_vector field (SEISMIC)", (3, 3), "opensearch-neural-search")
FLAT_OBJECT = Requirement("a flat_object field", (2, 7))
KNN_INNER_PRODUCT = Requirement("a kNN field with Lucene's inner product", (2, 13), "opensearch-knn")

HASH: Json = {"type": "keyword", "index": False}
"""The content hash: doc values alone, which is what an audit reads."""


def index_body(
    *,
    sparse: SparseMeta | None = None,
    dense: DenseMeta | None = None,
    query_weights: QueryWeightsMeta | None = None,
    analyzer: str = "english",
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
        query_weights: Where the collection's own query weights are stored.
        analyzer: A named analyzer for title and text.
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
        properties["sparse"] = _sparse_vector(seismic)
    elif sparse:
        capabilities.require(RANK_FEATURES)
        properties["sparse"] = {"type": "rank_features"}
    if dense:
        capabilities.require(KNN_INNER_PRODUCT)
        properties["dense"] = _knn_vector(dense.dimension)
    copies: Json = {"auto_expand_replicas": "0-1"} if replicas is None else {"number_of_replicas": replicas}
    codec: Json = {"knn": True} if dense else {"sparse": True} if seismic else {}
    meta = IndexMeta(sparse, dense, query_weights).to_json()
    return {
        "settings": {"index": {"number_of_shards": shards, **copies, **codec}},
        "mappings": {"dynamic": "strict", "_meta": meta, "properties": properties},
    }


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
