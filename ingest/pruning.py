"""Pruning: dropping the weak features of a document vector before it is stored.

The four kinds and their meaning are those of the ``sparse_encoding`` ingest processor (OpenSearch documentation,
"Sparse encoding processor"), with one difference: the strongest feature always stays, so no document becomes empty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import OspladeError
from opensearch_splade.types import SparseVectors

Places = npt.NDArray[np.int64]

PruneType = Literal["max_ratio", "abs_value", "top_k", "alpha_mass"]


@dataclass(frozen=True, slots=True)
class Pruning:
    """One rule.

    Attributes:
        kind: ``max_ratio`` keeps weights of at least ``value`` times the document's largest; ``abs_value`` those of at
            least ``value``; ``top_k`` the ``value`` strongest; ``alpha_mass`` the strongest while they sum to at most
            ``value`` of the document's total.
        value: A ratio in (0, 1) for ``max_ratio`` and ``alpha_mass``, a weight > 0, or a whole number > 0.

    Raises:
        OspladeError: The value is out of the kind's range.
    """

    kind: PruneType
    value: float

    def __post_init__(self) -> None:
        ratio = self.kind in {"max_ratio", "alpha_mass"}
        if not self.value > 0 or (ratio and self.value >= 1) or (self.kind == "top_k" and self.value % 1):
            rule = (
                "a ratio between 0 and 1" if ratio else "a whole number > 0" if self.kind == "top_k" else "a weight > 0"
            )
            raise OspladeError(f"--prune {self}: {self.kind} takes {rule}.")

    @classmethod
    def parse(cls, text: str) -> Pruning:
        """Reads ``max_ratio:0.1`` and the like.

        Raises:
            OspladeError: It is none of the four kinds, or the value is out of range.
        """
        kind, _, value = text.partition(":")
        for known in get_args(PruneType):
            if kind == known:
                try:
                    return cls(known, float(value))
                except ValueError as error:
                    raise OspladeError(f"--prune {text}: {value!r} is not a number.") from error
        raise OspladeError(f"--prune {text}: unknown; write KIND:VALUE with one of {', '.join(get_args(PruneType))}.")

    def __str__(self) -> str:
        return f"{self.kind}:{self.value:.12g}"

    def apply(self, vectors: SparseVectors) -> SparseVectors:
        """The same rows with fewer features."""
        if not len(vectors.weights):
            return vectors
        rows, order, rank = _ranked(vectors)
        return _selected(vectors, rows, self._keep(vectors, rows, order, rank) | (rank == 0))

    def _keep(self, vectors: SparseVectors, rows: Places, order: Places, rank: Places) -> npt.NDArray[np.bool_]:
        weights = vectors.weights
        keep: npt.NDArray[np.bool_]
        if self.kind == "top_k":
            keep = rank < self.value
        elif self.kind == "abs_value":
            keep = weights >= self.value
        elif self.kind == "max_ratio":
            largest = np.zeros(len(vectors), np.float32)
            np.maximum.at(largest, rows, weights)
            keep = weights >= np.float32(self.value) * largest[rows]
        else:
            keep = self._within_mass(vectors, rows, order)
        return keep

    def _within_mass(self, vectors: SparseVectors, rows: Places, order: Places) -> npt.NDArray[np.bool_]:
        running = np.cumsum(vectors.weights[order], dtype=np.float64)
        before = np.concatenate([[0.0], running])[vectors.indptr]
        within = np.empty(len(order), np.bool_)
        mass = running - before[:-1][rows]
        # A hair of slack: the sum of the whole row must not fail for rounding.
        within[order] = mass <= self.value * np.diff(before)[rows] * (1 + 1e-9)
        return within


def keep_strongest(vectors: SparseVectors, keep: npt.NDArray[np.bool_]) -> SparseVectors:
    """The features that are kept, and the strongest of each row in any case.

    Args:
        vectors: Rows.
        keep: Shape ``(nonzeros,)``.
    """
    if not len(vectors.weights):
        return vectors
    rows, _, rank = _ranked(vectors)
    return _selected(vectors, rows, keep | (rank == 0))


def _ranked(vectors: SparseVectors) -> tuple[Places, Places, Places]:
    """The row of each feature; all features, strongest first within each row; and the place of each there."""
    rows = np.repeat(np.arange(len(vectors)), np.diff(vectors.indptr))
    order = np.lexsort((vectors.token_ids, -vectors.weights, rows))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - vectors.indptr[:-1][rows]
    return rows, order, rank


def _selected(vectors: SparseVectors, rows: Places, keep: npt.NDArray[np.bool_]) -> SparseVectors:
    indptr = np.zeros_like(vectors.indptr)
    np.cumsum(np.bincount(rows[keep], minlength=len(vectors)), out=indptr[1:])
    return SparseVectors(indptr, vectors.token_ids[keep], vectors.weights[keep])
