"""Pipeline: source to acknowledged documents in the index.

One direction, every step in a thread of its own with a bounded channel before it:

    read and hash -> skip what is unchanged, tokenise -> encode (sparse, then dense) -> serialise, send -> bulk, note

Each step hands documents on one by one and in order, so no step waits for a window of another to fill or to end.
Reading happens in the calling thread, so that an interruption arrives there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import DocumentError, SourceError
from opensearch_splade.ingest.bulk import BulkWriter
from opensearch_splade.ingest.channel import BrokenOffError, Channel
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile, to_record
from opensearch_splade.ingest.document_encoder import DocumentEncoder, Encoded, Hashed
from opensearch_splade.ingest.encoder_step import ENCODER_PATIENCE, through
from opensearch_splade.ingest.ledger import Entry, Rows
from opensearch_splade.ingest.report import IngestReport, Progress, Teller
from opensearch_splade.ingest.sender import Sender
from opensearch_splade.onnx_models.batches import Tokens
from opensearch_splade.onnx_models.sparse_rows import SparseRow
from opensearch_splade.types import Document

ROOM = 256
"""Documents that may wait between two steps."""
SENDER_PATIENCE = 0.5
"""Seconds without a new document after which a bulk request goes, though it is not full."""


class _Tokenised(NamedTuple):
    """A document that is to be encoded."""

    hashed: Hashed
    tokens: Tokens


def run(
    records: Iterable[Document | DeadLetter],
    encoder: DocumentEncoder,
    writer: BulkWriter,
    dead_letters: DeadLetterFile,
    on_progress: Progress = lambda _: None,
    *,
    ledger: Rows | None = None,
    newest_known: bool = False,
) -> IngestReport:
    """Brings every document of a source into the index, or into the dead letters.

    Args:
        records: The source.
        encoder: Of the index' vectors.
        writer: Of the index.
        dead_letters: For what cannot be written.
        on_progress: Told now and then, from several threads but never from two at once.
        ledger: Open, and claimed for the index: what it knows is not sent again.
        newest_known: Whether a document that the ledger knows with another content is older than that one, as a dead
            letter is; it is left out then.

    Raises:
        SourceError: The source cannot be read to its end; what was read before is in the index.
        ClusterError: The cluster stayed away for too long; what was acknowledged stays.
        TargetError: The index disappeared.
        LedgerError: The ledger cannot be read or written; what was acknowledged stays.
    """
    return _Run(encoder, writer, dead_letters, on_progress, ledger, newest_known=newest_known)(records)


class _Run:
    """The steps of one run and the channels between them."""

    def __init__(
        self,
        encoder: DocumentEncoder,
        writer: BulkWriter,
        dead_letters: DeadLetterFile,
        on_progress: Progress,
        ledger: Rows | None,
        *,
        newest_known: bool,
    ) -> None:
        self._encoder, self._writer, self._dead_letters, self._ledger = encoder, writer, dead_letters, ledger
        self._newest_known = newest_known
        self._marker = " ".join(encoder.marker)
        self._report = IngestReport()
        self._tell = Teller(self._report, self._refresh, on_progress)
        self._slow = Counter[str]()
        self._read = Channel[Hashed](ROOM)
        self._new = Channel[_Tokenised](ROOM)
        self._encoded = Channel[Encoded](ROOM)
        self._complete = Channel[Encoded](ROOM) if encoder.dense else self._encoded

    def __call__(self, records: Iterable[Document | DeadLetter]) -> IngestReport:
        steps: list[tuple[Callable[[], None], Channel[Any] | None]] = [
            (self._sift, self._new),
            (self._encode, self._encoded),
            (self._send, None),
        ]
        if self._encoder.dense:
            steps.insert(2, (self._encode_dense, self._complete))
        broken: SourceError | None = None
        with ThreadPoolExecutor(len(steps), thread_name_prefix="ingest") as pool:
            running = [pool.submit(self._guarded, *step) for step in steps]
            try:
                broken = self._take_in(records)
                self._read.end()
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
                self._report.slowest = self._slow.most_common(1)[0][0]
        if broken:
            done = f"{self._report.indexed:,} documents are in the index"
            if self._report.unchanged:
                done += f", {self._report.unchanged:,} were there"
            raise SourceError(
                f"{broken} What came before is done: {done}, {self._report.dead:,} in the dead letters."
            ) from broken
        return self._report

    def _guarded(self, step: Callable[[], None], out: Channel[Any] | None) -> None:
        try:
            step()
            if out is not None:
                out.end()
        except BaseException:
            self._break_off()
            raise

    def _break_off(self) -> None:
        for channel in (self._read, self._new, self._encoded, self._complete):
            channel.break_off()

    def _refresh(self) -> None:
        self._report.dead, self._report.retries = self._dead_letters.count, self._writer.retries
        slow = "encoder" if self._new.is_crowded or self._encoded.is_crowded else "source"
        self._report.slowest = "cluster" if self._complete.is_crowded else slow
        self._slow[self._report.slowest] += 1

    def _take_in(self, records: Iterable[Document | DeadLetter]) -> SourceError | None:
        """The first step. A source that breaks off is told when all that came before is done."""
        try:
            for record in records:
                self._report.read += 1
                if isinstance(record, DeadLetter):
                    self._dead_letters.add(record)
                    continue
                try:
                    hashed = Hashed(record, content_hash(record))
                except DocumentError as error:
                    self._dead_letters.add(DeadLetter(f"id {record.id}", str(error), to_record(record), record.id))
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
            token_ids = self._encoder.tokenise([one.document for one in wanted])
            tokens = {one.document.id: tokens for one, tokens in zip(wanted, token_ids, strict=True)}
            for one in new:
                self._report.truncated += self._encoder.is_truncated(tokens[one.document.id])
                self._new.put(_Tokenised(one, tokens[one.document.id]))
            if len(new) < len(batch):
                self._tell()

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
        def join(one: _Tokenised, row: SparseRow) -> Encoded:
            return Encoded(*one.hashed, row)

        through(self._new, lambda batch: [one.tokens for one in batch], self._encoder.sparse_rows, join, self._encoded)

    def _encode_dense(self) -> None:
        dense = self._encoder.dense
        assert dense is not None  # noqa: S101 - this step runs only where there is one

        def tokenise(batch: list[Encoded]) -> list[list[int]]:
            return dense.tokenizer.encode([one.document.passage for one in batch])

        def join(one: Encoded, vector: npt.NDArray[np.float32]) -> Encoded:
            return one._replace(vector=vector)

        through(self._encoded, tokenise, dense.stream_tokens, join, self._complete)

    def _send(self) -> None:
        """The last step: bulk requests, and what comes of them."""
        sender = Sender(self._writer, self._marker, self._dead_letters, self._ledger, self._report, self._tell)
        with sender:
            for batch in self._complete.takes(SENDER_PATIENCE):
                if batch:
                    sender.add(batch, self._encoder.serialise(batch, self._report))
                else:
                    sender.flush()
            sender.flush()
