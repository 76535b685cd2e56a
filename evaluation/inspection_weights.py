"""Weights and sizes: how strong features are, how many a vector has, and what a question costs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.inspection import Cell, Figure, Histogram, Section, Table
from opensearch_splade.evaluation.inspection_vectors import rows_of
from opensearch_splade.types import SparseVectors

QUANTILES = {
    "1 %": 0.01,
    "5 %": 0.05,
    "25 %": 0.25,
    "median": 0.5,
    "75 %": 0.75,
    "95 %": 0.95,
    "99 %": 0.99,
    "max": 1.0,
}
RATIO = 0.1
"""Of a vector's strongest weight: below it a weight is weak. What ``max_ratio:0.1`` drops."""


def quantiles(values: npt.NDArray[np.float64] | npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> list[float]:
    """Those of ``QUANTILES``; zeros of nothing."""
    if not len(values):
        return [0.0] * len(QUANTILES)
    return [float(value) for value in np.quantile(values, list(QUANTILES.values()))]


def weak(vectors: SparseVectors, ratio: float = RATIO) -> npt.NDArray[np.bool_]:
    """Which features are below so much of their vector's strongest."""
    rows, largest = rows_of(vectors), np.zeros(len(vectors), np.float32)
    np.maximum.at(largest, rows, vectors.weights)
    return np.asarray(vectors.weights < np.float32(ratio) * largest[rows])


def inspect_weights(documents: SparseVectors, questions: Mapping[str, SparseVectors]) -> Section:
    """How the weights are distributed."""
    weights, is_weak = documents.weights, weak(documents)
    total = max(float(weights.sum(dtype=np.float64)), 1e-30)
    share = float(is_weak.mean()) if len(weights) else 0.0
    mass = float(weights[is_weak].sum(dtype=np.float64)) / total
    advice = "ingest --prune max_ratio:0.1 drops them" if share > 0.05 else "pruning by max_ratio saves little"
    figures = (
        Figure("weak features", share, ".1%", f"below a tenth of the strongest; {advice}"),
        Figure(
            "weight of weak features",
            mass,
            ".1%",
            "the price in weight; osplade prune-curve tells it in nDCG@10",
        ),
        Figure(
            "gini of weights",
            gini(weights),
            ".3f",
            "0: all alike, 1: one has all; the more, the better pruning works",
        ),
    )
    rows: list[list[Cell]] = [["documents", *quantiles(weights)]]
    rows += [[f"questions, {side}", *quantiles(vectors.weights)] for side, vectors in questions.items()]
    table = Table("quantiles of weights", {"weights of": "", **dict.fromkeys(QUANTILES, ".3f")}, rows)
    return Section("weights", figures, (Histogram.of("weights of documents", weights, form=".3f"),), (table,))


def inspect_sizes(documents: SparseVectors, questions: Mapping[str, SparseVectors]) -> Section:
    """How many features vectors have."""
    sizes = np.diff(documents.indptr)
    mean = float(sizes.mean()) if len(sizes) else 0.0
    figures = [
        Figure("features a vector", mean, ".1f", "size and ingest grow with it; --prune top_k:N bounds it"),
        Figure(
            "vectors without features",
            int((sizes == 0).sum()),
            ",d",
            "no sparse query finds them: empty texts, or a gate",
        ),
    ]
    for side, vectors in questions.items():
        count = len(vectors.weights) / max(1, len(vectors))
        figures.append(
            Figure(
                f"features a question {side}",
                count,
                ".1f",
                "each a posting list to read; --query-prune top_k:16 asks with fewer",
            )
        )
    rows: list[list[Cell]] = [["vector", *quantiles(sizes)]]
    rows += [[f"question, {side}", *quantiles(np.diff(vectors.indptr))] for side, vectors in questions.items()]
    table = Table("quantiles of sizes", {"features of a": "", **dict.fromkeys(QUANTILES, ".0f")}, rows)
    return Section("sizes", figures, (Histogram.of("features a vector", sizes, form=".0f"),), (table,))


def gini(values: npt.NDArray[np.float32] | npt.NDArray[np.int64]) -> float:
    """Gini coefficient of values that are not negative: 0 if all are alike, near 1 if one has all."""
    ordered = np.sort(values.astype(np.float64))
    total, count = ordered.sum(), len(ordered)
    if not total:
        return 0.0
    return float(2 * (np.arange(1, count + 1) * ordered).sum() / (count * total) - (count + 1) / count)


def shares(vectors: SparseVectors, features: int) -> npt.NDArray[np.float64]:
    """Shape ``(features,)``: the share of rows that each feature stands in."""
    return np.bincount(vectors.token_ids, minlength=features) / max(1, len(vectors))


def inspect_flops(documents: SparseVectors, questions: Mapping[str, SparseVectors], features: int) -> Section:
    """FLOPS (Paria et al., 2020): multiplications that the dot product of a pair takes."""
    of_documents = shares(documents, features)
    used = max(1, int((of_documents > 0).sum()))
    own = float((of_documents**2).sum())
    even = float(of_documents.sum() ** 2 / used)
    figures = [
        Figure("FLOPS documents", own, ".2f", "sum of squared shares: what FLOPS regularisation presses down"),
        Figure(
            "unevenness",
            own / max(even, 1e-30),
            ".1f",
            "times what equally common ones cost; limit: prune-table budget:N:SHARE",
        ),
    ]
    rows: list[list[Cell]] = []
    for side, vectors in questions.items():
        of_questions = shares(vectors, features)
        per_pair = float((of_documents * of_questions).sum())
        rows.append([side, per_pair, per_pair * len(documents), len(vectors.weights) / max(1, len(vectors))])
    columns = {
        "question": "",
        "FLOPS (multiplications a pair)": ".2f",
        "postings a question": ",.0f",
        "features": ".1f",
    }
    meaning = "what scoring a question against a document takes on average; compare query sides and prunings by it"
    tables = (Table("questions against documents", columns, rows, meaning),) if rows else ()
    missing = () if rows else ("FLOPS of questions: give --collection",)
    return Section("flops", figures, (), tables, missing)
