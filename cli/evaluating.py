"""A comparison with its progress bar: shared by ``osplade eval`` and ``osplade demo``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import Progress

from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.systems import Outcome, evaluate, systems
from opensearch_splade.query import Searcher


def compare(
    collection: Collection, searchers: Mapping[str, Searcher], modes: Sequence[str], console: Console
) -> list[Outcome]:
    """Every system over every question."""
    chosen = systems(searchers, modes)
    outcomes: list[Outcome] = []
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("asking", total=len(chosen) * len(collection.queries))
        for system in chosen:
            progress.update(task, description=system.name)
            outcomes.append(evaluate(system, collection, lambda: progress.advance(task)))
    return outcomes
