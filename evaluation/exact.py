"""Exact rankings: the dot product of every question with every document, without a node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from opensearch_splade.types import SparseVectors


class ExactIndex:
    """Documents by their features.

    Args:
        ids: The document of each row.
        documents: Their vectors, as they would be stored.
    """

    def __init__(self, ids: Sequence[str], documents: SparseVectors) -> None:
        self._ids = ids
        order = np.argsort(documents.token_ids, kind="stable")
        self._rows = np.repeat(np.arange(len(documents)), np.diff(documents.indptr))[order]
        self._weights = documents.weights[order].astype(np.float64)
        size = int(documents.token_ids.max(initial=-1)) + 1
        self._starts = np.searchsorted(documents.token_ids[order], np.arange(size + 1))

    def rank(self, questions: SparseVectors, depth: int) -> Iterator[dict[str, float]]:
        """The best documents of each question with their scores; those that share no feature with it are left out."""
        for token_ids, weights in questions:
            scores = self.scores(token_ids, weights)
            best = np.argsort(-scores, kind="stable")[:depth]
            yield {self._ids[place]: float(scores[place]) for place in best if scores[place] > 0}

    def scores(self, token_ids: npt.NDArray[np.int32], weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The dot product of one question with each row, shape ``(rows,)``."""
        scores = np.zeros(len(self._ids))
        for token, weight in zip(token_ids.tolist(), weights.tolist(), strict=True):
            if token + 1 < len(self._starts):
                part = slice(self._starts[token], self._starts[token + 1])
                scores[self._rows[part]] += weight * self._weights[part]  # a document has a feature once
        return scores
