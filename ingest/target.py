"""Target: the index that documents go to, made or checked before the first write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError, TargetError
from opensearch_splade.index_meta import DenseMeta, IndexMeta, SparseMeta
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.plugin.index import index_body
from opensearch_splade.transport import asking
from opensearch_splade.types import Capabilities

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How an index is made where there is none yet.

    Attributes:
        analyzer: A named analyzer for title and text.
        shards: Primary shards.
        replicas: Copies of each; ``None`` keeps one wherever the cluster has a second node.
    """

    analyzer: str = "english"
    shards: int = 1
    replicas: int | None = None


def meta_for(sparse: SparseEncoder, dense: DenseEncoder | None, pruning: Pruning | None) -> IndexMeta:
    """What an index says of itself when these encoders fill it."""
    manifest = sparse.bundle.manifest
    return IndexMeta(
        sparse=SparseMeta(sparse.fingerprint, manifest.name, manifest.kind, str(pruning) if pruning else ""),
        dense=DenseMeta(dense.fingerprint, dense.bundle.manifest.name, dense.dimension) if dense else None,
    )


def prepare_index(
    client: OpenSearch, index: str, wanted: IndexMeta, options: IndexOptions, capabilities: Capabilities
) -> bool:
    """Makes the index, or checks that an existing one takes exactly these vectors.

    Returns:
        Whether it was made.

    Raises:
        TargetError: An existing index was not made by this package or holds other vectors.
        CapabilityError: The server lacks a field type.
        ClusterError: The cluster does not answer or refuses.
    """
    with asking(index):
        exists = client.indices.exists(index=index)
    if exists:
        check_index(index, IndexMeta.read(client, index), wanted)
        return False
    body = index_body(
        sparse=wanted.sparse,
        dense=wanted.dense,
        analyzer=options.analyzer,
        shards=options.shards,
        replicas=options.replicas,
        capabilities=capabilities,
    )
    try:
        with asking(index):
            client.indices.create(index=index, body=body)
    except ClusterError:
        with asking(index):
            made_meanwhile = client.indices.exists(index=index)
        if not made_meanwhile:
            raise
        check_index(index, IndexMeta.read(client, index), wanted)  # by another run
        return False
    return True


def check_index(index: str, found: IndexMeta, wanted: IndexMeta) -> None:
    """Refuses to mix vectors.

    Raises:
        TargetError: Says what differs.
    """
    found.check_fingerprints(
        index,
        sparse=wanted.sparse.fingerprint if wanted.sparse else None,
        dense=wanted.dense.fingerprint if wanted.dense else None,
    )
    for kind, option in (("sparse", "--bundle"), ("dense", "--dense-bundle")):
        has, gets = getattr(found, kind), getattr(wanted, kind)
        if has and not gets:
            raise TargetError(f"index {index!r} holds {kind} vectors of {has.bundle!r}: give {option} {has.bundle}.")
        if gets and not has:
            raise TargetError(
                f"index {index!r} has no field for {kind} vectors: leave out {option}, or make a new index."
            )
    if found.sparse and wanted.sparse and found.sparse.pruning != wanted.sparse.pruning:
        raise TargetError(
            f"index {index!r} holds vectors pruned by {found.sparse.pruning or 'nothing'}, these would be pruned by "
            f"{wanted.sparse.pruning or 'nothing'}: give the same --prune, or make a new index."
        )
