"""Quantisation: what fewer bits a weight cost in scores and in nDCG@10."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.inspection import Asked, Cell, Section, Table
from opensearch_splade.evaluation.inspection_ranking import Run, best, dense_scores, overlap, quality, sparse_scores
from opensearch_splade.evaluation.inspection_vectors import StoredVectors
from opensearch_splade.types import SparseVectors

Weights = npt.NDArray[np.float32]
Ways = dict[str, tuple[float, Callable[[], Weights]]]
"""Name to bytes a weight and what becomes of the weights: made one after the other, since each takes as much room."""
_CELL = 1 << 15  # floats that Lucene's 9 significant bits cannot tell apart


def before_rounding(weights: Weights, seed: int) -> Weights:
    """Weights that may have been there before they were rounded to 9 bits: drawn within half a step of what is stored.

    The index does not hold the originals. Within a step they are as good as evenly spread.
    """
    drawn = np.random.default_rng(seed).integers(-_CELL // 2, _CELL // 2, len(weights))
    return (weights.view(np.uint32).astype(np.int64) + drawn).astype(np.uint32).view(np.float32)


def cut_off(weights: Weights) -> Weights:
    """What Lucene makes of a weight that is sent unrounded: the lower 15 bits are dropped."""
    return (weights.view(np.uint32) & np.uint32(0xFFFFFFFF << 15 & 0xFFFFFFFF)).view(np.float32)


def stepped(weights: Weights, steps: int) -> Weights:
    """The nearest of so many equal steps up to the largest weight, the lowest of which is 1, as impacts have it."""
    step = np.float32(max(float(np.abs(weights).max(initial=0)), 1e-30) / steps)
    return np.asarray(np.clip(np.rint(weights / step), 1, steps) * step, np.float32)


def signed_steps(vectors: Weights, steps: int) -> Weights:
    """The nearest of so many equal steps to either side of 0."""
    step = np.float32(max(float(np.abs(vectors).max(initial=0)), 1e-30) / steps)
    return np.asarray(np.rint(vectors / step) * step, np.float32)


def half(values: Weights) -> Weights:
    """As 16-bit floats."""
    return values.astype(np.float16).astype(np.float32)


def signs(vectors: Weights) -> Weights:
    """One bit a dimension."""
    return np.where(vectors > 0, np.float32(1), np.float32(-1))


def inspect_quantisation(stored: StoredVectors, asked: Asked | None, seed: int) -> Section:
    """Each way of keeping weights in fewer bits, against what they were."""
    tables = [_sparse(stored, asked, seed)]
    if stored.dense is not None:
        tables.append(_dense(stored, asked))
    missing = () if asked else ("errors of scores, the same ten and nDCG@10: give --collection",)
    return Section("quantisation", tables=tables, missing=missing)


_COLUMNS = {
    "kept as": "",
    "bytes": ".3g",
    "mean error": ".2%",
    "largest": ".2%",
    "score error": ".3%",
    "same ten": ".1%",
    "nDCG@10": ".4f",
    "change": "+.4f",
}


def _sparse(stored: StoredVectors, asked: Asked | None, seed: int) -> Table:
    kept = stored.sparse
    original = before_rounding(kept.weights, seed)
    ways: Ways = {
        "float32, drawn": (4, lambda: original),
        "16-bit float": (2, lambda: half(original)),
        "9 bits, rounded: here": (2, lambda: kept.weights),
        "9 bits, cut off": (2, lambda: cut_off(original)),
        "8 bits, equal steps": (1, lambda: stepped(original, 255)),
        "4 bits, equal steps": (0.5, lambda: stepped(original, 15)),
    }
    questions = next(iter(asked.sparse.values()), None) if asked else None

    def ask(weights: Weights) -> Run:
        assert questions is not None  # noqa: S101 - asked only then
        return best(
            sparse_scores(SparseVectors(kept.indptr, kept.token_ids, weights), questions), stored.documents, stored.ids
        )

    rows = _rows(ways, original, ask if questions is not None else None, asked)
    meaning = "errors by the mean weight, against those before rounding; 8 bits is what SEISMIC, PISA and BMP keep"
    return Table("sparse weights", _COLUMNS, rows, meaning)


def _dense(stored: StoredVectors, asked: Asked | None) -> Table:
    vectors = stored.dense
    assert vectors is not None  # noqa: S101 - looked at by the caller
    ways: Ways = {
        "float32: here": (4, lambda: vectors),
        "16-bit float": (2, lambda: half(vectors)),
        "8-bit integer": (1, lambda: signed_steps(vectors, 127)),
        "4-bit integer": (0.5, lambda: signed_steps(vectors, 7)),
        "1 bit, not of questions": (0.125, lambda: signs(vectors)),
    }
    questions = asked.dense if asked else None

    def ask(weights: Weights) -> Run:
        assert questions is not None  # noqa: S101 - asked only then
        return best(dense_scores(weights, questions), stored.dense_documents, stored.ids, floor=-np.inf)

    rows = _rows(ways, vectors, ask if questions is not None else None, asked)
    meaning = "where 8 bits cost nothing, byte vectors take a quarter of the memory; 1 bit needs rescoring"
    return Table("dense components", _COLUMNS, rows, meaning)


def _rows(
    ways: Ways,
    reference: Weights,
    ask: Callable[[Weights], Run] | None,
    asked: Asked | None,
) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    exact: Run | None = None
    first = 0.0
    length = max(float(np.abs(reference).mean(dtype=np.float64)) if reference.size else 0.0, 1e-30)
    for name, (size, make) in ways.items():
        weights = make()
        errors = np.abs(weights - reference) / length
        is_sign = weights.ndim == 2 and size < 0.5  # another scale: only its order counts
        row: list[Cell] = [name, size, *((None, None) if is_sign else (_mean(errors), float(errors.max(initial=0))))]
        if ask is None or asked is None:
            rows.append([*row, None, None, None, None])
            continue
        run = ask(weights)
        ndcg = quality(run, asked.queries, asked.qrels).ndcg
        if exact is None:
            exact, first = run, ndcg
        rows.append([*row, None if is_sign else _score_error(run, exact), overlap(run, exact), ndcg, ndcg - first])
    return rows


def _mean(errors: npt.NDArray[np.float32]) -> float:
    return float(errors.mean(dtype=np.float64)) if errors.size else 0.0


def _score_error(run: Run, exact: Run) -> float:
    """Mean relative difference of the scores of documents that both have."""
    pairs = [(one[id_], other[id_]) for one, other in zip(run, exact, strict=True) for id_ in one.keys() & other.keys()]
    return sum(abs(score - true) / abs(true) for score, true in pairs if true) / max(1, len(pairs))
