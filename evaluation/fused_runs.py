"""Fusion of rankings that were asked once: a thousand weights are tried without asking again.

Scores are made comparable by ``query.client_fusion``, which is held to the node; here only the means are taken for
many weights at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opensearch_splade.query.client_fusion import normalise
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.fusion_spec import Fusion, Normaliser
from opensearch_splade.types import Combination

Floats = npt.NDArray[np.float32]


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


def fused_runs(fusion: Fusion, pools: Mapping[str, Pool], depth: int = CANDIDATES) -> dict[str, dict[str, float]]:
    """The fused ranking of each question."""
    weights = np.array([fusion.weights])
    return {
        query: ranking(pool.ids, fused(pool, fusion.normaliser, fusion.combination, weights)[:, 0], depth)
        for query, pool in pools.items()
    }


def ranking(ids: Sequence[str], scores: npt.NDArray[np.floating], depth: int) -> dict[str, float]:
    """The best documents, best first; equal ones in the order of ``ids``."""
    best = np.argsort(-scores, kind="stable")[:depth]
    return {ids[row]: float(scores[row]) for row in best}


def normalised(pool: Pool, normaliser: Normaliser) -> Floats:
    """Scores that can be compared; 0 where a leg did not find a document. Shape: (documents, legs)."""
    made = np.zeros(pool.scores.shape, np.float32)
    for leg in range(pool.ranks.shape[-1]):
        rows = np.flatnonzero(pool.ranks[:, leg])
        rows = rows[np.argsort(pool.ranks[rows, leg])]
        scores = pool.scores[rows, leg]
        if normaliser == "raw" and len(scores):
            made[:, leg] = scores.min()  # what was not found has no more than that
        made[rows, leg] = normalise(scores.tolist(), Fusion(normaliser))
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
