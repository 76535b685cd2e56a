"""Learned rescoring: a linear function of what the legs say of a document, trained on pairs of documents.

Pairwise logistic loss (RankNet without hidden units; Burges et al., ICML 2005) with a ridge, by Newton's method: no
library, no learning rate, the same result each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.fused_runs import Pool, normalised, ranking
from opensearch_splade.evaluation.results import Run
from opensearch_splade.evaluation.tuning import Chosen, Qrels, Values
from opensearch_splade.query.fusion import CANDIDATES

RIDGE = 1e-3
NEGATIVES = 30
"""Documents without a relevant judgement that each relevant one is paired with, from all heights of an equal fusion.
Only its first ones would teach that what ranks high is wrong: nDCG@10 was .11 on CACM."""
_ROUNDS = 25


class RescorerTuner:
    """Learns weights of the legs' min-max scores, reciprocal ranks and whether a leg found the document at all.

    Args:
        name: As a table prints it.
        legs: Spec of each leg's system to its ranking.
        qrels: Judgements.
    """

    def __init__(self, name: str, legs: Mapping[str, Run], qrels: Qrels) -> None:
        self.name = name
        self._legs = list(legs)
        self._pools = {query: Pool.of([run.get(query, {}) for run in legs.values()]) for query in qrels}
        self._features = {query: features(pool) for query, pool in self._pools.items()}
        self._pairs = {query: self._pairs_of(query, qrels[query]) for query in qrels}

    def _pairs_of(self, query: str, grades: Mapping[str, int]) -> Values:
        """Differences of features, better minus worse document. Shape: (pairs, features)."""
        ids, table = self._pools[query].ids, self._features[query]
        gains = np.array([max(0, grades.get(document, 0)) for document in ids], np.int64)
        hard = np.argsort(-table[:, : len(self._legs)].sum(axis=1), kind="stable")
        worse = hard[gains[hard] == 0]
        worse = worse[:: max(1, len(worse) // NEGATIVES)]
        better = np.flatnonzero(gains)
        pairs: Values = (table[better][:, None, :] - table[worse][None, :, :]).reshape(-1, table.shape[1])
        return pairs

    def choose(self, queries: Sequence[str]) -> Chosen:
        """Coefficients by the pairs of these questions, each question of the same weight."""
        weights = fit([self._pairs[query] for query in queries])
        names = [f"{kind} {leg}" for kind in ("min_max", "rrf", "found") for leg in self._legs]
        parameters = {"coefficients": dict(zip(names, weights.round(6).tolist(), strict=True))}

        def rank(asked: Sequence[str]) -> Run:
            return {
                query: ranking(self._pools[query].ids, self._features[query] @ weights, CANDIDATES) for query in asked
            }

        return Chosen("", parameters, rank)


def features(pool: Pool) -> Values:
    """Of each document. Shape: (documents, 3 * legs); reciprocal ranks are scaled to at most 1."""
    ranks = normalised(pool, "rrf") * 61
    return np.concatenate([normalised(pool, "min_max"), ranks, pool.ranks > 0], axis=1).astype(np.float64)


def fit(pairs: Sequence[npt.NDArray[np.float64]]) -> Values:
    """The minimum of the mean logistic loss and ``RIDGE`` times the squared length. Shape: (features,)."""
    used = [one for one in pairs if len(one)]
    width = pairs[0].shape[1]
    if not used:
        return np.ones(width)
    table = np.concatenate(used)
    share = np.concatenate([np.full(len(one), 1 / len(one) / len(used)) for one in used])
    weights = np.zeros(width)
    for _ in range(_ROUNDS):
        missed = 1 / (1 + np.exp(np.clip(table @ weights, -500, 500)))
        slope = -(table.T @ (share * missed)) + 2 * RIDGE * weights
        curve = (table.T * (share * missed * (1 - missed))) @ table + 2 * RIDGE * np.eye(width)
        step = np.linalg.solve(curve, slope)
        weights -= step / max(1.0, float(np.abs(step).max()) / 2)  # far from the minimum Newton may overshoot
        if np.abs(step).max() < 1e-9:
            break
    return weights
