"""Fusion of rankings that were asked once, as the server does it: a thousand weights are tried without asking again.

Written after neural-search's processors and held to the node by a test: scores are 32 bits, a document outside of a
leg's candidates scores 0 there, min-max gives a leg's last candidate .001.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import QueryError
from opensearch_splade.query.fusion import CANDIDATES, RANK_CONSTANT
from opensearch_splade.types import Json

Normaliser = Literal["min_max", "l2", "z_score", "rrf", "raw"]
"""``raw`` leaves scores as they are (a linear combination) and is no processor of the server."""
Combination = Literal["arithmetic_mean", "geometric_mean", "harmonic_mean"]
Floats = npt.NDArray[np.float32]

LEAST = np.float32(0.001)  # of a hit that would get 0, in the processors' code


@dataclass(frozen=True, slots=True)
class Pool:
    """The candidates of one question.

    Attributes:
        ids: Documents, the larger id first, which is how trec_eval orders ties.
        scores: Of each leg; NaN where it did not find the document. Shape: (documents, legs).
        ranks: From 1; 0 where it did not find it. Shape: (documents, legs).
    """

    ids: Sequence[str]
    scores: Floats
    ranks: npt.NDArray[np.int32]

    @classmethod
    def of(cls, legs: Sequence[Mapping[str, float]], depth: int = CANDIDATES) -> Pool:
        """The first hits of each leg; its hits are in the order of their ranks."""
        found = [list(leg.items())[:depth] for leg in legs]
        ids = sorted({document for leg in found for document, _ in leg}, reverse=True)
        place = {document: row for row, document in enumerate(ids)}
        scores = np.full((len(ids), len(legs)), np.nan, np.float32)
        ranks = np.zeros((len(ids), len(legs)), np.int32)
        for column, leg in enumerate(found):
            for rank, (document, score) in enumerate(leg, 1):
                scores[place[document], column], ranks[place[document], column] = score, rank
        return cls(ids, scores, ranks)


@dataclass(frozen=True, slots=True)
class Fusion:
    """How legs' scores become one.

    Attributes:
        normaliser: What makes legs comparable.
        combination: What makes one of several; ``rrf`` and ``raw`` are sums, named arithmetic.
        weights: One for each leg, not negative; 0 leaves a leg out.

    Raises:
        QueryError: The server has no such pair.
    """

    normaliser: Normaliser
    combination: Combination
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.normaliser in {"rrf", "raw", "z_score"} and self.combination != "arithmetic_mean":
            raise QueryError(f"{self.normaliser} goes with arithmetic_mean, not with {self.combination}")
        if not all(np.isfinite(one) and one >= 0 for one in self.weights) or not any(self.weights):
            raise QueryError(f"fusion weights {self.weights}: they are finite, none negative, and one is above 0")

    def pipeline(self) -> Json:
        """The search pipeline that fuses so, for the legs whose weight is not 0.

        Raises:
            QueryError: ``raw`` has none: boosts in one ``bool`` do that.
        """
        if self.normaliser == "raw":
            raise QueryError("a linear combination of raw scores is no pipeline; boost the clauses of one bool query")
        kept = np.array([weight for weight in self.weights if weight])
        weights: Json = {"weights": (kept / kept.sum()).tolist()}
        if self.normaliser == "rrf":
            one: Json = {"technique": "rrf", "rank_constant": RANK_CONSTANT, "parameters": weights}
            return {"phase_results_processors": [{"score-ranker-processor": {"combination": one}}]}
        parts = {
            "normalization": {"technique": self.normaliser},
            "combination": {"technique": self.combination, "parameters": weights},
        }
        return {"phase_results_processors": [{"normalization-processor": parts}]}

    def run(self, pools: Mapping[str, Pool], depth: int = CANDIDATES) -> dict[str, dict[str, float]]:
        """The fused ranking of each question."""
        weights = np.array([self.weights])
        return {
            query: ranking(pool.ids, fused(pool, self.normaliser, self.combination, weights)[:, 0], depth)
            for query, pool in pools.items()
        }


def ranking(ids: Sequence[str], scores: npt.NDArray[np.floating], depth: int) -> dict[str, float]:
    """The best documents, best first; equal ones in the order of ``ids``."""
    best = np.argsort(-scores, kind="stable")[:depth]
    return {ids[row]: float(scores[row]) for row in best}


def normalised(pool: Pool, normaliser: Normaliser) -> Floats:
    """Scores that can be compared; 0 where a leg did not find a document. Shape: (documents, legs)."""
    if normaliser == "rrf":
        return np.where(pool.ranks > 0, 1 / (RANK_CONSTANT + np.maximum(pool.ranks, 1)), 0).astype(np.float32)
    columns = [_column(pool.scores[:, leg], normaliser) for leg in range(pool.scores.shape[1])]
    return np.stack(columns, axis=1) if columns else np.zeros(pool.scores.shape, np.float32)


def _column(scores: Floats, normaliser: Normaliser) -> Floats:
    is_found = ~np.isnan(scores)
    made = np.zeros(len(scores), np.float32)
    found = scores[is_found]
    if not len(found):
        return made
    if normaliser == "raw":
        made[:] = found.min()  # what was not found has no more than that
        made[is_found] = found
    elif normaliser == "min_max":
        spread = found.max() - found.min()
        scaled = (found - found.min()) / spread if spread else np.ones_like(found)
        made[is_found] = np.where(scaled == 0, LEAST, scaled)
    elif normaliser == "l2":
        norm = np.sqrt(np.cumsum(found * found, dtype=np.float32)[-1])
        made[is_found] = found / norm if norm else 0
    else:
        made[is_found] = _z_scores(found)
    return made


def _z_scores(found: Floats) -> Floats:
    deviation = np.float32(np.std(found, ddof=1, dtype=np.float64)) if len(found) > 1 else np.float32(0)
    mean = np.float32(np.mean(found, dtype=np.float64))
    if not deviation:
        scaled = np.full_like(found, found.min())
    else:
        scaled = (found - mean) / deviation
    made: Floats = np.where(found == mean, found.max(), np.where(scaled <= 0, LEAST, scaled)).astype(np.float32)
    return made


def fused(pool: Pool, normaliser: Normaliser, combination: Combination, weights: npt.NDArray[np.float64]) -> Floats:
    """The fused score of each document by each row of weights.

    Args:
        pool: The candidates.
        normaliser: What makes legs comparable.
        combination: What makes one score of several.
        weights: Shape: (rows, legs); scaled to sum to 1.

    Returns:
        Shape: (documents, rows).
    """
    shares = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32).T
    parts = normalised(pool, normaliser)
    if combination == "arithmetic_mean":
        sums: Floats = parts @ shares
        return sums
    # The other means are over what a leg found: a score of 0 takes no part, nor does its weight.
    is_there = (parts > 0).astype(np.float32)
    total = is_there @ shares
    safe = np.where(parts > 0, parts, 1)
    if combination == "geometric_mean":
        means = np.where(total > 0, np.exp((np.log(safe) * is_there) @ shares / np.where(total, total, 1)), 0)
    else:
        means = total / np.where(total, (is_there / safe) @ shares, 1)
    return means.astype(np.float32)
