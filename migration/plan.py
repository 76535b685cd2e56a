"""Plan: what a migration would do, take and need, and what speaks against it. Nothing that it writes stays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from opensearch_splade.ingest.ledger_file import CACHE_KIB
from opensearch_splade.ingest.pacing import PaceLimits
from opensearch_splade.ingest.pipeline import ROOM_SIZE
from opensearch_splade.migration import forecast, index_traps
from opensearch_splade.migration.body_diff import BodyDiff, body_diff
from opensearch_splade.migration.cluster_view import ClusterView
from opensearch_splade.migration.copying import count
from opensearch_splade.migration.finding import Finding, Severity, note, stop, warn
from opensearch_splade.migration.forecast import Estimate
from opensearch_splade.migration.job import Job
from opensearch_splade.migration.rehearsal import NoScratchError, Rehearsal, Told, rehearse
from opensearch_splade.migration.surroundings import routed, surroundings
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

SAMPLE = 300
"""Documents of the rehearsal."""
_MANY = 0.2
_ROOM = 5 * ROOM_SIZE + 2 * PaceLimits().most * PaceLimits().ceiling
"""Bytes that documents and bulk requests on their way through the pipeline may take, beside the models."""
_TAKEN = 0.1
"""Of that, by runs that were measured (benchmarks/README.md)."""
_ORDER: tuple[Severity, ...] = ("stop", "warn", "note")


class TextField(NamedTuple):
    """A field of text that is encoded.

    Attributes:
        name: Its path.
        type: By the mapping.
        example: The first text that the sample had there; empty if it had none.
        is_title: Whether it is encoded as the title.
    """

    name: str
    type: str
    example: str
    is_title: bool


@dataclass(frozen=True, slots=True)
class OldIndex:
    """The source as it is.

    Attributes:
        name: The concrete index.
        documents: That can be seen; ``None`` where it cannot be read.
        deleted: That still take room.
        size: Bytes of one copy.
        shards: Primary ones.
        replicas: Copies of each.
        aliases: Names that stand for it.
        kinds: Type to how many fields have it.
    """

    name: str
    documents: int | None
    deleted: int
    size: int
    shards: int
    replicas: int
    aliases: tuple[str, ...]
    kinds: dict[str, int]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What it will take.

    Attributes:
        seconds: To bring everything over, by one process on this machine.
        size: Bytes of one copy of the new index; ``None`` without a scratch index.
        memory: Bytes that the process has at most.
        hours: Of this machine for a million documents.
        money: For a million documents, if an hour has a price.
    """

    seconds: Estimate
    size: Estimate | None
    memory: Estimate
    hours: Estimate
    money: Estimate | None


@dataclass(frozen=True, slots=True)
class Plan:
    """All of it.

    Attributes:
        job: What is to be done, and the server.
        cluster: That takes the new index.
        old: The source.
        texts: What is encoded.
        body: Of the new index.
        diff: Against the old one.
        rehearsal: What the sample showed; ``None`` where the new index would be refused.
        forecast: What it will take; ``None`` where there is no sample.
        findings: The gravest first.
    """

    job: Job
    cluster: ClusterView
    old: OldIndex
    texts: tuple[TextField, ...]
    body: Json
    diff: BodyDiff
    rehearsal: Rehearsal | None
    forecast: Forecast | None
    findings: tuple[Finding, ...]

    @property
    def go(self) -> bool:
        """Whether nothing stops it."""
        return not any(finding.severity == "stop" for finding in self.findings)

    @property
    def analyzers(self) -> tuple[str, ...]:
        """The index' own analyzers, which are kept."""
        return tuple(sorted(self.job.source.settings.get("analysis", {}).get("analyzer", {})))


def plan(
    job: Job,
    *,
    sample: int = SAMPLE,
    scratch: bool = True,
    hourly_price: float | None = None,
    tell: Told = lambda _done, _of: None,
) -> Plan:
    """Looks at everything and tries a few documents.

    Args:
        job: Opened.
        sample: Documents that are tried.
        scratch: Whether they are also written, into an index that is deleted again.
        hourly_price: Of this machine.
        tell: Told now and then how many of the sample are done.

    Raises:
        MigrationError: The source cannot be migrated so, or the scratch index could not be deleted.
        SourceError: The source cannot be read.
        ClusterError: A cluster does not answer or refuses.
    """
    cluster, body = ClusterView.read(job.client), job.body("planned")
    if job.in_place:
        body["settings"] = {"index": job.source.settings}
    closed = list(index_traps.unreadable(job.source))
    old = _old(job, is_readable=not closed)
    findings = [*closed, *cluster.findings(), *_seen(job, body)]
    rehearsal, expected = None, None
    if not closed:
        findings += routed(job)
        try:
            rehearsal = rehearse(job, sample, scratch=scratch, tell=tell)
            expected = _forecast(job, old, rehearsal, hourly_price)
            findings += _of_sample(rehearsal)
        except NoScratchError as error:
            findings.append(stop(f"the new index would be refused: {error}", "see its mapping and settings above"))
    if expected and expected.size and not job.in_place:
        settings = body["settings"]["index"]
        shards, replicas = int(settings["number_of_shards"]), int(settings["number_of_replicas"])
        findings += cluster.room_for(expected.size.value, expected.size.high, shards, replicas)
    findings.sort(key=lambda finding: _ORDER.index(finding.severity))
    texts = tuple(_texts(job, rehearsal))
    return Plan(job, cluster, old, texts, body, body_diff(job.source, body), rehearsal, expected, tuple(findings))


def _seen(job: Job, body: Json) -> Iterator[Finding]:
    """What can be seen without a document."""
    yield from index_traps.index_traps(job.source, job.spec, body)
    yield from index_traps.names(job.rules.kept)
    yield from index_traps.language(job.sparse, job.capabilities, job.rules.kept)
    yield from surroundings(job)


def _old(job: Job, *, is_readable: bool) -> OldIndex:
    source, kinds = job.source, dict[str, int]()
    for kind in source.fields.values():
        kinds[kind] = kinds.get(kind, 0) + 1
    stats: Json = {}
    if is_readable:
        with asking(source.name):
            stats = job.source_client.indices.stats(index=source.name, metric="docs,store")["_all"]["primaries"]
    return OldIndex(
        source.name,
        count(job) if is_readable else None,
        stats.get("docs", {}).get("deleted", 0),
        stats.get("store", {}).get("size_in_bytes", 0),
        source.shards,
        int(source.settings.get("number_of_replicas", 0)),
        tuple(sorted(source.aliases)),
        kinds,
    )


def _texts(job: Job, rehearsal: Rehearsal | None) -> Iterator[TextField]:
    kept, examples = job.rules.kept, rehearsal.examples if rehearsal else {}
    title = kept.title if kept else "title"
    for name in kept.spoken if kept else ("title", "text"):
        yield TextField(name, job.source.fields.get(name, ""), examples.get(name, ""), name == title)


def _of_sample(seen: Rehearsal) -> Iterator[Finding]:
    if not seen.documents:
        yield note("the old index is empty: there is nothing to forecast by")
        return
    for some, what, remedy in (
        (seen.wordless, "have no text, so they get no vector", "see whether --text-field names the right fields"),
        (
            seen.truncated,
            "are longer than the bundle reads: what comes after is found by BM25 only",
            "a bundle that reads more, or passages (osplade ingest --passages)",
        ),
    ):
        if some:
            low, high = forecast.share(some, seen.documents)[1:]
            told = f"{some:,} of {seen.documents:,} documents of the sample ({low:.0%} to {high:.0%} of all) {what}"
            yield warn(told, remedy) if some > _MANY * seen.documents else note(told)
    if seen.refused:
        told = f"{len(seen.refused):,} of {seen.documents:,} documents of the sample were refused: {seen.refused[0]}"
        remedy = "they would go to the dead letters; see what is wrong with them"
        yield stop(told, remedy) if len(seen.refused) > _MANY * seen.documents else warn(told, remedy)
    if seen.encodes_only:
        yield note("nothing was written (--no-scratch): the size is not forecast, and the time is that of encoding")


def _forecast(job: Job, old: OldIndex, seen: Rehearsal, hourly_price: float | None) -> Forecast | None:
    if not seen.parts or old.documents is None:
        return None
    each = forecast.seconds_each(seen.parts, job.spec.max_docs_per_second)
    size = None
    if not seen.encodes_only and seen.parts[-1].size:
        shards = job.spec.shards or old.shards  # each has terms and segments of its own
        size = forecast.size(seen.parts, old.documents / shards, forecast.spread(seen.sizes)).times(shards)
    room = _ROOM + CACHE_KIB * 1024 * old.shards  # ledgers' caches
    hours = each.times(forecast.MILLION / 3600)
    return Forecast(
        seconds=each.times(old.documents),
        size=size,
        memory=Estimate(seen.peak + _TAKEN * room, seen.peak, seen.peak + room),
        hours=hours,
        money=hours.times(hourly_price) if hourly_price is not None else None,
    )
