"""An ingest run with its progress bar: shared by ``osplade ingest`` and ``osplade demo``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from opensearch_splade.cli.wiring import Cluster
from opensearch_splade.errors import SourceError
from opensearch_splade.index_meta import CountedWeights, IndexMeta
from opensearch_splade.ingest.bulk import BulkWriter
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.pipeline import DocumentEncoder, IngestReport, run
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.ingest.sources import count_records, read_source, shown
from opensearch_splade.ingest.target import IndexOptions, check_index, meta_for, prepare_index
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies
from opensearch_splade.plugin.query_weights import save_query_weights
from opensearch_splade.transport import asking
from opensearch_splade.types import Document

DEAD_LETTERS = Path("dead-letters.jsonl")
SAMPLE = 64


@dataclass(frozen=True)
class IngestJob:
    """What to ingest, where to, and how."""

    source: str
    index: str
    sparse: SparseEncoder
    dense: DenseEncoder | None = None
    pruning: Pruning | None = None
    query_weights: CountedWeights | None = None
    dead_letters: Path = DEAD_LETTERS
    options: IndexOptions = field(default_factory=IndexOptions)
    fields: FieldMap = field(default_factory=FieldMap)

    @property
    def meta(self) -> IndexMeta:
        """What the index says of itself."""
        return meta_for(self.sparse, self.dense, self.pruning)

    def encoder(self) -> DocumentEncoder:
        """A fresh document encoder."""
        meta = self.meta
        marker = [part.fingerprint for part in (meta.sparse, meta.dense) if part]
        frequencies = DocumentFrequencies(self.sparse.vocabulary) if self.query_weights else None
        return DocumentEncoder(self.sparse, self.dense, self.pruning, marker, frequencies)


def run_job(cluster: Cluster, job: IngestJob, console: Console) -> IngestReport:
    """Makes or checks the index, writes the documents, and keeps the query weights if they are wanted."""
    records = _records(cluster, job)
    encoder = job.encoder()
    encoder.load()
    writer = BulkWriter(cluster.client, job.index)
    with DeadLetterFile(job.dead_letters) as dead_letters:
        prepare_index(cluster.client, job.index, job.meta, job.options, cluster.capabilities)
        with _progress(job.source, console) as on_progress:
            report = run(records, encoder, writer, dead_letters, on_progress)
    with asking(job.index):
        cluster.client.indices.refresh(index=job.index)
    # Deleted during the run, the index was made anew by the next bulk request, with a mapping of the server's own.
    check_index(job.index, IndexMeta.read(cluster.client, job.index), job.meta)
    if encoder.frequencies is not None and job.query_weights and report.indexed:
        save_query_weights(cluster.client, job.index, encoder.frequencies.idf(), job.query_weights)
    return report


def forecast(cluster: Cluster, job: IngestJob, console: Console) -> dict[str, Any]:
    """What ``run_job`` would do: reads the whole source, encodes the first documents, writes nothing."""
    with asking(job.index):
        exists = bool(cluster.client.indices.exists(index=job.index))
    if exists:
        check_index(job.index, IndexMeta.read(cluster.client, job.index), job.meta)
    documents, dead = 0, list[DeadLetter]()
    sample: list[Document] = []
    with console.status(f"reading {escape(shown(job.source))} ..."):
        for record in _records(cluster, job):
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
            "bytes_each": round(sum(len(action.source) for action in actions) / max(1, len(sample))),
            "truncated": report.truncated,
        },
    }


def _records(cluster: Cluster, job: IngestJob) -> Iterator[Document | DeadLetter]:
    """The source, read up to its first record: what cannot be read at all fails before an index is made."""
    records = read_source(job.source, job.fields, cluster.client)
    first = next(records, None)
    if first is None:
        raise SourceError(f"{shown(job.source)} holds no documents, so nothing was done.")
    return chain([first], records)


@contextmanager
def _progress(source: str, console: Console) -> Iterator[Any]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("ingesting", total=count_records(source), rate="")

        def show(report: IngestReport) -> None:
            rate = f"{report.rate:.0f}/s" + (f", {report.dead} dead" if report.dead else "")
            progress.update(task, completed=report.indexed + report.dead, rate=rate)

        yield show
