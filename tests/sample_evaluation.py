"""A small evaluation by hand, for tests of reports: no index, no server, numbers by a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

from opensearch_splade.evaluation.drill_down import DrillDown, JudgedHit, Margin, Pair
from opensearch_splade.evaluation.prune_curve import CurvePoint
from opensearch_splade.evaluation.results import Comparison, Evaluation, Latency, SystemResult
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.types import Contribution

NAMES = ("bm25", "neural-sparse (siamese)", "knn", "bm25+knn", "other-engine.run")
TOPICS = ("vitamin d and bone density", "heat transfer in wings", "a cache for compiled queries", "radium", "tides")


def evaluation(
    names: Sequence[str] = NAMES, questions: int = 30, seed: int = 7, collection: str = "sample"
) -> Evaluation:
    """Systems whose values are random, each a little better than the one before; the last one is imported."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    ids = [str(number) for number in range(1, questions + 1)]
    queries = {query: f"{TOPICS[int(query) % len(TOPICS)]}, question {query}" for query in ids}
    qrels = {query: {f"d{query}": 1, "d0": 0} for query in ids}
    systems = [_system(chance, name, place, ids, timed=place < len(names) - 1) for place, name in enumerate(names)]
    comparisons = [_comparison(system, systems[0], measure) for system in systems[1:] for measure in ("nDCG@10", "AP")]
    return Evaluation(
        collection, "test", "people", "sample-index", "3.6.0", queries, qrels, systems, comparisons, ("All made up.",)
    )


def _system(chance: random.Random, name: str, place: int, ids: Sequence[str], *, timed: bool) -> SystemResult:
    run = {query: {f"d{other}": 10.0 - rank for rank, other in enumerate(chance.sample(ids, 10))} for query in ids}
    values = {
        measure: {query: round(min(1.0, chance.random() * 0.8 + 0.07 * place), 4) for query in ids}
        for measure in ("nDCG@10", "AP", "R@100")
    }
    latency = Latency(2.0 * 1.7**place, 3.0 * 1.7**place, 1.0 + place) if timed else None
    return SystemResult(name, f"mode {name}", run, values, latency, "sample/train" if place == 3 else "")


def _comparison(system: SystemResult, base: SystemResult, measure: str) -> Comparison:
    values, others = system.per_question[measure], base.per_question[measure]
    differences = [values[query] - others[query] for query in values]
    mean = sum(differences) / len(differences)
    wins, losses = sum(one > 0 for one in differences), sum(one < 0 for one in differences)
    p = min(1.0, 0.05 ** (abs(mean) / 0.1))
    return Comparison(system.name, base.name, measure, mean, mean - 0.08, mean + 0.08, p, min(1.0, p * 4), wins, losses)


def drill_downs(of: Evaluation) -> list[DrillDown]:
    """One for each system but the first, with terms."""
    return [_drill_down(of, system, str(place + 1)) for place, system in enumerate(of.systems[1:])]


def _drill_down(of: Evaluation, system: SystemResult, query: str) -> DrillDown:
    base = of.systems[0]
    why = [Contribution(feature, 2.0 - 0.1 * place, 1.5) for place, feature in enumerate("abcdefghijkl")]
    hits = [JudgedHit(f"d{query}", 1, 31.2, 1, "A title", "Its text.", why), JudgedHit("d9", 2, 9.5, None)]
    terms = [Margin("a", 3.0, 0.5), Margin("b", 0.0, 1.0)]
    pair = Pair(f"d{query}", "d0", (1, 4), (None, 2), terms, (), ("A title", ""))
    values = [each.per_question["nDCG@10"][query] for each in (system, base)]
    return DrillDown(
        query, of.queries[query], "nDCG@10", system.name, base.name, *values, hits, list(reversed(hits)), pair
    )


def curve() -> list[CurvePoint]:
    """A bundle's prunings, the first of them none."""
    kept = [CurvePoint(Pruning("top_k", count), count, 9.0 * count, _quality(count)) for count in (128, 64, 32)]
    return [CurvePoint(None, 250.0, 2250.0, _quality(250)), *kept]


def _quality(features: int) -> dict[str, float]:
    return {"nDCG@10": round(0.65 - 1 / features, 4), "R@100": 0.9}
