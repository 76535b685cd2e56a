"""Target: the index that documents go to, made or checked before the first write."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError, TargetError
from opensearch_splade.index_meta import (
    CLUSTER,
    AddedMeta,
    DenseMeta,
    IndexMeta,
    LedgerMeta,
    PassagesMeta,
    SparseMeta,
)
from opensearch_splade.ingest.ledger import Ledger, Target
from opensearch_splade.ingest.ledger_shards import LedgerShards
from opensearch_splade.ingest.rules import Rules
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.plugin.analysis import Analysis
from opensearch_splade.plugin.index import ENGLISH, HASH, index_body
from opensearch_splade.plugin.segments import refresh
from opensearch_splade.transport import asking
from opensearch_splade.types import Capabilities

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """How an index is made where there is none yet.

    Attributes:
        analysis: Of title and text.
        shards: Primary shards.
        replicas: Copies of each; ``None`` keeps one wherever the cluster has a second node.
    """

    analysis: Analysis = ENGLISH
    shards: int = 1
    replicas: int | None = None


def meta_for(sparse: SparseEncoder, dense: DenseEncoder | None, rules: Rules) -> IndexMeta:
    """What an index says of itself when these encoders fill it by these rules."""
    manifest, pruning = sparse.bundle.manifest, str(rules.pruning or "")
    return IndexMeta(
        sparse=SparseMeta(sparse.fingerprint, manifest.name, manifest.kind, pruning, rules.seismic),
        dense=DenseMeta(dense.fingerprint, dense.bundle.manifest.name, dense.dimension) if dense else None,
        passages=rules.meta,
        added=rules.added.meta,
        kept=rules.kept,
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
        passages=wanted.passages,
        added=wanted.added,
        analysis=options.analysis,
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


def pipeline_for(client: OpenSearch, index: str) -> str:
    """What documents that were encoded here pass in the cluster: ``_none`` where it would encode them again, else "".

    Raises:
        TargetError: The index has a semantic field, which no pipeline turns off; or there is no such index.
        ClusterError: The cluster does not answer or refuses.
    """
    with asking(index):
        mappings = client.indices.get_mapping(index=index)
    metas = [one["mappings"].get("_meta", {}).get(CLUSTER) for one in mappings.values()]
    if any(one and one.get("encoded_by") == "semantic" for one in metas):
        raise TargetError(
            f"index {index!r} has a semantic field, which the cluster encodes itself: write plain documents to it by "
            "_bulk, or declare an ingest pipeline in its place (osplade cluster)."
        )
    return "_none" if any(metas) else ""


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
        uuid = index_uuid(client, index)
        with asking(index):
            cluster = client.info()["cluster_uuid"]
            refresh(client, index)
            stored = client.count(index=index)["count"]
        noted = meta.ledger.name if meta.ledger else ""
        why = ledger.claim(Target(cluster, index, uuid), noted=noted, stored=stored)
    known_by = LedgerMeta(ledger.name) if ledger else None
    if meta.ledger != known_by:
        replace(meta, ledger=known_by).write(client, index)
    return why


def index_uuid(client: OpenSearch, index: str) -> str:
    """The index' own id, which one that is deleted and made anew does not keep; of an alias those of its indices.

    Raises:
        TargetError: There is no such index.
        ClusterError: The cluster does not answer or refuses.
    """
    with asking(index):
        settings = client.indices.get_settings(index=index)
    return "+".join(sorted(one["settings"]["index"]["uuid"] for one in settings.values()))


class Watch:
    """Sees whether an index is still the one that a run began to write, and that run's alone.

    Args:
        client: Connected to the cluster.
        index: Claimed (see ``claim_index``).
        wanted: What it must say of itself.
        ledger: That of the run.

    Raises:
        TargetError: There is no such index.
        ClusterError: The cluster does not answer or refuses.
    """

    def __init__(self, client: OpenSearch, index: str, wanted: IndexMeta, ledger: Ledger | LedgerShards | None) -> None:
        self._client, self._index, self._wanted = client, index, wanted
        self._known_by = LedgerMeta(ledger.name) if ledger else None
        self._uuid = index_uuid(client, index)

    def __call__(self) -> None:
        """Looks again.

        Raises:
            TargetError: It was deleted, made anew, or written by another run.
            ClusterError: The cluster does not answer or refuses.
        """
        meta = IndexMeta.read(self._client, self._index)
        check_index(self._index, meta, self._wanted)
        if index_uuid(self._client, self._index) != self._uuid:
            raise TargetError(
                f"index {self._index!r} was deleted and made anew during the run, so what it held before is gone: run "
                "the same command again."
            )
        if meta.ledger == self._known_by:
            return
        if meta.ledger:
            # Either may have written over what the other's ledger takes for stored, so neither is believed again.
            replace(meta, ledger=None).write(self._client, self._index)
        raise TargetError(
            f"index {self._index!r} was written by another run meanwhile, which used another ledger or none: let one "
            "run write at a time, and run the same command again."
        )


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
    if found.sparse and wanted.sparse and found.sparse.field != wanted.sparse.field:
        raise TargetError(
            f"index {index!r} has a {found.sparse.field} field, and {wanted.sparse.field} was to be written: "
            "an index keeps its kind of field; begin again without --sparse-field, or make a new index."
        )
    if found.sparse and wanted.sparse and found.sparse.pruning != wanted.sparse.pruning:
        raise TargetError(
            f"index {index!r} holds vectors pruned by {found.sparse.pruning or 'nothing'}, these would be pruned by "
            f"{wanted.sparse.pruning or 'nothing'}: give the same --prune, or make a new index."
        )
    _check_vectors(index, found, wanted)


def _check_vectors(index: str, found: IndexMeta, wanted: IndexMeta) -> None:
    """Refuses vectors of other passages or with other features beside them."""
    has, gets = (_said(one.passages or PassagesMeta(), one.added or AddedMeta()) for one in (found, wanted))
    for option, value in has.items():
        if value != gets[option]:
            raise TargetError(
                f"index {index!r} was made with {option} {value or '(none)'}, and this run has "
                f"{gets[option] or 'none'}: give the same, or make a new index."
            )


def _said(passages: PassagesMeta, added: AddedMeta) -> dict[str, str]:
    """By the options that say it."""
    return {
        "--passages": passages.rule,
        "--store-passages": passages.store,
        "--gate": passages.gate,
        "--feature-field": ", ".join(added.features),
        "--static-field": ", ".join(added.static),
    }
