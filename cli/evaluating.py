"""Systems over all questions of a collection, with a progress bar: shared by ``osplade eval`` and ``osplade demo``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import Progress

from opensearch_splade.cli.wiring import Cluster
from opensearch_splade.evaluation.asking import AskingError, ask
from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.kept_runs import Decided, KeptRun, KeptRuns, decided_by
from opensearch_splade.evaluation.latency import SAMPLE, time_searches
from opensearch_splade.evaluation.measures import MEASURES, measure_each
from opensearch_splade.evaluation.results import SystemResult
from opensearch_splade.evaluation.systems import System

DEPTH = 100  # ids per question: what recall@100 needs


@dataclass(frozen=True, slots=True)
class Plan:
    """How systems are asked and measured.

    Attributes:
        split: Of the collection's judgements, as runs are kept by it.
        depth: Hits of each ranking.
        times: Whether latency is measured.
        measures: In the names of ir-measures.
        kept: Where rankings are kept.
        again: Whether what is kept there is forgotten.
    """

    split: str = "test"
    depth: int = DEPTH
    times: bool = True
    measures: Sequence[str] = MEASURES
    kept: KeptRuns | None = None
    again: bool = False


@dataclass(slots=True)
class Found:
    """What came of it.

    Attributes:
        results: Of the systems that answered every question, in their order.
        notes: What a reader of the results must know.
        failures: A sentence for each of the others.
    """

    results: list[SystemResult]
    notes: list[str]
    failures: list[str]


def compare(
    cluster: Cluster, collection: Collection, systems: Sequence[System], console: Console, plan: Plan | None = None
) -> Found:
    """Every system over every question. One that the server refuses is told of, and the others go on."""
    plan = plan or Plan()
    if plan.kept:
        plan.kept.prepare()
    found = Found([], [], [])
    for system in systems:  # what cannot be asked is known before the first of them is
        system.ranking_body(next(iter(collection.queries.values())), plan.depth)
    each = len(collection.queries) + plan.times * min(SAMPLE, len(collection.queries))
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("asking", total=len(systems) * each)
        for number, system in enumerate(systems):
            progress.update(task, description=system.name, completed=number * each)
            try:
                kept = _ranked(cluster, collection, system, plan, progress, lambda by=1: progress.advance(task, by))
            except AskingError as error:
                found.failures.append(str(error))
                continue
            measured = measure_each(kept.run, collection.qrels, plan.measures)
            spec = system.spec
            found.results.append(SystemResult(system.name, str(spec), kept.run, measured, kept.latency, spec.tuned_on))
            found.notes += notes_of(system, collection, plan.split, kept.notices)
    return found


def _ranked(
    cluster: Cluster,
    collection: Collection,
    system: System,
    plan: Plan,
    progress: Progress,
    advance: Callable[..., None],
) -> KeptRun:
    """The ranking and the latency of a system, from the folder where it still holds."""
    client = cluster.client
    known, decided, said = look(cluster, collection, system, plan)
    if said:
        progress.console.print(f"{system.name}: {said}", markup=False, highlight=False, soft_wrap=True)
    is_whole = known is not None and (known.latency is not None or not plan.times)
    if known is None:
        asked = ask(client, system, collection.queries, plan.depth, advance)
        known = KeptRun(asked.run, None, asked.notices)
    else:
        advance(len(collection.queries))
    if known.latency is None and plan.times:
        known = KeptRun(known.run, time_searches(client, system, collection.queries, advance), known.notices)
    if plan.kept and not is_whole:
        plan.kept.keep(system.name, decided, known)
    return known


def look(cluster: Cluster, collection: Collection, system: System, plan: Plan) -> tuple[KeptRun | None, Decided, str]:
    """The kept run of a system where it still holds, what decides a new one, and a word on it for people."""
    if plan.kept is None:
        return None, {}, ""
    server = cluster.capabilities.version_text
    decided = decided_by(cluster.client, system, collection, plan.split, plan.depth, server)
    if plan.again:
        return None, decided, ""
    known, reason = plan.kept.find(system.name, decided)
    return known, decided, "its kept run holds" if known else f"asked again: {reason}" if reason else ""


def notes_of(system: System, collection: Collection, split: str, notices: Mapping[str, int]) -> list[str]:
    """What a reader must know of one system."""
    notes = [f"{system.name}: {notice} ({count} questions)" for notice, count in notices.items()]
    tuned_on = system.spec.tuned_on
    if tuned_on == f"{collection.name}/{split}":
        notes.append(
            f"{system.name} was tuned on {tuned_on}, the very questions it is measured on: too good to be true"
        )
    return notes
