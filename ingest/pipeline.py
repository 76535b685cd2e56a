"""Pipeline: source to acknowledged documents in the index.

One direction: read, encode, prune, codec, serialise, bulk. A window of documents is encoded while earlier ones are
still being written; how many may wait for the cluster is bounded, so memory stays flat and a slow cluster slows the
encoder.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import orjson

from opensearch_splade.errors import ClusterError, SourceError, TargetError
from opensearch_splade.ingest.bulk import Action, BulkWriter, Failure, GaveUpError
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies
from opensearch_splade.types import Document

WINDOW = 256
"""Documents sorted by length and encoded together: enough for little padding, few enough for steady progress."""
WRITERS = 2
"""Bulk requests in flight: one is on its way while the cluster works on the other."""


@dataclass(slots=True)
class IngestReport:
    """What a run did. Counts are documents.

    Attributes:
        read: Records taken from the source.
        indexed: Acknowledged by the cluster.
        dead: Put into the dead letters.
        truncated: At the bundle's maximum length, so most likely longer: what comes after it is found by BM25 only.
        featureless: Without any feature: found by BM25 and kNN only.
        features: Features written.
        retries: Documents that had to be sent again.
        seconds: Wall time.
    """

    read: int = 0
    indexed: int = 0
    dead: int = 0
    truncated: int = 0
    featureless: int = 0
    features: int = 0
    retries: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Documents per second."""
        return self.indexed / self.seconds if self.seconds else 0.0


Progress = Callable[[IngestReport], None]


@dataclass(frozen=True)
class DocumentEncoder:
    """Documents to actions: everything between a source and the bulk writer.

    Attributes:
        sparse: Encoder of the ``sparse`` field.
        dense: Encoder of the ``dense`` field, if the index has one.
        pruning: Applied to sparse vectors.
        marker: What the ``encoded`` field says.
        frequencies: Counts the tokens that pass, if query weights are wanted of this corpus.
    """

    sparse: SparseEncoder
    dense: DenseEncoder | None = None
    pruning: Pruning | None = None
    marker: Sequence[str] = ()
    frequencies: DocumentFrequencies | None = None

    def load(self) -> None:
        """Loads the graphs, so that a model or device that cannot run fails before anything is written.

        Raises:
            BundleError: ONNX Runtime cannot read a graph.
            DeviceError: The installed ONNX Runtime lacks the device.
            MissingExtraError: ONNX Runtime is not installed.
        """
        self.sparse.encode_documents(["a"])
        if self.dense:
            self.dense.encode(["a"])

    def actions(self, documents: Sequence[Document], report: IngestReport) -> list[Action]:
        """One action per document, in order; what is worth knowing is added to ``report``."""
        passages = [document.passage for document in documents]
        token_ids = self.sparse.tokenizer.encode(passages)
        if self.frequencies is not None:
            self.frequencies.add(token_ids)
        vectors = self.sparse.encode_tokens(token_ids)
        vectors = encode_weights(self.pruning.apply(vectors) if self.pruning else vectors)
        limit = self.sparse.bundle.manifest.max_length
        report.truncated += sum(len(tokens) >= limit for tokens in token_ids)
        report.featureless += sum(not len(ids) for ids, _ in vectors)
        report.features += len(vectors.weights)
        dense = self.dense.encode(passages) if self.dense else [None] * len(documents)
        return [
            Action(document.id, self._source(document, self.sparse.features(*row), vector))
            for document, row, vector in zip(documents, vectors, dense, strict=True)
        ]

    def _source(self, document: Document, features: dict[str, float], vector: Any) -> bytes:
        body: dict[str, Any] = {
            "id": document.id,
            "text": document.text,
            "sparse": features,
            "encoded": list(self.marker),
        }
        if document.title:
            body["title"] = document.title
        if document.metadata:
            body["metadata"] = document.metadata
        if vector is not None:
            body["dense"] = vector
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def run(
    records: Iterable[Document | DeadLetter],
    encoder: DocumentEncoder,
    writer: BulkWriter,
    dead_letters: DeadLetterFile,
    on_progress: Progress = lambda _: None,
) -> IngestReport:
    """Brings every document of a source into the index, or into the dead letters.

    Raises:
        SourceError: The source cannot be read to its end; what was read before is in the index.
        ClusterError: The cluster stayed away for too long; what was acknowledged stays.
        TargetError: The index disappeared.
    """
    report = IngestReport()
    start = time.monotonic()
    pending: deque[_Sent] = deque()

    def settle(sent: _Sent) -> None:
        if sent.outcome.cancelled():
            return
        gave_up: GaveUpError | None = None
        not_taken = 0
        try:
            refused = sent.outcome.result()
        except GaveUpError as error:
            gave_up, refused, not_taken = error, error.refused, error.pending
        for failure in refused:
            dead_letters.add(sent.letter(failure))
        report.indexed += len(sent.documents) - len(refused) - not_taken
        if gave_up:
            raise gave_up

    def tell() -> None:
        report.dead, report.retries = dead_letters.count, writer.retries
        report.seconds = time.monotonic() - start
        on_progress(report)

    try:
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="bulk") as pool:
            try:
                for documents in _windows(records, dead_letters, report):
                    actions = encoder.actions(documents, report)
                    pending.append(_Sent(documents, pool.submit(writer.write, actions)))
                    while len(pending) > WRITERS or (pending and pending[0].outcome.done()):
                        settle(pending.popleft())
                    tell()
            except (ClusterError, TargetError):
                for sent in pending:
                    sent.outcome.cancel()  # what has not begun would only wait for the same cluster
                raise
            finally:
                # Also when something breaks off: what is on its way is waited for, and its refusals are kept.
                with ExitStack() as rest:
                    rest.callback(tell)
                    for sent in reversed(pending):
                        rest.callback(settle, sent)
    except SourceError as error:
        done = f"{report.indexed:,} documents are in the index, {report.dead:,} in the dead letters"
        raise SourceError(f"{error} What came before is done: {done}.") from error
    return report


@dataclass(frozen=True)
class _Sent:
    """A window on its way."""

    documents: list[Document]
    outcome: Future[list[Failure]] = field(repr=False)

    def letter(self, failure: Failure) -> DeadLetter:
        document = next(document for document in self.documents if document.id == failure.id)
        record = {
            "_id": document.id,
            "title": document.title,
            "text": document.text,
            "metadata": dict(document.metadata),
        }
        return DeadLetter(f"id {document.id}", failure.reason, record, document.id)


def _windows(
    records: Iterable[Document | DeadLetter], dead_letters: DeadLetterFile, report: IngestReport
) -> Iterator[list[Document]]:
    """Full windows and the rest, which is also given when the source breaks off."""
    window: list[Document] = []
    broken: SourceError | None = None
    try:
        for record in records:
            report.read += 1
            if isinstance(record, DeadLetter):
                dead_letters.add(record)
                continue
            window.append(record)
            if len(window) == WINDOW:
                yield window
                window = []
    except SourceError as error:
        broken = error
    if window:
        yield window
    if broken:
        raise broken
