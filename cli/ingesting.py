"""An ingest run with its progress bar: shared by ``osplade ingest`` and ``osplade demo``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from opensearch_splade.cli.wiring import Cluster
from opensearch_splade.errors import SourceError
from opensearch_splade.index_meta import CountedWeights, IndexMeta
from opensearch_splade.ingest.bulk import BulkWriter
from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile
from opensearch_splade.ingest.document_encoder import DocumentEncoder
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.files import find_files
from opensearch_splade.ingest.ledger import Ledger
from opensearch_splade.ingest.ledger_shards import LedgerShards
from opensearch_splade.ingest.pipeline import run
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.ingest.ray_engine import Connection, RayEngine, Work
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.ingest.retried_letters import RetriedLetters
from opensearch_splade.ingest.shares import cut
from opensearch_splade.ingest.sources import count_records, is_files, read_source, shown
from opensearch_splade.ingest.target import IndexOptions, check_index, claim_index, meta_for, prepare_index
from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder, shipped_with
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies
from opensearch_splade.plugin.client import known_url
from opensearch_splade.plugin.query_weights import save_query_weights
from opensearch_splade.transport import asking
from opensearch_splade.types import Document

DEAD_LETTERS = Path("dead-letters.jsonl")
SAMPLE = 64


class RayOptions(NamedTuple):
    """Of a run on Ray.

    Attributes:
        url: The cluster that workers write to; ``None`` for the known one.
        insecure: Do not verify its certificate.
        workers: How many; ``None`` for as many as there are GPUs or machines.
    """

    url: str | None = None
    insecure: bool = False
    workers: int | None = None


@dataclass(frozen=True)
class IngestJob:
    """What to ingest, where to, and how.

    Attributes:
        source: As ``read_source`` takes it.
        index: Made if there is none.
        sparse: Encodes features.
        dense: Encodes vectors for a kNN field, if one is wanted.
        pruning: Of features.
        query_weights: Counted over the source, if wanted.
        dead_letters: For what cannot be written.
        options: Of a new index.
        ledger: What is known to be in the index; ``None`` encodes everything.
        again: Forget the ledger first.
        letters: Dead letters to retry in place of a source.
        ray: Run on Ray, if wanted.
    """

    source: str
    index: str
    sparse: SparseEncoder
    dense: DenseEncoder | None = None
    pruning: Pruning | None = None
    query_weights: CountedWeights | None = None
    dead_letters: Path = DEAD_LETTERS
    options: IndexOptions = field(default_factory=IndexOptions)
    fields: FieldMap = field(default_factory=FieldMap)
    ledger: Path | None = None
    again: bool = False
    letters: RetriedLetters | None = None
    ray: RayOptions | None = None

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
    writer = BulkWriter(cluster.client, job.index)
    with _engine(job, encoder) as ray, DeadLetterFile(job.dead_letters) as dead_letters, open_ledger(job) as ledger:
        prepare_index(cluster.client, job.index, job.meta, job.options, cluster.capabilities)
        if why := claim_index(cluster.client, job.index, ledger):
            console.print(f"The ledger {job.ledger} begins anew, since {why}.", highlight=False, markup=False)
        if ledger and job.again:
            ledger.forget_all()
        with _progress(job, console) as on_progress:
            if ray and isinstance(ledger, LedgerShards):
                ledger.close()  # the keepers open it, each its part
                shares = cut(find_files(job.source), ray.workers)
                report = ray.ingest(shares, ledger.path, job.dead_letters, on_progress, encoder.frequencies)
            else:
                report = run(
                    records,
                    encoder,
                    writer,
                    dead_letters,
                    on_progress,
                    ledger=ledger,
                    newest_known=job.letters is not None,
                )
    with asking(job.index):
        cluster.client.indices.refresh(index=job.index)
    # Deleted during the run, the index was made anew by the next bulk request, with a mapping of the server's own.
    check_index(job.index, IndexMeta.read(cluster.client, job.index), job.meta)
    if encoder.frequencies is not None and job.query_weights and report.indexed + report.unchanged:
        save_query_weights(cluster.client, job.index, encoder.frequencies.idf(), job.query_weights)
    return report


def retry(cluster: Cluster, job: IngestJob, path: Path, console: Console) -> IngestReport:
    """``run_job`` with a file of dead letters as its source, which keeps what fails again."""
    with RetriedLetters(path, job.fields) as letters:
        report = run_job(cluster, replace(job, letters=letters, dead_letters=letters.draft), console)
        letters.keep_the_rest()
    return report


def _engine(job: IngestJob, encoder: DocumentEncoder) -> AbstractContextManager[RayEngine | None]:
    """Loads what encodes, here or in workers, so that what cannot run fails before anything is written."""
    if job.ray is None:
        encoder.load()
        return nullcontext()
    if not is_files(job.source):
        raise SourceError(
            f"--engine ray shares files among its workers, and {shown(job.source)} has none: leave --engine out, or "
            "write it to files first."
        )
    work = Work(
        connection=Connection(job.ray.url or known_url(), job.ray.insecure),
        index=job.index,
        fields=job.fields,
        sparse=_on_any_machine(job.sparse.bundle),
        dense=_on_any_machine(job.dense.bundle) if job.dense else None,
        pruning=job.pruning,
        marker=encoder.marker,
        device=job.sparse.device,
        counts=encoder.counts_all,
    )
    return RayEngine(work, job.ray.workers)


def _on_any_machine(bundle: Bundle) -> str:
    """A shipped bundle lies where the package does, others under one path."""
    is_shipped = bundle.folder in shipped_with(bundle.manifest.fingerprint)
    return bundle.folder.name if is_shipped else str(bundle.folder.absolute())


def open_ledger(job: IngestJob) -> AbstractContextManager[Ledger | LedgerShards | None]:
    """The ledger of a job, locked, if it has one; a new one of a run on Ray is made in shards."""
    if job.ledger is None:
        return nullcontext()
    return LedgerShards(job.ledger) if job.ray or job.ledger.is_dir() else Ledger(job.ledger)


def default_ledger(dead_letters: Path, index: str) -> Path:
    """Where the ledger of an index lies: beside the dead letters, or here if those go to a device."""
    folder = dead_letters.parent if dead_letters.is_file() or not dead_letters.exists() else Path()
    return folder / f"osplade-ledger-{re.sub(r'[^A-Za-z0-9._-]', '_', index)}.sqlite"


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
    records = job.letters.records() if job.letters else read_source(job.source, job.fields, cluster.client)
    first = next(records, None)
    if first is None:
        raise SourceError(f"{shown(job.source)} holds no documents, so nothing was done.")
    return chain([first], records)


@contextmanager
def _progress(job: IngestJob, console: Console) -> Iterator[Any]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        total = len(job.letters) if job.letters else count_records(job.source)
        task = progress.add_task("ingesting", total=total, rate="")

        def show(report: IngestReport) -> None:
            rate = f"{report.rate:.0f}/s"
            rate += f" by the {report.slowest}'s pace" if report.indexed else ""
            rate += f", {report.unchanged:,} unchanged" if report.unchanged else ""
            rate += f", {report.dead} dead" if report.dead else ""
            done = report.indexed + report.unchanged + report.superseded + report.dead
            progress.update(task, completed=done, rate=rate)

        yield show
