"""Tuning: parameters of a search chosen on training questions, and how good they are on questions left out.

Each leg is asked once; fusions are computed from its ranking (``fused_runs``). A tuner chooses on some questions and
ranks others, so the same code tunes on one split for another and cross-validates within one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import QueryError
from opensearch_splade.evaluation.fused_runs import Floats, Pool, fused, fused_runs
from opensearch_splade.evaluation.leakage import folds
from opensearch_splade.evaluation.results import Run
from opensearch_splade.query.fusion_spec import FUSION_METHODS, Fusion, Normaliser
from opensearch_splade.types import Combination

Qrels = Mapping[str, Mapping[str, int]]
Values = npt.NDArray[np.float64]

OBJECTIVE = "nDCG@10"
STEPS = 10
"""Weights of a fusion are tenths: finer ones fit the questions, not the collection."""
SHIPPED: tuple[tuple[Normaliser, Combination], ...] = (("min_max", "arithmetic_mean"), ("rrf", "arithmetic_mean"))
"""Between which a tuned hybrid is chosen."""
OTHERS: tuple[tuple[Normaliser, Combination], ...] = (
    ("l2", "arithmetic_mean"),
    ("z_score", "arithmetic_mean"),
    ("min_max", "geometric_mean"),
    ("min_max", "harmonic_mean"),
)
"""What else the server has."""
_CUTOFF = 10


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a tuner chose.

    Attributes:
        spec: As ``osplade eval --system`` reads it; empty where a search has no such option.
        parameters: The same and more as JSON.
        rank: The ranking of questions by it.
    """

    spec: str
    parameters: Mapping[str, Any]
    rank: Callable[[Sequence[str]], Run] = field(repr=False, compare=False)


class Tuner(Protocol):
    """Something with parameters to choose."""

    @property
    def name(self) -> str:
        """As a table prints it."""
        ...

    def choose(self, queries: Sequence[str]) -> Chosen:
        """The best parameters for these questions."""
        ...


def ndcg(ids: Sequence[str], scores: Floats, grades: Mapping[str, int]) -> Values:
    """nDCG@10 of one question by each column of scores, as trec_eval computes it.

    Args:
        ids: Documents, the larger id first (as in a ``Pool``).
        scores: Shape: (documents, columns).
        grades: Of all judged documents.
    """
    discounts = 1 / np.log2(np.arange(2, _CUTOFF + 2))
    best = sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:_CUTOFF]
    ideal = float(np.dot(best, discounts[: len(best)]))
    if not ideal or not len(ids):
        return np.zeros(scores.shape[1])
    gains = np.array([max(0, grades.get(document, 0)) for document in ids], np.float64)
    top = np.argsort(-scores, axis=0, kind="stable")[:_CUTOFF]
    found: Values = discounts[: len(top)] @ gains[top] / ideal
    return found


def weight_grid(legs: int) -> Values:
    """All ways to share ten tenths among legs, equal shares first. Shape: (rows, legs)."""
    shares = np.array([one for one in product(range(STEPS + 1), repeat=legs) if sum(one) == STEPS], np.float64)
    return np.concatenate([np.ones((1, legs)) * STEPS / legs, shares]) / STEPS


class RunTuner:
    """Chooses among rankings that were asked one by one: legs, prunings of questions, two-step windows.

    Args:
        name: As a table prints it.
        runs: Spec line to ranking, the cheapest first: of equally good ones the first is chosen.
        qrels: Judgements.
    """

    def __init__(self, name: str, runs: Mapping[str, Run], qrels: Qrels) -> None:
        self.name = name
        self._runs = runs
        self._values = {spec: ndcg_each(run, qrels) for spec, run in runs.items()}

    def choose(self, queries: Sequence[str]) -> Chosen:
        """The ranking with the best mean over these questions."""
        means = {spec: sum(values[query] for query in queries) for spec, values in self._values.items()}
        spec = max(means, key=lambda one: means[one])
        run = self._runs[spec]
        return Chosen(spec, {"system": spec}, lambda asked: {query: run.get(query, {}) for query in asked})


def ndcg_each(run: Run, qrels: Qrels) -> dict[str, float]:
    """nDCG@10 of every judged question."""
    found: dict[str, float] = {}
    for query, grades in qrels.items():
        ids = sorted(run.get(query, {}), reverse=True)
        scores = np.array([[run[query][document]] for document in ids], np.float32).reshape(-1, 1)
        found[query] = float(ndcg(ids, scores, grades)[0])
    return found


class FusionTuner:
    """Chooses normaliser and weights of a fusion.

    Args:
        name: As a table prints it.
        legs: Spec of each leg's system to its ranking.
        qrels: Judgements.
        kinds: Normalisers and combinations to try, the preferred one first.
    """

    def __init__(
        self,
        name: str,
        legs: Mapping[str, Run],
        qrels: Qrels,
        kinds: Sequence[tuple[Normaliser, Combination]] = SHIPPED,
    ) -> None:
        self.name = name
        self._legs = list(legs)
        self.pools = {query: Pool.of([run.get(query, {}) for run in legs.values()]) for query in qrels}
        self._grid = weight_grid(len(legs))
        self._kinds = kinds
        # A raw score is first divided by its leg's mean best score, of no judgement's making.
        best = [[max(run[query].values()) for query in qrels if run.get(query)] for run in legs.values()]
        self._scales = np.array([np.mean(one) if one else 1.0 for one in best])
        self._values = {
            query: np.stack([self._by_weights(pool, kind, qrels[query]) for kind in kinds])
            for query, pool in self.pools.items()
        }

    def _by_weights(self, pool: Pool, kind: tuple[Normaliser, Combination], grades: Mapping[str, int]) -> Values:
        scale = self._scales if kind[0] == "raw" else 1.0
        return ndcg(pool.ids, fused(pool, *kind, self._grid / scale), grades)

    def choose(self, queries: Sequence[str]) -> Chosen:
        """The best mean over these questions; of equally good ones the preferred kind and equal weights."""
        means = np.mean([self._values[query] for query in queries], axis=0)
        kind, row = divmod(int(np.argmax(np.round(means, 9))), means.shape[1])
        normaliser, combination = self._kinds[kind]
        weights = self._grid[row] / (self._scales if normaliser == "raw" else 1.0)
        fusion = Fusion(normaliser, combination, tuple(weights.tolist()))
        parameters: dict[str, Any] = {
            "legs": self._legs,
            "normaliser": normaliser,
            "combination": combination,
            "weights": [round(float(one), 6) for one in weights],
        }
        if normaliser != "raw":
            parameters["search_pipeline"] = fusion.pipeline()
        spec = spec_of(self._legs, fusion)
        return Chosen(spec, parameters, lambda asked: fused_runs(fusion, {query: self.pools[query] for query in asked}))


def spec_of(legs: Sequence[str], fusion: Fusion) -> str:
    """A fusion of legs as a line that ``SystemSpec`` reads; legs of weight 0 are left out."""
    kept = [(leg, weight) for leg, weight in zip(legs, fusion.weights, strict=True) if weight]
    options = dict.fromkeys(option for leg, _ in kept for option in leg.split()[1:])
    if len(kept) == 1:
        return kept[0][0]
    method = "" if fusion.method == FUSION_METHODS[0] else f":{fusion.method}"
    mode = "+".join(leg.split()[0] for leg, _ in kept) + method
    return " ".join([mode, *options, "weights=" + ",".join(f"{weight:g}" for _, weight in kept)])


@dataclass(frozen=True, slots=True)
class Validated:
    """A tuner on questions that its parameters were not chosen on.

    Attributes:
        run: Of every question by the parameters of the other folds.
        choices: Of each fold.
    """

    run: Run
    choices: Sequence[Chosen]


def cross_validate(tuner: Tuner, queries: Mapping[str, str], count: int, seed: int = 0) -> Validated:
    """Chooses on all folds but one and ranks that one, for each.

    Raises:
        QueryError: There are too few questions.
    """
    run: dict[str, Mapping[str, float]] = {}
    choices: list[Chosen] = []
    for held_out in folds(queries, count, seed):
        left = set(held_out)
        chosen = tuner.choose([query for query in queries if query not in left])
        run |= chosen.rank(held_out)
        choices.append(chosen)
    if run.keys() != queries.keys():
        raise QueryError(f"{tuner.name} ranked {len(run)} of {len(queries)} questions")
    return Validated({query: run[query] for query in queries}, choices)
