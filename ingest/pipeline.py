"""Pipeline: source to acknowledged documents in the index.

One direction, every step in a thread of its own with a bounded channel before it:

    read and hash -> skip what is unchanged, tokenise -> encode (sparse, then dense) -> serialise, send -> bulk, note

Each step hands documents on one by one and in order, so no step waits for a window of another to fill or to end.
Reading happens in the calling thread, so that an interruption arrives there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import DocumentError, SourceError
from opensearch_splade.ingest.bulk import Action, BulkWriter
from opensearch_splade.ingest.channel import BrokenOffError, Channel
from opensearch_splade.ingest.content import content_hash, size_of
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile, to_record
from opensearch_splade.ingest.document_encoder import DocumentEncoder, Piece, Tokenised
from opensearch_splade.ingest.documents import require_id
from opensearch_splade.ingest.encoder_step import ENCODER_PATIENCE, through
from opensearch_splade.ingest.ledger import Entry, Rows
from opensearch_splade.ingest.report import IngestReport, Progress, Sending, Teller
from opensearch_splade.ingest.sender import Sender
from opensearch_splade.ingest.serialiser import Encoded
from opensearch_splade.ingest.waits import Steps
from opensearch_splade.onnx_models.sparse_rows import SparseRow
from opensearch_splade.types import Document, Features, passage_id

ROOM = 256
"""Documents that may wait between two steps."""
ROOM_SIZE = 16_000_000
"""And characters of them."""
SENDER_PATIENCE = 0.5
"""Seconds without a new document after which a bulk request goes, though it is not full."""


Leftovers = Callable[[Sequence[str]], Mapping[str, int]]
"""Ids of documents to how many passages of each the index held before."""


class Hashed(NamedTuple):
    """A document and its content hash."""

    document: Document
    hash: str


class _New(NamedTuple):
    """A document that is to be encoded."""

    hashed: Hashed
    tokenised: Tokenised
    added: tuple[Features, Features]


def run(
    records: Iterable[Document | DeadLetter],
    encoder: DocumentEncoder,
    writer: BulkWriter,
    dead_letters: DeadLetterFile,
    on_progress: Progress = lambda _: None,
    *,
    ledger: Rows | None = None,
    newest_known: bool = False,
    leftovers: Leftovers | None = None,
) -> IngestReport:
    """Brings every document of a source into the index, or into the dead letters.

    Args:
        records: The source, each id once (see ``without_duplicates``).
        encoder: Of the index' vectors.
        writer: Of the index.
        dead_letters: For what cannot be written.
        on_progress: Told now and then, from several threads but never from two at once.
        ledger: Open, and claimed for the index: what it knows is not sent again.
        newest_known: Whether a document that the ledger knows with another content is older than that one, as a dead
            letter is; it is left out then.
        leftovers: Where passages are documents: how many of them the index held of each document before this run. What
            a document no longer has is deleted.

    Raises:
        SourceError: The source cannot be read to its end; what was read before is in the index.
        ClusterError: The cluster stayed away for too long; what was acknowledged stays.
        TargetError: The index disappeared.
        LedgerError: The ledger cannot be read or written; what was acknowledged stays.
    """
    return _Run(encoder, writer, dead_letters, on_progress, ledger, newest_known, leftovers)(records)


class _Run:
    """The steps of one run and the channels between them."""

    def __init__(
        self,
        encoder: DocumentEncoder,
        writer: BulkWriter,
        dead_letters: DeadLetterFile,
        on_progress: Progress,
        ledger: Rows | None,
        newest_known: bool,
        leftovers: Leftovers | None,
    ) -> None:
        self._encoder, self._writer, self._dead_letters, self._ledger = encoder, writer, dead_letters, ledger
        self._newest_known, self._leftovers = newest_known, leftovers
        self._marker = " ".join(encoder.marker)
        self._report = IngestReport()
        self._tell = Teller(self._report, self._refresh, on_progress)
        dense = ["dense encoder"] if encoder.dense else []
        names = ["source", "tokenizer", "encoder", *dense, "codec", "cluster"]
        self._steps = Steps(names, time.monotonic())
        self._channels: dict[str, Channel[Any]] = {
            name: Channel(
                ROOM,
                size=_size,
                sizes=ROOM_SIZE,
                starved=self._steps[name].starved,
                blocked=self._steps[before].blocked,
            )
            for before, name in pairwise(names[:-1])
        }
        self._read: Channel[Hashed] = self._channels["tokenizer"]
        self._new: Channel[_New] = self._channels["encoder"]
        self._complete: Channel[Encoded] = self._channels["codec"]
        self._encoded: Channel[Encoded] = self._channels["dense encoder"] if dense else self._complete

    def __call__(self, records: Iterable[Document | DeadLetter]) -> IngestReport:
        steps: list[tuple[str, Callable[[], None], Channel[Any] | None]] = [
            ("tokenizer", self._sift, self._new),
            ("encoder", self._encode, self._encoded),
            ("codec", self._send, None),
        ]
        if self._encoder.dense:
            steps.insert(2, ("dense encoder", self._encode_dense, self._complete))
        broken: SourceError | None = None
        with self._tell, ThreadPoolExecutor(len(steps), thread_name_prefix="ingest") as pool:
            running = [pool.submit(self._guarded, *step) for step in steps]
            try:
                broken = self._take_in(records)
                self._read.end()
                self._steps["source"].end()
                for step in running:
                    step.result()
            except BaseException as error:
                self._break_off()
                # What is on its way is waited for, and noted. The last step's error says most: it is the cluster's.
                failures = [step.exception() for step in reversed(running)]
                first = next((one for one in failures if one and not isinstance(one, BrokenOffError)), None)
                if first is None or not isinstance(error, Exception):
                    raise
                raise first from None
            finally:
                self._tell()
                self._report.slowest = self._steps.slowest(time.monotonic())
        if broken:
            done = f"{self._report.indexed:,} documents are in the index"
            if self._report.unchanged:
                done += f", {self._report.unchanged:,} were there"
            raise SourceError(
                f"{broken} What came before is done: {done}, {self._report.dead:,} in the dead letters."
            ) from broken
        return self._report

    def _guarded(self, name: str, step: Callable[[], None], out: Channel[Any] | None) -> None:
        try:
            step()
            self._steps[name].end()
            if out is not None:
                out.end()
        except BaseException:
            self._break_off()
            raise

    def _break_off(self) -> None:
        for channel in self._channels.values():
            channel.break_off()

    def _refresh(self) -> None:
        now, gate = time.monotonic(), self._writer.gate
        self._report.dead, self._report.retries = self._dead_letters.count, gate.retries.total()
        self._report.slowest = self._steps.bottleneck(now)
        self._report.steps = self._steps.told(now)
        self._report.queues = {name: channel.depth for name, channel in self._channels.items()}
        self._report.sending = Sending(
            gate.size,
            gate.number,
            gate.flying,
            gate.flying_bytes,
            gate.compressed,
            gate.latencies.quantiles(),
            dict(gate.retries),
        )

    def _take_in(self, records: Iterable[Document | DeadLetter]) -> SourceError | None:
        """The first step. A source that breaks off is told when all that came before is done."""
        try:
            for record in records:
                self._report.read += 1
                if isinstance(record, DeadLetter):
                    self._dead_letters.add(record)
                    continue
                try:
                    require_id(record.id)
                    hashed = Hashed(record, content_hash(record))
                except DocumentError as error:
                    self._bury(record, error)
                    continue
                self._read.put(hashed)
        except SourceError as error:
            return error
        return None

    def _sift(self) -> None:
        """Hands on what the index does not hold yet."""
        for batch in self._read.takes(ENCODER_PATIENCE):
            new = self._unknown(batch)
            wanted = batch if self._encoder.counts_all else new
            each = self._encoder.tokenise([one.document for one in wanted])
            tokenised = {one.document.id: found for one, found in zip(wanted, each, strict=True)}
            for one in new:
                try:
                    added = self._encoder.added_to(one.document)
                except DocumentError as error:
                    self._bury(one.document, error)
                    continue
                self._report.truncated += tokenised[one.document.id].truncated
                self._new.put(_New(one, tokenised[one.document.id], added))
            if len(new) < len(batch):
                self._tell()

    def _bury(self, document: Document, error: DocumentError) -> None:
        self._dead_letters.add(DeadLetter(f"id {document.id}", str(error), to_record(document), document.id))

    def _unknown(self, batch: list[Hashed]) -> list[Hashed]:
        if self._ledger is None or not batch:
            return batch
        known = self._ledger.look_up([Entry(one.document.id, one.hash) for one in batch], self._marker)
        self._report.unchanged += len(known.unchanged)
        skipped = known.unchanged
        if self._newest_known:
            self._report.superseded += len(known.changed)
            skipped = known.unchanged | known.changed
        return [one for one in batch if one.document.id not in skipped]

    def _encode(self) -> None:
        def pieces(batch: list[_New]) -> list[Sequence[Piece]]:
            return [one.tokenised.pieces for one in batch]

        def join(one: _New, rows: list[list[SparseRow]]) -> Encoded:
            passage_rows = self._encoder.passage_rows(one.tokenised.pieces, rows)
            return Encoded(*one.hashed, one.tokenised.passages, *one.added, passage_rows)

        through(self._new, pieces, self._encoder.sparse_rows, join, self._encoded, _size)

    def _encode_dense(self) -> None:
        dense = self._encoder.dense
        assert dense is not None  # noqa: S101 - this step runs only where there is one

        def pieces(batch: list[Encoded]) -> list[list[list[int]]]:
            texts = [self._encoder.dense_texts(one.document, one.passages) for one in batch]
            token_ids = iter(dense.tokenizer.encode(list(chain.from_iterable(texts))))
            return [list(islice(token_ids, len(each))) for each in texts]

        def join(one: Encoded, vectors: list[npt.NDArray[np.float32]]) -> Encoded:
            return one._replace(vectors=vectors)

        through(self._encoded, pieces, dense.stream_tokens, join, self._complete, _size)

    def _send(self) -> None:
        """The last step: bulk requests, and what comes of them."""
        blocked = self._steps["codec"].blocked
        sender = Sender(self._writer, self._marker, self._dead_letters, self._ledger, self._report, self._tell, blocked)
        with sender:
            for batch in self._complete.takes(SENDER_PATIENCE):
                if batch:
                    sender.add(batch, self._actions(batch))
                else:
                    sender.flush()
            sender.flush()

    def _actions(self, batch: list[Encoded]) -> list[list[Action]]:
        """What is to be written of each document, and to be deleted of its former passages."""
        actions = self._encoder.serialiser.actions(batch, self._report)
        if self._leftovers:
            before = self._leftovers([one.document.id for one in batch])
            for one, written in zip(batch, actions, strict=True):
                last = before.get(one.document.id, 0)
                written += [Action(passage_id(one.document.id, number), None) for number in range(len(written), last)]
        return actions


def _size(one: Hashed | _New | Encoded) -> int:
    return size_of(one.hashed.document if isinstance(one, _New) else one.document)
