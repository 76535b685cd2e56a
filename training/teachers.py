"""Teachers: models whose opinion of question and document the student learns. Any mix, on one scale.

A teacher is vectors of all questions and documents, not scores: each is encoded once, and a batch's scores, all against
all, are a product of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.types import SparseVectors

Scores = npt.NDArray[np.float32]
Normalisation = Literal["min-max", "z"]


class Teacher(Protocol):
    """Scores of questions with documents, by their places."""

    @property
    def weight(self) -> float:
        """How much its opinion counts."""
        ...

    def scores(self, queries: Sequence[int], documents: Sequence[int]) -> Scores:
        """Shape ``(queries, documents)``."""
        ...

    def best(self, depth: int, queries: Sequence[int] | None = None) -> Iterator[list[int]]:
        """Of each question, or of some, the places of the best documents among all; those of score 0 are left out."""
        ...


@dataclass(frozen=True, slots=True)
class DenseTeacher:
    """A dense model's vectors: scores are dot products."""

    weight: float
    queries: Scores
    documents: Scores

    def scores(self, queries: Sequence[int], documents: Sequence[int]) -> Scores:
        """See ``Teacher``."""
        found: Scores = self.queries[list(queries)] @ self.documents[list(documents)].T
        return found

    def best(self, depth: int, queries: Sequence[int] | None = None) -> Iterator[list[int]]:
        """See ``Teacher``."""
        asked = range(len(self.queries)) if queries is None else queries
        return (_strongest(self.documents @ self.queries[one], depth) for one in asked)


@dataclass(frozen=True, slots=True)
class SparseTeacher:
    """A sparse model's vectors, or those of BM25 (``lexical``)."""

    weight: float
    queries: SparseVectors
    documents: SparseVectors

    def scores(self, queries: Sequence[int], documents: Sequence[int]) -> Scores:
        """See ``Teacher``."""
        asked, answers = (
            [one.row(at) for at in places] for one, places in ((self.queries, queries), (self.documents, documents))
        )
        terms = np.unique(np.concatenate([ids for ids, _ in asked]))
        found: Scores = _columns(asked, terms) @ _columns(answers, terms).T
        return found

    def best(self, depth: int, queries: Sequence[int] | None = None) -> Iterator[list[int]]:
        """See ``Teacher``."""
        index = ExactIndex([""] * len(self.documents), self.documents)
        asked = range(len(self.queries)) if queries is None else queries
        return (_strongest(index.scores(*self.queries.row(one)), depth) for one in asked)


def ensemble(
    teachers: Sequence[Teacher],
    queries: Sequence[int],
    documents: Sequence[int],
    how: Normalisation = "min-max",
    known: npt.NDArray[np.bool_] | None = None,
) -> Scores:
    """The teachers' weighted mean, each normalised per question over these documents: in [0, 1] for ``min-max``.

    ``known`` is as in ``normalise``.
    """
    total = sum(teacher.weight for teacher in teachers)
    return sum(
        (normalise(one.scores(queries, documents), how, known) * np.float32(one.weight / total) for one in teachers),
        np.zeros((len(queries), len(documents)), np.float32),
    )


def normalise(scores: Scores, how: Normalisation, known: npt.NDArray[np.bool_] | None = None) -> Scores:
    """Each row to [0, 1] or to mean 0 and deviation 1; a row of equal scores to zeros: it has no opinion.

    Where ``known``, of the same shape, is false, a score has no part in the scale of its row, and becomes 0.
    """
    scores = scores.astype(np.float64)
    if known is not None:
        scores = np.where(known, scores, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of rows that have no number
        if how == "min-max":
            least = np.nanmin(scores, 1, keepdims=True)
            spread = np.nanmax(scores, 1, keepdims=True) - least
        else:
            least, spread = np.nanmean(scores, 1, keepdims=True), np.nanstd(scores, 1, keepdims=True)
    found: Scores = np.nan_to_num((scores - least) / np.where(spread > 1e-9, spread, np.inf)).astype(np.float32)
    return found


def _columns(
    rows: Sequence[tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]], terms: npt.NDArray[np.int32]
) -> Scores:
    """Rows as a matrix of these terms only."""
    found = np.zeros((len(rows), len(terms)), np.float32)
    for line, (ids, weights) in zip(found, rows, strict=True):
        _, here, there = np.intersect1d(terms, ids, assume_unique=True, return_indices=True)
        line[here] = weights[there]
    return found


def _strongest(scores: npt.NDArray[np.floating], depth: int) -> list[int]:
    depth = min(depth, len(scores))
    top = np.argpartition(-scores, depth - 1)[:depth]
    order = top[np.lexsort((top, -scores[top]))]
    return [int(place) for place in order if scores[place] > 0]
