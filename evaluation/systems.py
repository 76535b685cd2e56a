"""Systems: the ways of asking that are compared, each run over all questions of a collection."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.measures import measure
from opensearch_splade.query import Mode, Searcher

DEPTH = 100  # ids per question: what recall@100 needs
SHOWN = 10  # hits with their text per question: what a user sees, and what is timed
CHECKED_QUESTIONS = 50


@dataclass(frozen=True, slots=True)
class System:
    """One way of asking.

    Attributes:
        mode: The rankings and their fusion.
        query_side: ``siamese``, ``inference-free``, or empty where no sparse query takes part.
        searcher: Asks with that query side.
    """

    mode: Mode
    query_side: str
    searcher: Searcher

    @property
    def name(self) -> str:
        """Mode and query side, as tables print it."""
        return f"{self.mode} ({self.query_side})" if self.query_side else str(self.mode)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a system did.

    Attributes:
        mode: The rankings and their fusion.
        query_side: Where the sparse query weights come from; empty where none take part.
        measures: Mean of each measure, four decimals.
        client_p50_ms: Median time of one search as the caller sees it, query encoding included, in milliseconds.
        client_p95_ms: The 95th percentile of it.
        server_p50_ms: Median of the server's own ``took``.
    """

    mode: str
    query_side: str
    measures: Mapping[str, float]
    client_p50_ms: float
    client_p95_ms: float
    server_p50_ms: float


def systems(searchers: Mapping[str, Searcher], modes: Sequence[str] = ()) -> list[System]:
    """The systems worth comparing on an index, or the given modes with each query side.

    Args:
        searchers: Query side to searcher, the preferred one first.
        modes: Modes to run; empty for all that the index can answer.
    """
    first = next(iter(searchers.values()))
    chosen: list[System] = []
    defaults = default_modes(first.target.legs)
    if first.target.lacks("weighted-terms"):
        defaults = [mode for mode in defaults if mode != "weighted-terms"]
    for mode in map(Mode.parse, modes or defaults):
        legs = mode.legs or first.target.legs
        sparse = any(leg in {"neural-sparse", "weighted-terms"} for leg in legs)
        sides = searchers.items() if sparse else [("", first)]
        chosen += [System(mode, side, searcher) for side, searcher in sides]
    return chosen


def default_modes(legs: Iterable[str]) -> list[str]:
    """Each ranking alone, then every fusion of two and more with BM25, the largest by RRF too."""
    have = list(legs)
    modes = ["bm25"] + (["weighted-terms"] if "neural-sparse" in have else []) + [leg for leg in have if leg != "bm25"]
    modes += [f"bm25+{leg}" for leg in have if leg != "bm25"]
    if len(have) > 2:
        modes.append("+".join(have))
    return modes + ([f"{'+'.join(have)}:rrf"] if len(have) > 1 else [])


def evaluate(system: System, collection: Collection, on_question: Callable[[], None] = lambda: None) -> Outcome:
    """Asks every question twice: for the ranking to depth, which warms up, and timed for the first page with its text.

    Raises:
        OspladeError: What ``Searcher.search`` raises.
    """
    questions = list(collection.queries.items())
    run: dict[str, dict[str, float]] = {}
    for query, text in questions:
        ranking = system.searcher.search(text, mode=system.mode, size=DEPTH, ids_only=True)
        run[query] = {hit.id: hit.score for hit in ranking.hits}
        on_question()
    client_ms, server_ms = list[float](), list[float]()
    for _, text in questions:
        start = time.perf_counter()
        result = system.searcher.search(text, mode=system.mode, size=SHOWN)
        client_ms.append((time.perf_counter() - start) * 1000)
        server_ms.append(float(result.took_ms))
    return Outcome(
        str(system.mode),
        system.query_side,
        measure(run, collection.qrels),
        round(percentile(client_ms, 50), 2),
        round(percentile(client_ms, 95), 2),
        round(percentile(server_ms, 50), 2),
    )


def score_error(searcher: Searcher, mode: str, collection: Collection) -> float:
    """Largest relative difference between the server's score and the exact dot product of what is stored.

    Asked of the ten best hits of the first questions; law 3 of docs/design.md bounds it.
    """
    worst = 0.0
    for text in list(collection.queries.values())[:CHECKED_QUESTIONS]:
        for hit in searcher.search(text, mode=mode, size=10, explain=True).hits:
            exact = math.fsum(part.score for part in hit.why)
            worst = max(worst, abs(hit.score - exact) / exact)
    return worst


def percentile(values: Sequence[float], share: int) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]
