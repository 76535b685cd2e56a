"""An ingest run with its progress bar: shared by ``osplade ingest`` and ``osplade demo``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.markup import escape

from opensearch_splade.cli.progress import progress
from opensearch_splade.cli.quality_gate import settle_gate
from opensearch_splade.cli.sparse_field import forecast_field, merge, settle_field, tell_field
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
from opensearch_splade.ingest.metrics import Metrics, serving
from opensearch_splade.ingest.pipeline import run
from opensearch_splade.ingest.ray_engine import RayEngine, Work
from opensearch_splade.ingest.report import IngestReport, Progress
from opensearch_splade.ingest.request_compression import CompressionMode, RequestCompression
from opensearch_splade.ingest.retried_letters import RetriedLetters
from opensearch_splade.ingest.rules import Rules
from opensearch_splade.ingest.seismic import FieldOptions
from opensearch_splade.ingest.shares import cut
from opensearch_splade.ingest.sources import count_records, is_files, read_source, shown
from opensearch_splade.ingest.target import (
    IndexOptions,
    Watch,
    check_index,
    claim_index,
    meta_for,
    pipeline_for,
    prepare_index,
)
from opensearch_splade.onnx_models import Bundle, DenseEncoder, SparseEncoder, shipped_with
from opensearch_splade.onnx_models.query_weights import DocumentFrequencies
from opensearch_splade.plugin.client import is_loopback
from opensearch_splade.plugin.connection import Connection
from opensearch_splade.plugin.query_weights import save_query_weights
from opensearch_splade.plugin.segments import refresh, seldom_refreshed
from opensearch_splade.plugin.stored_passages import stored_passages
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
        rules: How documents become what is stored; ``settle_field`` and ``settle_gate`` complete them.
        query_weights: Counted over the source, if wanted.
        dead_letters: For what cannot be written.
        options: Of a new index.
        ledger: What is known to be in the index; ``None`` encodes everything.
        again: Forget the ledger first.
        letters: Dead letters to retry in place of a source.
        sparse_field: What was asked for the sparse field of a new index.
        force_merge: Segments to merge each shard to in the end; ``None`` merges nothing.
        compress: Whether bulk requests go compressed.
        metrics: Address and port where Prometheus may scrape, if anywhere.
        ray: Run on Ray, if wanted.
    """

    source: str
    index: str
    sparse: SparseEncoder
    dense: DenseEncoder | None = None
    rules: Rules = field(default_factory=Rules)
    query_weights: CountedWeights | None = None
    dead_letters: Path = DEAD_LETTERS
    options: IndexOptions = field(default_factory=IndexOptions)
    fields: FieldMap = field(default_factory=FieldMap)
    ledger: Path | None = None
    again: bool = False
    letters: RetriedLetters | None = None
    sparse_field: FieldOptions = field(default_factory=FieldOptions)
    force_merge: int | None = None
    compress: CompressionMode = "auto"
    metrics: tuple[str, int] | None = None
    ray: RayOptions | None = None

    @property
    def meta(self) -> IndexMeta:
        """What the index says of itself."""
        return meta_for(self.sparse, self.dense, self.rules)

    def encoder(self) -> DocumentEncoder:
        """A fresh document encoder."""
        meta = self.meta
        marker = [part.fingerprint for part in (meta.sparse, meta.dense) if part]
        frequencies = DocumentFrequencies(self.sparse.vocabulary) if self.query_weights else None
        return self.rules.encoder(self.sparse, self.dense, marker, frequencies)


def run_job(cluster: Cluster, job: IngestJob, console: Console) -> IngestReport:
    """Makes or checks the index, writes the documents, and keeps the query weights if they are wanted."""
    job, records = settle_field(cluster, job, _records(cluster, job), console)
    job, records = settle_gate(cluster, job, records)
    encoder = job.encoder()
    with _engine(job, encoder) as ray, DeadLetterFile(job.dead_letters) as dead_letters, open_ledger(job) as ledger:
        made = prepare_index(cluster.client, job.index, job.meta, job.options, cluster.capabilities)
        if why := claim_index(cluster.client, job.index, ledger):
            console.print(f"The ledger {job.ledger} begins anew, since {why}.", highlight=False, markup=False)
        # A new index has none; of an older one the claim above made visible what earlier runs wrote.
        leftovers = partial(stored_passages, cluster.client, job.index) if job.rules.parts and not made else None
        if ledger and job.again:
            ledger.forget_all()
        # Deleted during the run, the index is made anew by the next bulk request, with a mapping of the server's own.
        confirm = Watch(cluster.client, job.index, job.meta, ledger)
        compression = RequestCompression(job.compress, loopback=is_loopback(cluster.client))
        pipeline = pipeline_for(cluster.client, job.index)
        writer = BulkWriter(cluster.client, job.index, compression=compression, confirm=confirm, pipeline=pipeline)
        loading = seldom_refreshed(cluster.client, job.index, made=made)
        with loading, _told(job, writer, console) as on_progress:
            if ray and isinstance(ledger, LedgerShards):
                ledger.close()  # the keepers open it, each its part
                shares = cut(find_files(job.source), ray.workers)
                report = ray.ingest(
                    shares, ledger.path, job.dead_letters, on_progress, encoder.frequencies, replaces=not made
                )
            else:
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
        connection=Connection.read(job.ray.url, insecure=job.ray.insecure),
        index=job.index,
        fields=job.fields,
        sparse=_on_any_machine(job.sparse.bundle),
        dense=_on_any_machine(job.dense.bundle) if job.dense else None,
        rules=job.rules,
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
    job, records = settle_field(cluster, job, _records(cluster, job), console)
    job, records = settle_gate(cluster, job, records)
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
    seismic = job.rules.seismic
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
        **({"sparse_vector": forecast_field(seismic, documents, job.options.shards)} if seismic else {}),
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
