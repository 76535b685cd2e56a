"""Wiring: from options to a client, encoders and searchers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import TargetError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.onnx_models import DenseEncoder, Device, SparseEncoder, shipped_with
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.client import connect
from opensearch_splade.plugin.query_weights import load_query_weights
from opensearch_splade.query import PrunedQueries, QueryPruning, Searcher, SeismicSearch, WithFeatures
from opensearch_splade.types import Capabilities, QueryEncoder

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.onnx_models.checkpoint import Kind

QUERY_SIDES = ("auto", "inference-free", "siamese")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connected cluster."""

    client: OpenSearch
    capabilities: Capabilities


def open_cluster(url: str | None, *, insecure: bool = False) -> Cluster:
    """Connects and asks what the server can do."""
    client = connect(url, insecure=insecure)
    return Cluster(client, probe(client))


@dataclass(frozen=True, slots=True)
class QueryBundles:
    """How questions are encoded.

    Attributes:
        sparse: Sparse bundle; ``None`` takes the shipped one that made the index.
        dense: The same for the dense bundle.
        pruning: Which features of a sparse question are asked with; ``None`` asks with all.
        how: How thoroughly a ``sparse_vector`` field is searched.
        added: Features that are asked for beside the question, as ``FIELD=VALUE*WEIGHT``.
    """

    sparse: str | None = None
    dense: str | None = None
    pruning: QueryPruning | None = None
    how: SeismicSearch | None = None
    added: Sequence[str] = ()


def open_searchers(
    cluster: Cluster, index: str, bundles: QueryBundles, query_side: str = "auto"
) -> dict[str, Searcher]:
    """Searchers by query side, the preferred one first.

    ``auto`` gives each side that is there: inference-free by the table kept with the index, else by the bundle's own,
    and siamese by the model.

    Raises:
        TargetError: The wanted side is not to be had for this index.
    """
    meta = IndexMeta.read(cluster.client, index)
    dense = _dense(meta, bundles.dense)
    sides = _sparse_sides(cluster, meta, bundles.sparse, query_side)
    if query_side != "auto":
        if query_side not in sides:
            raise TargetError(
                f"index {index!r} cannot be asked {query_side}; possible: {', '.join(sides) or 'bm25 and knn only'}. "
                "Give --bundle, or count query weights with `osplade ingest … --query-weights idf`."
            )
        sides = {query_side: sides[query_side]}
    encoders: dict[str, QueryEncoder | None] = {**sides} if sides else {"": None}
    if pruning := bundles.pruning:
        encoders = {side: encoder and PrunedQueries(encoder, pruning) for side, encoder in encoders.items()}
    if added := bundles.added:
        encoders = {side: encoder and WithFeatures.parse(encoder, added) for side, encoder in encoders.items()}
    how = bundles.how or SeismicSearch()
    return {
        side: Searcher(cluster.client, index, capabilities=cluster.capabilities, sparse=encoder, dense=dense, how=how)
        for side, encoder in encoders.items()
    }


def _dense(meta: IndexMeta, given: str | None) -> DenseEncoder | None:
    name = given or (next(iter(shipped_with(meta.dense.fingerprint)), None) if meta.dense else None)
    return DenseEncoder.load(name) if name else None


def _sparse_sides(cluster: Cluster, meta: IndexMeta, given: str | None, wanted: str) -> dict[str, SparseEncoder]:
    encoders = _sparse_by_kind(meta, given)
    sides: dict[str, SparseEncoder] = {}
    if encoders and meta.query_weights and wanted != "siamese":
        table = load_query_weights(cluster.client, meta.query_weights)
        sides["inference-free"] = next(iter(encoders.values())).with_query_weights(table, meta.query_weights.kind)
    elif "inference-free" in encoders:
        sides["inference-free"] = encoders["inference-free"]
    if "siamese" in encoders:
        sides["siamese"] = encoders["siamese"]
    return sides


def _sparse_by_kind(meta: IndexMeta, given: str | None) -> dict[Kind, SparseEncoder]:
    if given:
        encoder = SparseEncoder.load(given, Device())
        return {encoder.bundle.manifest.kind: encoder}
    found = shipped_with(meta.sparse.fingerprint) if meta.sparse else {}
    return {kind: SparseEncoder.load(name) for name, kind in found.items()}
