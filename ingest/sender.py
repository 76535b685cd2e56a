"""Sender: encoded documents in bulk requests of a good size, several on their way; what comes of each is noted.

The thread that sends a request also keeps the ledger: what is known of its documents is forgotten before, and noted as
soon as the cluster acknowledged them. So only what is on its way is ever in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from opensearch_splade.errors import LedgerError, OspladeError, TargetError
from opensearch_splade.ingest.bulk import Action, BulkWriter, Failure, GaveUpError
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile, to_record
from opensearch_splade.ingest.ledger import Entry, Rows
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.ingest.serialiser import Encoded
from opensearch_splade.ingest.waits import Wait
from opensearch_splade.types import Document

WRITERS = 8
"""Bulk requests in flight at most; how many there are is the gate's to say."""
BULK_DOCUMENTS = 1_000
"""At most so many documents in a request."""
BULK_BYTES = 8_000_000
"""And so many bytes of them, unless a single document is larger; mostly fewer, as the gate says."""
_FULL = 4
"""Full requests that all those which are not settled may amount to: so many documents are in doubt after a crash."""


class _Outcome(NamedTuple):
    """What came of a request; ``error`` ends the run after the rest was noted."""

    refused: list[Failure]
    not_taken: Sequence[str] = ()
    error: OspladeError | None = None


@dataclass
class _Bulk:
    """The documents of one request; the actions of a document stay together."""

    documents: list[Document] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    owners: dict[str, Document] = field(default_factory=dict)
    size: int = 0

    def has_room(self, actions: Sequence[Action], size: int) -> bool:
        size -= sum(action.size for action in actions)
        fits = len(self.actions) + len(actions) <= BULK_DOCUMENTS and self.size <= size
        return fits or not self.actions

    def add(self, one: Encoded, actions: Sequence[Action]) -> None:
        self.documents.append(one.document)
        self.entries.append(Entry(one.document.id, one.hash))
        self.actions += actions
        self.owners |= dict.fromkeys((action.id for action in actions), one.document)
        self.size += sum(action.size for action in actions)


class Sender:
    """Sends and settles. As a context it waits for what is on its way, also when something broke off.

    Args:
        writer: Of the index.
        marker: What the ledger notes as the documents' marker.
        dead_letters: Where refused documents go.
        ledger: Where acknowledged documents are noted, if anywhere.
        report: ``indexed`` and ``bulks`` are counted here.
        tell: Called when a request was settled.
        blocked: Counts the time that the cluster is waited for.
    """

    def __init__(
        self,
        writer: BulkWriter,
        marker: str,
        dead_letters: DeadLetterFile,
        ledger: Rows | None,
        report: IngestReport,
        tell: Callable[[], None],
        blocked: Wait,
    ) -> None:
        self._writer, self._marker, self._dead_letters, self._ledger = writer, marker, dead_letters, ledger
        self._report, self._tell, self._blocked = report, tell, blocked
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="bulk")
        self._pending: dict[Future[_Outcome], _Bulk] = {}
        self._bulk = _Bulk()

    def add(self, encoded: Sequence[Encoded], actions: Iterable[Sequence[Action]]) -> None:
        """Sends what fills a request. Each document comes with its actions.

        Raises:
            ClusterError: The cluster stayed away for too long.
            TargetError: The index disappeared.
            LedgerError: What was acknowledged could not be noted.
        """
        for one, its_actions in zip(encoded, actions, strict=True):
            if not self._bulk.has_room(its_actions, min(self._writer.gate.size, BULK_BYTES)):
                self.flush()
            self._bulk.add(one, its_actions)
        self._settle_finished()

    def flush(self) -> None:
        """Sends what has come together. Raises as ``add``."""
        if self._bulk.actions:
            bulk, self._bulk = self._bulk, _Bulk()
            while not self._may_go(bulk):
                self._wait()
            self._pending[self._pool.submit(self._write, bulk)] = bulk
            while len(self._pending) > self._writer.gate.number:  # so one more than may be in flight is ready
                self._wait()
        self._settle_finished()

    def _may_go(self, bulk: _Bulk) -> bool:
        """Whether all that is not settled stays within bounds; a request may always go alone."""
        documents = len(bulk.actions) + sum(len(one.actions) for one in self._pending.values())
        size = bulk.size + sum(one.size for one in self._pending.values())
        return not self._pending or (documents <= _FULL * BULK_DOCUMENTS and size <= _FULL * BULK_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OspladeError):
            self._cancel()
        with ExitStack() as rest:
            rest.callback(self._pool.shutdown)
            for outcome in reversed(self._pending):
                rest.callback(self._settle, outcome)

    def _cancel(self) -> None:
        for outcome in self._pending:
            outcome.cancel()  # what has not begun would only wait for the same cluster

    def _write(self, bulk: _Bulk) -> _Outcome:
        refused: list[Failure] = []
        not_taken = list(bulk.owners)
        try:
            if self._ledger:
                self._ledger.forget([entry.id for entry in bulk.entries])
            refused = self._writer.write(bulk.actions)
            not_taken = []
            if self._ledger:
                lost = {bulk.owners[failure.id].id for failure in refused}
                self._ledger.acknowledge([entry for entry in bulk.entries if entry.id not in lost], self._marker)
        except GaveUpError as error:
            return _Outcome(error.refused, error.pending, error)
        except (LedgerError, TargetError) as error:
            return _Outcome(refused, not_taken, error)
        return _Outcome(refused)

    def _wait(self) -> None:
        with self._blocked:
            wait(self._pending, return_when=FIRST_COMPLETED)
        self._settle_finished()

    def _settle_finished(self) -> None:
        for outcome in [one for one in self._pending if one.done()]:
            self._settle(outcome)

    def _settle(self, outcome: Future[_Outcome]) -> None:
        bulk = self._pending.pop(outcome, None)
        if bulk is None or outcome.cancelled():
            return
        with self._blocked:
            refused, not_taken, error = outcome.result()
        dead = dict[str, str]()
        newer = {bulk.owners[failure.id].id for failure in refused if failure.superseded}
        self._report.superseded += len(newer)
        for failure in refused:
            document = bulk.owners[failure.id]
            if document.id not in dead and not failure.superseded:
                dead[document.id] = failure.reason
                letter = DeadLetter(f"id {document.id}", failure.reason, to_record(document), document.id)
                self._dead_letters.add(letter)
        lost = {bulk.owners[id_].id for id_ in not_taken}
        self._report.indexed += len(bulk.documents) - len(dead.keys() | lost | newer)
        self._report.bulks += 1
        self._tell()
        if error:
            self._cancel()
            raise error
