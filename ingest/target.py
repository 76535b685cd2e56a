"""Target: the index that documents go to, made or checked before the first write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError, TargetError
from opensearch_splade.index_meta import DenseMeta, IndexMeta, LedgerMeta, SparseMeta
from opensearch_splade.ingest.ledger import Ledger, Target
from opensearch_splade.ingest.ledger_shards import LedgerShards
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.plugin.index import HASH, index_body
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
        _add_hash(client, index)
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


def _add_hash(client: OpenSearch, index: str) -> None:
    """The field of content hashes for an index of an older version, whose strict mapping would refuse them.

    A new field is the one change that a mapping takes at any time; documents get their hash when they are written next.
    """
    with asking(index):
        mappings = client.indices.get_mapping(index=index)
        if any("hash" not in one["mappings"].get("properties", {}) for one in mappings.values()):
            client.indices.put_mapping(index=index, body={"properties": {"hash": HASH}})


def claim_index(client: OpenSearch, index: str, ledger: Ledger | LedgerShards | None) -> str:
    """Notes in the index which ledger knows its documents, before the first is written.

    Args:
        client: Connected to the cluster.
        index: Made or checked.
        ledger: That of this run; ``None`` makes every ledger begin anew, since none will know what this run writes.

    Returns:
        Why the ledger begins anew; empty if it does not.

    Raises:
        LedgerError: It speaks of another index.
        ClusterError: The cluster does not answer or refuses.
    """
    meta = IndexMeta.read(client, index)
    why = ""
    if ledger:
        with asking(index):
            settings = client.indices.get_settings(index=index)
            uuid = "+".join(sorted(one["settings"]["index"]["uuid"] for one in settings.values()))
            cluster = client.info()["cluster_uuid"]
            client.indices.refresh(index=index)
            stored = client.count(index=index)["count"]
        noted = meta.ledger.name if meta.ledger else ""
        why = ledger.claim(Target(cluster, index, uuid), noted=noted, stored=stored)
    known_by = LedgerMeta(ledger.name) if ledger else None
    if meta.ledger != known_by:
        with asking(index):
            client.indices.put_mapping(index=index, body={"_meta": replace(meta, ledger=known_by).to_json()})
    return why


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
