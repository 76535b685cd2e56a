"""Rehearsal: some documents are really brought over, into a scratch index that is deleted in any case."""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from opensearch_splade.errors import MigrationError, OspladeError
from opensearch_splade.ingest.bulk import BulkWriter
from opensearch_splade.ingest.content import size_of
from opensearch_splade.ingest.dead_letters import DeadLetterFile
from opensearch_splade.ingest.document_encoder import DocumentEncoder
from opensearch_splade.ingest.pipeline import run
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.ingest.request_compression import RequestCompression
from opensearch_splade.kept_meta import KeptMeta
from opensearch_splade.migration.documents import documents
from opensearch_splade.migration.forecast import Part
from opensearch_splade.migration.job import Job
from opensearch_splade.plugin.client import is_loopback
from opensearch_splade.transport import asking
from opensearch_splade.types import Document, Json

SCRATCH = "osplade-scratch-"
"""How names of scratch indices begin."""
PARTS = 6
_SEED = 20
_NOT_HERE = ("routing_partition_size", "number_of_routing_shards", "auto_expand_replicas", "plugins", "opendistro")

Told = Callable[[int, int], None]
"""How many of how many documents are done."""


@dataclass
class Rehearsal:
    """What was seen. Counts are documents.

    Attributes:
        documents: Of the sample.
        examples: Field to the first text that it had.
        wordless: Without any text.
        routed: With a routing of their own.
        truncated: Longer than the bundle reads.
        parts: In the order in which they were brought over; none where there was nothing to bring.
        sizes: Characters of each document.
        refused: Why documents were refused, one reason each.
        peak: Most memory that this process had so far, bytes.
        encodes_only: Whether nothing was written.
    """

    documents: int = 0
    examples: dict[str, str] = field(default_factory=dict)
    wordless: int = 0
    routed: int = 0
    truncated: int = 0
    parts: list[Part] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    peak: int = 0
    encodes_only: bool = False


class NoScratchError(MigrationError):
    """The new index would be refused by the cluster."""


def rehearse(job: Job, wanted: int, *, scratch: bool = True, tell: Told = lambda _done, _of: None) -> Rehearsal:
    """Brings a sample over.

    Args:
        job: Opened.
        wanted: Documents of the sample.
        scratch: Whether they are written; else they are only encoded.
        tell: Told now and then.

    Raises:
        NoScratchError: The new index would be refused.
        SourceError: The source cannot be read.
        ClusterError: The cluster does not answer or refuses.
    """
    sample = take(job, wanted)
    found = Rehearsal(documents=len(sample), encodes_only=not scratch)
    found.wordless = sum(not document.passage for document in sample)
    found.routed = sum(bool(document.routing) for document in sample)
    found.sizes = [size_of(document) for document in sample]
    found.examples = _examples(job, sample)
    encoder = job.encoder()
    encoder.load()
    parts = [part for part in (sample[start::PARTS] for start in range(PARTS)) if part]
    if scratch:
        with scratch_index(job) as index:
            _bring_over(job, index, encoder, parts, found, tell)
    else:
        for part in parts:
            found.parts.append(_encode(encoder, part, found))
            tell(sum(one.documents for one in found.parts), len(sample))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found.peak = peak if sys.platform == "darwin" else peak * 1024
    return found


def _examples(job: Job, sample: list[Document]) -> dict[str, str]:
    kept, found = job.rules.kept, dict[str, str]()
    for document in sample:
        texts = {"title": document.title, "text": document.text}
        if kept:
            texts = {field: KeptMeta((field,)).read(document.metadata)[1] for field in kept.spoken}
        found = {field: text for field, text in texts.items() if text.strip()} | found
        if len(found) == len(texts):
            break
    return found


def take(job: Job, wanted: int) -> list[Document]:
    """Documents spread over the order in which they were written, in all shards: one at random of each stretch.

    Raises:
        SourceError: The source cannot be read.
    """
    chance, hits = random.Random(_SEED), dict[str, Json]()  # noqa: S311 - the same sample each time
    shards, spec = job.source.shards, job.spec
    for shard in range(shards):
        history = job.history(shard)
        last = history.checkpoint()
        count = min(last + 1, -(-wanted // shards))
        for place in range(count):
            begin, end = ((last + 1) * bound // count for bound in (place, place + 1))
            page = next(history.read(chance.randrange(begin, end) - 1, last, page=1), [])
            hits |= {hit["_id"]: hit for hit in page}
    return list(documents(hits.values(), job.rules.kept, vectors=spec.vectors, drop=spec.drop))


@contextmanager
def scratch_index(job: Job) -> Iterator[str]:
    """An index like the new one, hidden, on one shard; deleted however this ends.

    Raises:
        NoScratchError: The cluster refuses to make it, and so would the new one be.
        MigrationError: It could not be deleted.
    """
    name = f"{SCRATCH}{job.spec.target[:150]}-{uuid.uuid4().hex[:8]}"
    body = job.body("scratch")
    settings = body["settings"]["index"]
    for key in _NOT_HERE:
        settings.pop(key, None)
    settings |= {"number_of_shards": 1, "number_of_replicas": 0, "hidden": True}
    try:
        try:
            with asking(name):
                job.client.indices.create(index=name, body=body)
        except OspladeError as error:
            raise NoScratchError(str(error)) from error
        yield name
    finally:
        try:
            with asking(name):  # it may be there even if its making was interrupted
                job.client.indices.delete(index=name, ignore_unavailable=True)
        except OspladeError as error:
            raise MigrationError(f"the scratch index {name!r} could not be deleted ({error}): delete it.") from error


def left_over(job: Job, age: float = 3600.0) -> list[str]:
    """Scratch indices of this target that somebody's killed plan left, older than so many seconds."""
    with asking(SCRATCH):
        found = job.client.indices.get_settings(
            index=f"{SCRATCH}{job.spec.target[:150]}-*", params={"expand_wildcards": "all"}
        )
    made = {name: int(one["settings"]["index"]["creation_date"]) / 1000 for name, one in found.items()}
    return sorted(name for name, at in made.items() if time.time() - at > age)


def _bring_over(
    job: Job, index: str, encoder: DocumentEncoder, parts: list[list[Document]], found: Rehearsal, tell: Told
) -> None:
    writer = BulkWriter(job.client, index, compression=RequestCompression(loopback=is_loopback(job.client)))
    with tempfile.TemporaryDirectory() as folder, DeadLetterFile(Path(folder) / "refused.jsonl") as refused:
        for part in parts:
            begun = time.monotonic()
            report = run(part, encoder, writer, refused)
            seconds = time.monotonic() - begun
            busiest = max(step["busy"] for step in report.steps.values())
            found.truncated += report.truncated
            found.parts.append(Part(len(part), seconds, min(busiest, seconds), _merged_size(job, index)))
            tell(sum(one.documents for one in found.parts), found.documents)
        if refused.count:
            found.refused = [orjson.loads(line)["reason"] for line in refused.path.read_bytes().splitlines()]


def _encode(encoder: DocumentEncoder, part: list[Document], found: Rehearsal) -> Part:
    report, begun = IngestReport(), time.monotonic()
    encoder.actions(part, report)
    seconds = time.monotonic() - begun
    found.truncated += report.truncated
    return Part(len(part), seconds, seconds)


def _merged_size(job: Job, index: str) -> int:
    """Bytes of its one segment. ``_stats`` would say what was up to ten seconds ago."""
    with asking(index):
        job.client.indices.forcemerge(index=index, params={"max_num_segments": "1"})
        job.client.indices.refresh(index=index)
        shards = job.client.indices.segments(index=index)["indices"][index]["shards"]
    copies = [copy for shard in shards.values() for copy in shard]
    return sum(one["size_in_bytes"] for copy in copies for one in copy["segments"].values() if one["search"])
