"""An ingest run with its progress bar: shared by ``osplade ingest`` and ``osplade demo``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from opensearch_splade.cli.progress import progress
from opensearch_splade.cli.sparse_field import forecast_field, merge, settle_field, tell_field
from opensearch_splade.cli.wiring import Cluster
from opensearch_splade.errors import SourceError
from opensearch_splade.index_meta import CountedWeights, IndexMeta, PassagesMeta, PassageStore, SeismicMeta
from opensearch_splade.ingest.added_features import AddedFeatures
from opensearch_splade.ingest.bulk import BulkWriter
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile
from opensearch_splade.ingest.document_encoder import DocumentEncoder
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.ledger import Ledger
from opensearch_splade.ingest.metrics import Metrics, serving
from opensearch_splade.ingest.passages import PassageCutter, PassageRule
from opensearch_splade.ingest.pipeline import run
from opensearch_splade.ingest.quality_gate import SAMPLE as GATE_SAMPLE
from opensearch_splade.ingest.quality_gate import QualityGate
from opensearch_splade.ingest.report import IngestReport, Progress
from opensearch_splade.ingest.request_compression import CompressionMode, RequestCompression
from opensearch_splade.ingest.retried_letters import RetriedLetters
from opensearch_splade.ingest.seismic import FieldOptions
from opensearch_splade.ingest.serialiser import Serialiser
from opensearch_splade.ingest.sources import count_records, read_source, shown
from opensearch_splade.ingest.target import IndexOptions, Watch, check_index, claim_index, meta_for, prepare_index
from opensearch_splade.ingest.term_budget import PruningRule
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies
from opensearch_splade.plugin.client import is_loopback
from opensearch_splade.plugin.query_weights import save_query_weights
from opensearch_splade.plugin.segments import refresh
from opensearch_splade.plugin.stored_passages import stored_passages
from opensearch_splade.transport import asking
from opensearch_splade.types import Document

DEAD_LETTERS = Path("dead-letters.jsonl")
SAMPLE = 64


@dataclass(frozen=True)
class IngestJob:
    """What to ingest, where to, and how.

    Attributes:
        source: As ``read_source`` takes it.
        index: Made if there is none.
        sparse: Encodes features.
        dense: Encodes vectors for a kNN field, if one is wanted.
        pruning: Of features.
        passages: How documents are cut, if they are.
        store: How their passages lie in the index.
        gate: Which passages get a vector.
        added: Features beside the vocabulary.
        query_weights: Counted over the source, if wanted.
        dead_letters: For what cannot be written.
        options: Of a new index.
        ledger: What is known to be in the index; ``None`` encodes everything.
        again: Forget the ledger first.
        letters: Dead letters to retry in place of a source.
        sparse_field: What was asked for the sparse field of a new index.
        seismic: What it came to, where it is a ``sparse_vector`` field (``settle_field``).
        force_merge: Segments to merge each shard to in the end; ``None`` merges nothing.
        compress: Whether bulk requests go compressed.
        metrics: Address and port where Prometheus may scrape, if anywhere.
    """

    source: str
    index: str
    sparse: SparseEncoder
    dense: DenseEncoder | None = None
    pruning: PruningRule | None = None
    passages: PassageRule | None = None
    store: PassageStore = "max"
    gate: QualityGate | None = None
    added: AddedFeatures = field(default_factory=AddedFeatures)
    query_weights: CountedWeights | None = None
    dead_letters: Path = DEAD_LETTERS
    options: IndexOptions = field(default_factory=IndexOptions)
    fields: FieldMap = field(default_factory=FieldMap)
    ledger: Path | None = None
    again: bool = False
    letters: RetriedLetters | None = None
    sparse_field: FieldOptions = field(default_factory=FieldOptions)
    seismic: SeismicMeta | None = None
    force_merge: int | None = None
    compress: CompressionMode = "auto"
    metrics: tuple[str, int] | None = None

    @property
    def meta(self) -> IndexMeta:
        """What the index says of itself."""
        passages = None
        if self.passages or self.gate:
            passages = PassagesMeta(
                rule=str(self.passages or ""), store=self.store if self.passages else "", gate=str(self.gate or "")
            )
        return replace(
            meta_for(self.sparse, self.dense, self.pruning, self.seismic), passages=passages, added=self.added.meta
        )

    def encoder(self) -> DocumentEncoder:
        """A fresh document encoder."""
        meta = self.meta
        marker = [part.fingerprint for part in (meta.sparse, meta.dense) if part]
        frequencies = DocumentFrequencies(self.sparse.vocabulary) if self.query_weights else None
        store = self.store if self.passages else ""
        serialiser = Serialiser(self.sparse, marker, self.pruning, store, self.seismic)
        cutter = None
        if self.passages:
            cutter = PassageCutter(self.passages, self.sparse.tokenizer, self.sparse.bundle.manifest.max_length)
        return DocumentEncoder(self.sparse, serialiser, self.dense, cutter, self.gate, self.added, frequencies)


def run_job(cluster: Cluster, job: IngestJob, console: Console) -> IngestReport:
    """Makes or checks the index, writes the documents, and keeps the query weights if they are wanted."""
    job, records = settle_field(cluster, job, _records(cluster, job), console)
    job, records = settled(cluster, job, records)
    encoder = job.encoder()
    encoder.load()
    with DeadLetterFile(job.dead_letters) as dead_letters, open_ledger(job) as ledger:
        made = prepare_index(cluster.client, job.index, job.meta, job.options, cluster.capabilities)
        if why := claim_index(cluster.client, job.index, ledger):
            console.print(f"The ledger {job.ledger} begins anew, since {why}.", highlight=False, markup=False)
        # A new index has none; of an older one the claim above made visible what earlier runs wrote.
        cuts = job.passages and job.store == "documents" and not made
        leftovers = partial(stored_passages, cluster.client, job.index) if cuts else None
        if ledger and job.again:
            ledger.forget_all()
        # Deleted during the run, the index is made anew by the next bulk request, with a mapping of the server's own.
        confirm = Watch(cluster.client, job.index, job.meta, ledger)
        compression = RequestCompression(job.compress, loopback=is_loopback(cluster.client))
        writer = BulkWriter(cluster.client, job.index, compression=compression, confirm=confirm)
        with _told(job, writer, console) as on_progress:
            report = run(
                records,
                encoder,
                writer,
                dead_letters,
                on_progress,
                ledger=ledger,
                newest_known=job.letters is not None,
                leftovers=leftovers,
            )
        refresh(cluster.client, job.index)
        confirm()
    if encoder.frequencies is not None and job.query_weights and report.indexed + report.unchanged:
        save_query_weights(cluster.client, job.index, encoder.frequencies.idf(), job.query_weights)
    merge(cluster, job, console)
    tell_field(cluster, job, console)
    return report


def retry(cluster: Cluster, job: IngestJob, path: Path, console: Console) -> IngestReport:
    """``run_job`` with a file of dead letters as its source, which keeps what fails again."""
    with RetriedLetters(path, job.fields) as letters:
        report = run_job(cluster, replace(job, letters=letters, dead_letters=letters.draft), console)
        letters.keep_the_rest()
    return report


def settled(
    cluster: Cluster, job: IngestJob, records: Iterator[Document | DeadLetter]
) -> tuple[IngestJob, Iterator[Document | DeadLetter]]:
    """The job with the threshold of its gate, from the index if that has one, else from the first documents."""
    gate = job.gate
    if gate is None or gate.threshold is not None:
        return job, records
    with asking(job.index):
        exists = cluster.client.indices.exists(index=job.index)
    noted = IndexMeta.read(cluster.client, job.index).passages if exists else None
    if noted and noted.gate.startswith(f"{gate.name}@"):
        return replace(job, gate=replace(gate, threshold=QualityGate.parse(noted.gate).threshold)), records
    sample = list(islice(records, GATE_SAMPLE))
    documents = [record for record in sample if isinstance(record, Document)]
    tokenised = replace(job, gate=None).encoder().tokenise(documents)
    texts = [
        document.text[passage.start : passage.end] if job.passages else document.passage
        for document, one in zip(documents, tokenised, strict=True)
        for passage in one.passages
    ]
    return replace(job, gate=gate.settled(texts)), chain(sample, records)


def open_ledger(job: IngestJob) -> AbstractContextManager[Ledger | None]:
    """The ledger of a job, locked, if it has one."""
    return Ledger(job.ledger) if job.ledger else nullcontext()


def default_ledger(dead_letters: Path, index: str) -> Path:
    """Where the ledger of an index lies: beside the dead letters, or here if those go to a device."""
    folder = dead_letters.parent if dead_letters.is_file() or not dead_letters.exists() else Path()
    return folder / f"osplade-ledger-{re.sub(r'[^A-Za-z0-9._-]', '_', index)}.sqlite"


def forecast(cluster: Cluster, job: IngestJob, console: Console) -> dict[str, Any]:
    """What ``run_job`` would do: reads the whole source, encodes the first documents, writes nothing."""
    with asking(job.index):
        exists = bool(cluster.client.indices.exists(index=job.index))
    job, records = settle_field(cluster, job, _records(cluster, job), console)
    job, records = settled(cluster, job, records)
    if exists:
        check_index(job.index, IndexMeta.read(cluster.client, job.index), job.meta)
    documents, dead = 0, list[DeadLetter]()
    sample: list[Document] = []
    with console.status(f"reading {escape(shown(job.source))} ..."):
        for record in records:
            if isinstance(record, DeadLetter):
                dead.append(record)
                continue
            documents += 1
            if len(sample) < SAMPLE:
                sample.append(record)
        report = IngestReport()
        actions = job.encoder().actions(sample, report)
    return {
        "index": job.index,
        "would_be_made": not exists,
        "meta": job.meta.to_json(),
        "documents": documents,
        "dead_letters": len(dead),
        "first_dead_letters": [{"place": one.place, "reason": one.reason} for one in islice(dead, 5)],
        "sample": {
            "documents": len(sample),
            "features_each": round(report.features / max(1, len(sample)), 1),
            "bytes_each": round(sum(action.size for action in actions) / max(1, len(sample))),
            "truncated": report.truncated,
        },
        **({"sparse_vector": forecast_field(job.seismic, documents, job.options.shards)} if job.seismic else {}),
    }


def _records(cluster: Cluster, job: IngestJob) -> Iterator[Document | DeadLetter]:
    """The source, read up to its first record: what cannot be read at all fails before an index is made."""
    records = job.letters.records() if job.letters else read_source(job.source, job.fields, cluster.client)
    first = next(records, None)
    if first is None:
        raise SourceError(f"{shown(job.source)} holds no documents, so nothing was done.")
    return chain([first], records)


@contextmanager
def _told(job: IngestJob, writer: BulkWriter, console: Console) -> Iterator[Progress]:
    """Who is told how the run goes: the terminal, and Prometheus if it is wanted."""
    with ExitStack() as stack:
        metrics = Metrics(writer.gate)
        if job.metrics:
            url = stack.enter_context(serving(metrics, *job.metrics))
            console.print(f"metrics at {url}", highlight=False)
        total = len(job.letters) if job.letters else count_records(job.source)
        show = stack.enter_context(progress(total, console))

        def tell(report: IngestReport) -> None:
            metrics.update(report)
            show(report)

        yield tell
