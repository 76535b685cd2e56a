"""Sparse rows: what a graph's sparse output says, as token ids and weights of each document. No loop over tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from opensearch_splade.types import SparseVectors

SparseRow = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Token ids, ascending, and their positive weights."""

_LAST = np.iinfo(np.int64).max
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
    # Id and weight as one number, so that one sort by id carries the weights along.
    ids, weights = token_ids[:, : count.max(initial=0)], weights[:, : count.max(initial=0)]
    pairs = ids.astype(np.int64) << 32 | weights.view(np.uint32)
    pairs[np.arange(pairs.shape[1]) >= count[:, None]] = _LAST
    pairs.sort(axis=1)
    ids, bits = (pairs >> 32).astype(np.int32), pairs.astype(np.uint32)
    weights = bits.view(np.float32)
    return [(ids[row, :end], weights[row, :end]) for row, end in enumerate(count.tolist())]


def stack(rows: Iterable[SparseRow]) -> SparseVectors:
    """Rows as one batch in compressed-sparse-row form."""
    rows = list(rows)
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(ids) for ids, _ in rows], out=indptr[1:])
    if not rows:
        return SparseVectors(indptr, *EMPTY)
    return SparseVectors(indptr, np.concatenate([ids for ids, _ in rows]), np.concatenate([w for _, w in rows]))


def maximum(rows: Sequence[SparseRow]) -> SparseRow:
    """The elementwise maximum of some rows: the vector of a text whose parts they are, as max-pooling has it."""
    if len(rows) == 1:
        return rows[0]
    vectors = stack(rows)
    if not len(vectors.weights):
        return EMPTY
    order = np.argsort(vectors.token_ids, kind="stable")
    token_ids = vectors.token_ids[order]
    starts = np.flatnonzero(np.diff(token_ids, prepend=-1))
    return token_ids[starts], np.maximum.reduceat(vectors.weights[order], starts)
