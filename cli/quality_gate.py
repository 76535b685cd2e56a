"""The quality gate of an ingest: the threshold that a quantile stands for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from opensearch_splade.cli.wiring import Cluster
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.ingest.quality_gate import SAMPLE, QualityGate
from opensearch_splade.transport import asking
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearch_splade.cli.ingesting import IngestJob


def settle_gate(
    cluster: Cluster, job: IngestJob, records: Iterator[Document | DeadLetter]
) -> tuple[IngestJob, Iterator[Document | DeadLetter]]:
    """The job with the threshold of its gate, from the index if that has one, else from the first documents."""
    gate = job.rules.gate
    if gate is None or gate.threshold is not None:
        return job, records
    with asking(job.index):
        exists = cluster.client.indices.exists(index=job.index)
    noted = IndexMeta.read(cluster.client, job.index).passages if exists else None
    if noted and noted.gate.startswith(f"{gate.name}@"):
        threshold = QualityGate.parse(noted.gate).threshold
        return with_gate(job, replace(gate, threshold=threshold)), records
    sample = list(islice(records, SAMPLE))
    documents = [record for record in sample if isinstance(record, Document)]
    tokenised = with_gate(job, None).encoder().tokenise(documents)
    texts = [
        document.text[passage.start : passage.end] if job.rules.passages else document.passage
        for document, one in zip(documents, tokenised, strict=True)
        for passage in one.passages
    ]
    return with_gate(job, gate.settled(texts)), chain(sample, records)


def with_gate(job: IngestJob, gate: QualityGate | None) -> IngestJob:
    """The job with another gate."""
    return replace(job, rules=replace(job.rules, gate=gate))
