"""Copying: what the old index holds is brought over to the new one, then what changed meanwhile, until it is little.

The first time is no different from all others: the old index is read on from where it was brought over to, in the order
of its sequence numbers. What was deleted leaves no trace there, so ids are compared where counts do not agree.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from opensearch_splade.errors import LedgerError, MigrationError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.bulk import BulkWriter
from opensearch_splade.ingest.dead_letters import DeadLetterFile
from opensearch_splade.ingest.ledger import Ledger, Target
from opensearch_splade.ingest.pipeline import run
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.ingest.request_compression import RequestCompression
from opensearch_splade.ingest.target import index_uuid
from opensearch_splade.migration.deletes import Deletes, known_to
from opensearch_splade.migration.history import History
from opensearch_splade.migration.index_traps import unreadable
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.order import may_begin
from opensearch_splade.migration.pacing import Pacer, unhindered
from opensearch_splade.migration.progress import ProgressFile
from opensearch_splade.migration.reader import ShardReader
from opensearch_splade.migration.target import our_mapping
from opensearch_splade.migration.write_block import unblock
from opensearch_splade.plugin.client import is_loopback
from opensearch_splade.transport import asking
from opensearch_splade.types import Document

_AT_ONCE = 500


@dataclass
class Copied:
    """What was done so far. Counts are documents.

    Attributes:
        total: Of the source when this began.
        read: Read of it.
        indexed: Encoded and acknowledged.
        unchanged: There already.
        superseded: Written by others meanwhile, so that they come again; in place only.
        deleted: Deleted in the new index, because they were in the old one.
        dead: Refused by the new index.
        gap: Writes that the old index had and that were not read, when it was last looked.
        slowest: The step of the pipeline that holds the rest up.
        slowed: Why less is read than could be; empty where nothing holds reading back.
    """

    total: int = 0
    read: int = 0
    indexed: int = 0
    unchanged: int = 0
    superseded: int = 0
    deleted: int = 0
    dead: int = 0
    gap: int = 0
    slowest: str = ""
    slowed: str = ""


Told = Callable[[Copied], None]
Sieve = Callable[[Iterator[Document]], Iterator[Document]]


def begin(job: Job) -> bool:
    """Makes the new index, or the fields in place; once.

    Returns:
        Whether it was made now.

    Raises:
        MigrationError: The source cannot be read, or the target is an index that this migration did not make.
        CapabilityError: The server lacks a field type.
        ClusterError: The cluster does not answer or refuses.
    """
    for finding in unreadable(job.source):
        raise MigrationError(f"{finding.what}: {finding.remedy}.")
    state, target = job.state, job.spec.target
    with state.locked():
        with asking(target):
            exists = bool(job.client.indices.exists(index=target))
        may_begin(state)
        if job.in_place:
            return _begin_in_place(job)
        if exists:
            _require_own(job)
            if state.last("rolled-back"):  # since when it is read-only
                unblock(job.client, target)
        else:
            with asking(target):
                job.client.indices.create(index=target, body=job.body(state.record.ledger_name))
        if not state.last("begun"):  # also where a run ended right after it made the index
            state.note("begun", documents=count(job))
        return not exists


def _require_own(job: Job) -> None:
    meta = _meta(job)
    if meta is None or meta.ledger is None or meta.ledger.name != job.state.record.ledger_name:
        raise MigrationError(
            f"an index or alias {job.spec.target!r} is there already, and this migration did not make it: name another "
            "target, or delete it if nobody needs it."
        )


def _begin_in_place(job: Job) -> bool:
    if job.source.meta and job.source.meta.kept is None:
        raise MigrationError(
            f"index {job.source.name!r} was made by osplade ingest: other vectors need another index, so take way copy."
        )
    if job.source.meta:
        job.source.meta.check_fingerprints(
            job.source.name, sparse=job.sparse.fingerprint, dense=job.dense.fingerprint if job.dense else None
        )
    properties = our_mapping(job.meta, job.capabilities)
    with asking(job.source.name):
        job.client.indices.put_mapping(index=job.source.name, body={"properties": properties})
    if job.source.meta is None:
        job.meta.write(job.client, job.source.name)
    if job.state.last("begun"):
        return False
    job.state.note("begun", documents=count(job))
    return True


def _meta(job: Job) -> IndexMeta | None:
    with asking(job.spec.target):
        mappings = job.client.indices.get_mapping(index=job.spec.target)
    if list(mappings) != [job.spec.target]:
        return None
    parts = mappings[job.spec.target]["mappings"].get("_meta", {})
    return IndexMeta.from_mappings(job.spec.target, mappings) if "opensearch_splade" in parts else None


def count(job: Job) -> int:
    """Documents of the source that can be seen now."""
    with asking(job.source.name):
        return int(job.source_client.count(index=job.source.name)["count"])


class Copier:
    """Brings shards over. As a context it holds the ledgers of those that no other worker has.

    Args:
        job: Begun.
        pace: How fast documents may be read; as fast as they can by default.
        tell: Told now and then.
        through: What documents pass before they are encoded.

    Raises:
        MigrationError: Other workers have all shards.
        LedgerError: A ledger is damaged or cannot be written.
    """

    def __init__(
        self, job: Job, pace: Pacer | None = None, tell: Told = lambda _: None, *, through: Sieve = iter
    ) -> None:
        self.job, self._pace, self._tell, self._through = job, pace or unhindered(), tell, through
        self.copied = Copied(total=count(job))
        self._open = ExitStack()
        self._ledgers: dict[int, Ledger] = {}
        self._progress: dict[int, ProgressFile] = {}
        compression = RequestCompression(loopback=is_loopback(job.client))
        # Documents are what a pipeline made of them once: it must not run again.
        self._writer = BulkWriter(job.client, job.spec.target, compression=compression, pipeline="_none")
        self._deletes = Deletes(job, self._writer)
        self._encoder = job.encoder()

    def __enter__(self) -> Copier:
        try:
            self._encoder.load()
            self._dead_letters = self._open.enter_context(DeadLetterFile(self.job.state.dead_letters))
            self._open_ledgers()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards that this worker brings over."""
        return tuple(self._ledgers)

    @property
    def has_all(self) -> bool:
        """Whether no other worker is there."""
        return len(self._ledgers) == self.job.source.shards

    @property
    def documents(self) -> int:
        """How many the new index should hold of the shards that this worker has."""
        return sum(ledger.documents for ledger in self._ledgers.values())

    def knows(self, ids: set[str]) -> set[str]:
        """Which of these the new index should hold."""
        return known_to(self._ledgers, ids)

    def _open_ledgers(self) -> None:
        state = self.job.state
        state.ledger(0).parent.mkdir(exist_ok=True)
        busy: LedgerError | None = None
        for shard in range(self.job.source.shards):
            try:
                self._ledgers[shard] = self._open.enter_context(Ledger(state.ledger(shard)))
                self._progress[shard] = self._open.enter_context(ProgressFile(state.ledger(shard).parent, shard))
            except LedgerError as error:
                if "Another run" not in str(error):
                    raise
                busy = error
        if not self._ledgers:
            raise MigrationError(
                f"other workers bring over all {self.job.source.shards} shards of {self.job.source.name!r} just now: "
                "an index has work for as many workers as it has shards."
            ) from busy
        self._claim()

    def _claim(self) -> None:
        """Makes sure that what the ledgers say is true of the new index."""
        job, state = self.job, self.job.state
        if not job.in_place:
            _require_own(job)
        with asking(job.spec.target):
            cluster = job.client.info()["cluster_uuid"]
        target = Target(cluster, job.spec.target, index_uuid(job.client, job.spec.target))
        for shard, ledger in self._ledgers.items():
            if ledger.name != state.record.ledger_name:
                ledger.begin_anew(state.record.ledger_name)
            ledger.claim(target, noted=ledger.name, stored=sys.maxsize)
            self._progress[shard].note(ledger.position, ledger.position)

    def again(self) -> None:
        """Everything will be read again; what the ledgers know is not encoded again."""
        for ledger in self._ledgers.values():
            ledger.reach(-1)

    def renew(self, ids: Sequence[str]) -> None:
        """What the ledgers know of these is not true: the next round reads everything and encodes these again."""
        for ledger in self._ledgers.values():
            ledger.forget(ids)
        self.again()

    def round(self) -> int:
        """Brings over what is new in each shard.

        Returns:
            How many writes of the source were not read when the round ended.

        Raises:
            SourceError: The source cannot be read.
            ClusterError: The target's cluster stayed away for too long.
            TargetError: The new index is gone.
            LedgerError: The ledger cannot be written.
        """
        for shard, ledger in self._ledgers.items():
            history = self.job.history(shard)
            self._bring_over(history, ledger)
            if not self.job.in_place:
                self.copied.deleted += self._deletes.of_shard(history, ledger)
        if self.has_all and not self.job.in_place and self.job.state.step != "cut-over":
            self.copied.deleted += self._deletes.unnoted(self._ledgers)
        return self.look()

    def look(self) -> int:
        """How many writes of the source have not been read."""
        gaps = (self.job.history(shard).checkpoint() - ledger.position for shard, ledger in self._ledgers.items())
        self.copied.gap = sum(gaps)
        self._tell(self.copied)
        return self.copied.gap

    def _bring_over(self, history: History, ledger: Ledger) -> None:
        upto = history.checkpoint()
        while ledger.position < upto:
            reader = ShardReader(self.job, history, ledger.position, upto)
            base = Copied(**vars(self.copied))
            # In place the documents themselves say what they were encoded from, whoever wrote them last.
            report = run(
                self._through(self._pace(iter(reader))),
                self._encoder,
                self._writer,
                self._dead_letters,
                partial(self._add, base, reader),
                ledger=None if self.job.in_place else ledger,
            )
            self._add(base, reader, report)
            ledger.reach(reader.last)
            self._progress[history.shard].note(reader.last, reader.last, self._pace.said)

    def _add(self, base: Copied, reader: ShardReader, report: IngestReport) -> None:
        self.copied.read = base.read + report.read
        self.copied.indexed = base.indexed + report.indexed
        self.copied.unchanged = base.unchanged + report.unchanged + reader.encoded_already
        self.copied.superseded = base.superseded + report.superseded
        self.copied.dead = self._dead_letters.count
        self.copied.slowest, self.copied.slowed = report.slowest, self._pace.said
        self._progress[reader.history.shard].note(reader.after, reader.last, self._pace.said)
        self._tell(self.copied)
