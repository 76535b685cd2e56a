"""Job: a migration with all that it needs at hand: clusters, indices, encoders, state."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from opensearch_splade.errors import MigrationError
from opensearch_splade.index_meta import IndexMeta, LedgerMeta, SeismicMeta
from opensearch_splade.ingest.document_encoder import DocumentEncoder
from opensearch_splade.ingest.rules import Rules
from opensearch_splade.ingest.seismic import SAMPLE, FieldOptions, check_seismic, choose
from opensearch_splade.ingest.serialiser import Serialiser
from opensearch_splade.ingest.target import meta_for
from opensearch_splade.ingest.term_budget import parse_rule
from opensearch_splade.migration.documents import documents
from opensearch_splade.migration.elsewhere import brought
from opensearch_splade.migration.history import NOTHING, History
from opensearch_splade.migration.source import SourceIndex
from opensearch_splade.migration.spec import MigrationSpec
from opensearch_splade.migration.state import State
from opensearch_splade.migration.target import kept_meta, target_body
from opensearch_splade.migration.vectors import Language, VectorCopier
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.client import connect, server_info
from opensearch_splade.plugin.connection import SOURCE
from opensearch_splade.transport import asking
from opensearch_splade.types import Capabilities, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


@dataclass
class Job:
    """One migration.

    Attributes:
        spec: What is to be done.
        client: Connected to the target's cluster.
        source_client: To the source's, which is mostly the same.
        capabilities: What the target's server can do.
        source: The old index, as it is now.
        sparse: Encodes features.
        dense: Encodes vectors, if a kNN field is wanted.
        folder: Where the state lies, or will.
    """

    spec: MigrationSpec
    client: OpenSearch
    source_client: OpenSearch
    capabilities: Capabilities
    source: SourceIndex
    sparse: SparseEncoder
    dense: DenseEncoder | None
    folder: Path
    _state: State | None = field(default=None, repr=False)

    @classmethod
    def open(cls, spec: MigrationSpec, client: OpenSearch, folder: Path | None = None) -> Job:
        """Connects, loads and looks; writes nothing.

        Args:
            spec: What is to be done.
            client: Connected to the target's cluster.
            folder: Of the state; by default named after the target, here.

        Raises:
            MigrationError: The source cannot be migrated so.
            TargetError: There is no such index.
            BundleError: A bundle cannot be loaded.
            ClusterError: A cluster does not answer or refuses.
        """
        source_client = client_of_source(spec, client)
        folder = folder or default_folder(spec.target)
        name = spec.source_name
        if (folder / "migration.json").exists():  # by then an alias may stand for the new index
            name = State.open(folder).record.source_index
        capabilities = probe(client)
        source = SourceIndex.read(source_client, name)
        if spec.is_elsewhere:
            source = brought(source, server_info(source_client)["version"], spec, capabilities)
        if source.meta and source.meta.passages and source.meta.passages.store == "documents":
            raise MigrationError(
                f"index {source.name!r} holds passages as documents of their own: what they were cut from is not in "
                "it. Ingest its source again with the other bundle."
            )
        if spec.way == "in-place" and spec.target != source.name:
            raise MigrationError(f"in place the target is the index itself: say target {source.name!r}.")
        if spec.way != "in-place" and spec.target == source.name and not spec.is_elsewhere:
            raise MigrationError(f"{spec.target!r} is the source: name a new index, or migrate in place.")
        dense = DenseEncoder.load(spec.dense_bundle) if spec.dense_bundle else None
        sparse = SparseEncoder.load(spec.bundle)
        return cls(spec, client, source_client, capabilities, source, sparse, dense, folder)

    @property
    def in_place(self) -> bool:
        """Whether vectors are added to the index itself."""
        return self.spec.way == "in-place"

    @cached_property
    def rules(self) -> Rules:
        """How documents become what is stored."""
        pruning = parse_rule(self.spec.prune) if self.spec.prune else None
        return Rules(pruning=pruning, kept=kept_meta(self.source, self.spec), seismic=self._seismic())

    @cached_property
    def meta(self) -> IndexMeta:
        """What the new index says of itself."""
        meta = meta_for(self.sparse, self.dense, self.rules)
        if meta.sparse and self.spec.foreign:
            name = self.spec.foreign
            meta = replace(
                meta, sparse=replace(meta.sparse, fingerprint=f"foreign:{name}", bundle=name, kind="siamese")
            )
        return meta

    def _seismic(self) -> SeismicMeta | None:
        """What the new index has, if it is there; else by the first documents of the old one."""
        if self.spec.sparse_field == "rank_features":
            return None
        check_seismic(self.sparse, self.dense, self.capabilities)
        with asking(self.spec.target):
            if self.client.indices.exists(index=self.spec.target):
                found = IndexMeta.read(self.client, self.spec.target)
                return found.sparse.seismic if found.sparse else None
        history = self.history(0)
        hits = next(iter(history.read(NOTHING, history.checkpoint(), page=SAMPLE)), [])
        sample = list(documents(hits, kept_meta(self.source, self.spec)))
        return choose(self.sparse, FieldOptions("sparse_vector"), sample)

    @cached_property
    def marker(self) -> tuple[str, ...]:
        """What the ``encoded`` field of a document says."""
        return tuple(part.fingerprint for part in (self.meta.sparse, self.meta.dense) if part)

    def encoder(self) -> DocumentEncoder:
        """A fresh document encoder, or what copies vectors in its place."""
        if self.spec.way != "vectors":
            return self.rules.encoder(self.sparse, self.dense, self.marker)
        token_ids = {} if self.spec.foreign else self.sparse.token_ids
        serialiser = Serialiser(self.sparse, self.marker, seismic=self.rules.seismic, kept=self.rules.kept)
        from_ids = self.source.fields.get(self.spec.vectors) == "sparse_vector"
        language = Language(token_ids, from_ids=from_ids, to_ids=self.rules.seismic is not None)
        return VectorCopier(self.sparse, serialiser, self.dense, language=language)

    def body(self, ledger_name: str) -> Json:
        """The body of ``PUT {target}``."""
        meta = replace(self.meta, ledger=LedgerMeta(ledger_name))
        return target_body(self.source, self.spec, meta, self.capabilities)

    def history(self, shard: int) -> History:
        """A shard of the source."""
        return History(self.source_client, self.source.name, shard, self._left_out)

    @property
    def _left_out(self) -> tuple[str, ...]:
        """What need not be read of the source: vectors of ours, and what the new index does without."""
        ours = tuple(self.source.meta.name(field) for field in ("sparse", "dense")) if self.source.meta else ()
        vectors = self.spec.vectors
        return tuple(field for field in (*self.spec.drop, *ours) if not f"{vectors}.".startswith(f"{field}."))

    @property
    def state(self) -> State:
        """The state folder, begun if it was not."""
        if self._state is None:
            self._state = State.begin(self.folder, self.spec, self.source.name, self.source.uuid)
        return self._state


def client_of_source(spec: MigrationSpec, client: OpenSearch) -> OpenSearch:
    """The client for the source, which is on the target's cluster or on another one."""
    if not spec.is_elsewhere:
        return client
    user, password = spec.credentials
    return connect(spec.source_url, environment=SOURCE, user=user or None, password=password or None)


def default_folder(target: str) -> Path:
    """Where the state of a migration lies."""
    return Path(f"osplade-migration-{target}")
