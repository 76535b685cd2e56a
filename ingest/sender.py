"""Sender: encoded documents in bulk requests of a good size, several on their way; what comes of each is noted.

The thread that sends a request also keeps the ledger: what is known of its documents is forgotten before, and noted as
soon as the cluster acknowledged them. So only what is on its way is ever in doubt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self

from opensearch_splade.errors import LedgerError, OspladeError, TargetError
from opensearch_splade.ingest.bulk import Action, BulkWriter, Failure, GaveUpError
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile, to_record
from opensearch_splade.ingest.document_encoder import Encoded
from opensearch_splade.ingest.ledger import Entry, Rows
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.types import Document

WRITERS = 2
"""Bulk requests in flight: one is on its way while the cluster works on the other."""
BULK_DOCUMENTS = 500
"""At most so many documents in a request."""
BULK_BYTES = 8_000_000
"""And so many bytes of them, unless a single document is larger."""


class _Outcome(NamedTuple):
    """What came of a request; ``error`` ends the run after the rest was noted."""

    refused: list[Failure]
    not_taken: int = 0
    error: OspladeError | None = None


@dataclass
class _Bulk:
    """The documents of one request."""

    documents: list[Document] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    size: int = 0

    def has_room(self, action: Action) -> bool:
        return not self.actions or (len(self.actions) < BULK_DOCUMENTS and self.size + len(action.source) <= BULK_BYTES)

    def add(self, one: Encoded, action: Action) -> None:
        self.documents.append(one.document)
        self.entries.append(Entry(action.id, one.hash))
        self.actions.append(action)
        self.size += len(action.source)


class Sender:
    """Sends and settles. As a context it waits for what is on its way, also when something broke off.

    Args:
        writer: Of the index.
        marker: What the ledger notes as the documents' marker.
        dead_letters: Where refused documents go.
        ledger: Where acknowledged documents are noted, if anywhere.
        report: ``indexed`` and ``bulks`` are counted here.
        tell: Called when a request was settled.
    """

    def __init__(
        self,
        writer: BulkWriter,
        marker: str,
        dead_letters: DeadLetterFile,
        ledger: Rows | None,
        report: IngestReport,
        tell: Callable[[], None],
    ) -> None:
        self._writer, self._marker, self._dead_letters, self._ledger = writer, marker, dead_letters, ledger
        self._report, self._tell = report, tell
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="bulk")
        self._pending: deque[tuple[_Bulk, Future[_Outcome]]] = deque()
        self._bulk = _Bulk()

    def add(self, encoded: Sequence[Encoded], actions: Iterable[Action]) -> None:
        """Sends what fills a request.

        Raises:
            ClusterError: The cluster stayed away for too long.
            TargetError: The index disappeared.
            LedgerError: What was acknowledged could not be noted.
        """
        for one, action in zip(encoded, actions, strict=True):
            if not self._bulk.has_room(action):
                self.flush()
            self._bulk.add(one, action)
        self._settle_finished()

    def flush(self) -> None:
        """Sends what has come together. Raises as ``add``."""
        if self._bulk.actions:
            bulk, self._bulk = self._bulk, _Bulk()
            self._pending.append((bulk, self._pool.submit(self._write, bulk)))
        self._settle_finished()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OspladeError):
            self._cancel()
        with ExitStack() as rest:
            rest.callback(self._pool.shutdown)
            for bulk, outcome in reversed(self._pending):
                rest.callback(self._settle, bulk, outcome)

    def _cancel(self) -> None:
        for _, outcome in self._pending:
            outcome.cancel()  # what has not begun would only wait for the same cluster

    def _write(self, bulk: _Bulk) -> _Outcome:
        refused: list[Failure] = []
        not_taken = len(bulk.actions)
        try:
            if self._ledger:
                self._ledger.forget([entry.id for entry in bulk.entries])
            refused = self._writer.write(bulk.actions)
            not_taken = 0
            if self._ledger:
                lost = {failure.id for failure in refused}
                self._ledger.acknowledge([entry for entry in bulk.entries if entry.id not in lost], self._marker)
        except GaveUpError as error:
            return _Outcome(error.refused, error.pending, error)
        except (LedgerError, TargetError) as error:
            return _Outcome(refused, not_taken, error)
        return _Outcome(refused)

    def _settle_finished(self) -> None:
        while len(self._pending) > WRITERS or (self._pending and self._pending[0][1].done()):
            self._settle(*self._pending.popleft())

    def _settle(self, bulk: _Bulk, outcome: Future[_Outcome]) -> None:
        if outcome.cancelled():
            return
        refused, not_taken, error = outcome.result()
        documents = {document.id: document for document in bulk.documents} if refused else {}
        for failure in refused:
            record = to_record(documents[failure.id])
            self._dead_letters.add(DeadLetter(f"id {failure.id}", failure.reason, record, failure.id))
        self._report.indexed += len(bulk.actions) - len(refused) - not_taken
        self._report.bulks += 1
        self._tell()
        if error:
            self._cancel()
            raise error
