"""Redundancy: vectors that are nearly the same as another, and passages that the others of their document cover."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.inspection import Cell, Figure, Histogram, Section, Table
from opensearch_splade.evaluation.inspection_ranking import Scores, dense_scores, sparse_scores
from opensearch_splade.evaluation.inspection_vectors import StoredVectors, rows_of
from opensearch_splade.types import SparseVectors

NEAR = 0.95
"""Cosine from which on two vectors are nearly the same."""
COVERED = 0.95
"""Share of a passage's weight that others of its document must have for it to be covered."""
COMPARED = 500
"""Vectors, chosen by seed, that are compared with all."""
SHOWN = 5
_AT_ONCE = 100


def coverage(vectors: SparseVectors, documents: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Shape ``(rows,)``: the share of each row's weight that another row of its document has as strongly."""
    rows, weights = rows_of(vectors), vectors.weights.astype(np.float64)
    owner = documents[rows]
    order = np.lexsort((-weights, vectors.token_ids, owner))
    same = (np.diff(vectors.token_ids[order]) == 0) & (np.diff(owner[order]) == 0)  # as the place before
    covered = np.zeros(len(weights))
    is_first = np.concatenate([[True], ~same])[: len(weights)]
    covered[order[~is_first]] = weights[order[~is_first]]  # a stronger one stands before it
    leading = np.flatnonzero(is_first[:-1] & ~is_first[1:])
    covered[order[leading]] = weights[order[leading + 1]]  # the strongest: as much as the second has
    sums = np.bincount(rows, weights, minlength=len(vectors))
    return np.asarray(np.bincount(rows, covered, minlength=len(vectors)) / np.maximum(sums, 1e-30))


def unit_rows(vectors: SparseVectors) -> SparseVectors:
    """Rows of length 1."""
    rows, squares = rows_of(vectors), vectors.weights.astype(np.float64) ** 2
    lengths = np.sqrt(np.bincount(rows, squares, minlength=len(vectors)))
    return replace(vectors, weights=(vectors.weights / np.maximum(lengths, 1e-30)[rows]).astype(np.float32))


def inspect_redundancy(stored: StoredVectors, seed: int) -> Section:
    """How much of the index says what something else says already."""
    figures, histograms, tables = list[Figure](), list[Histogram](), list[Table]()
    rows = np.flatnonzero(np.diff(stored.sparse.indptr) > 0)
    if len(rows) > 1:
        unit = unit_rows(stored.sparse)
        found = _nearest(rows, seed, stored.documents, lambda some: sparse_scores(unit, taken(unit, some)))
        _near("sparse", found, stored.ids, figures, histograms, tables)
    if stored.dense is not None and len(stored.dense) > 1:
        dense = stored.dense
        found = _nearest(
            np.arange(len(dense)), seed, stored.dense_documents, lambda some: dense_scores(dense, dense[some])
        )
        _near("dense", found, stored.ids, figures, histograms, tables)
    several = np.bincount(stored.documents)[stored.documents] > 1
    if not several.any():
        return Section("redundancy", figures, histograms, tables, ("passages: each document has one vector",))
    share = coverage(stored.sparse, stored.documents)[several]
    figures.append(
        Figure(
            "covered passages",
            float((share >= COVERED).mean()),
            ".1%",
            f"{COVERED:.0%} of their weight is in others too: --gate, longer passages",
        )
    )
    histograms.append(Histogram.of("weight of a passage that others cover", share, form=".0%"))
    return Section("redundancy", figures, histograms, tables)


def taken(vectors: SparseVectors, rows: npt.NDArray[np.int64]) -> SparseVectors:
    """Some rows, in the order given."""
    lengths = np.diff(vectors.indptr)[rows]
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    places = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - vectors.indptr[rows], lengths)
    return SparseVectors(indptr, vectors.token_ids[places], vectors.weights[places])


Nearest = list[tuple[float, int, int]]
"""Cosine, document and the other document, of each vector that was compared."""


def _nearest(
    rows: npt.NDArray[np.int64],
    seed: int,
    documents: npt.NDArray[np.int64],
    ask: Callable[[npt.NDArray[np.int64]], Iterable[Scores]],
) -> Nearest:
    """The nearest vector of another document, of some rows."""
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:COMPARED])
    found: Nearest = []
    for start in range(0, len(chosen), _AT_ONCE):
        some = chosen[start : start + _AT_ONCE]
        own = documents[some]
        cosine, other, begin = np.full(len(some), -1.0), np.zeros(len(some), np.int64), 0
        for scores in ask(some):
            owners = documents[begin : begin + scores.shape[1]]
            masked = np.where(owners[None, :] == own[:, None], -1.0, scores)
            place = masked.argmax(axis=1)
            value = masked[np.arange(len(some)), place]
            is_nearer = value > cosine
            cosine, other = np.where(is_nearer, value, cosine), np.where(is_nearer, owners[place], other)
            begin += scores.shape[1]
        found += zip(cosine.tolist(), own.tolist(), other.tolist(), strict=True)
    return found


def _near(
    kind: str,
    found: Nearest,
    ids: Sequence[str],
    figures: list[Figure],
    histograms: list[Histogram],
    tables: list[Table],
) -> None:
    cosines = np.array([cosine for cosine, _, _ in found])
    meaning = f"of {len(found):,} within cosine {NEAR:g} of another document's: duplicates?"
    figures.append(Figure(f"near-duplicates {kind}", float((cosines >= NEAR).mean()), ".1%", meaning))
    histograms.append(Histogram.of(f"cosine of the nearest, {kind}", cosines, form=".2f"))
    once = {tuple(sorted((own, other))): cosine for cosine, own, other in found}
    nearest = sorted(once.items(), key=lambda pair: -pair[1])[:SHOWN]
    rows: list[list[Cell]] = [[ids[one], ids[other], cosine] for (one, other), cosine in nearest]
    tables.append(Table(f"nearest pairs, {kind}", {"document": "", "other": "", "cosine": ".4f"}, rows))
