"""Sparse rows: what a graph's sparse output says, as token ids and weights of each document. No loop over tokens."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from opensearch_splade.types import SparseVectors

SparseRow = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Token ids, ascending, and their positive weights."""

EMPTY: SparseRow = (np.empty(0, np.int32), np.empty(0, np.float32))


def to_rows(
    token_ids: npt.NDArray[np.int32], weights: npt.NDArray[np.float32], count: npt.NDArray[np.int32]
) -> list[SparseRow]:
    """The first ``count`` entries of each row, by ascending token id.

    Args:
        token_ids: Shape ``(batch, k)``.
        weights: Shape ``(batch, k)``, strongest first.
        count: Shape ``(batch,)``, at most ``k``.
    """
    kept = np.arange(token_ids.shape[1]) < count[:, None]
    order = np.argsort(np.where(kept, token_ids, np.iinfo(np.int32).max), axis=1)
    ids, strengths = np.take_along_axis(token_ids, order, 1), np.take_along_axis(weights, order, 1)
    # Copies, so that a row does not keep the whole batch in memory.
    return [(ids[row, :end].copy(), strengths[row, :end].copy()) for row, end in enumerate(count.tolist())]


def stack(rows: Iterable[SparseRow]) -> SparseVectors:
    """Rows as one batch in compressed-sparse-row form."""
    rows = list(rows)
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(ids) for ids, _ in rows], out=indptr[1:])
    if not rows:
        return SparseVectors(indptr, *EMPTY)
    return SparseVectors(indptr, np.concatenate([ids for ids, _ in rows]), np.concatenate([w for _, w in rows]))
