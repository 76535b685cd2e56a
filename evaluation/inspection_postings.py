"""Posting lists: how long they are, and how far their weights are from what block-max pruning likes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from opensearch_splade.evaluation.inspection import Asked, Cell, Figure, Histogram, Section, Table
from opensearch_splade.evaluation.inspection_bounds import (
    BLOCK,
    Lists,
    Work,
    bm25_impacts,
    idf_weighted,
    posting_lists,
    work,
)
from opensearch_splade.evaluation.inspection_vectors import StoredVectors, first_rows
from opensearch_splade.evaluation.inspection_weights import gini, quantiles
from opensearch_splade.types import SparseVectors

LONGEST = 10
"""Lists that are shown."""
WORKED = 100
"""Questions whose work is reckoned."""


def inspect_postings(vectors: SparseVectors, lists: Lists, names: Sequence[str]) -> Section:
    """How long posting lists are."""
    lengths = lists.lengths[lists.lengths > 0]
    if not len(lengths):
        return Section("postings", missing=("no vector has a feature",))
    count, ordered = len(vectors), np.argsort(-lists.lengths, kind="stable")
    hundredth = max(1, len(lengths) // 100)
    top = float(np.sort(lengths)[-hundredth:].sum() / lengths.sum())
    once = float((lengths == 1).mean())
    figures = (
        Figure("features in use", len(lengths), ",d", "posting lists; see dead features for those that are none"),
        Figure("median length", float(np.median(lengths)), ",.0f", "postings of a list"),
        Figure("longest by vectors", float(lengths.max() / count), ".1%", "of all vectors are in the longest list"),
        Figure(
            "postings in the longest hundredth",
            top,
            ".1%",
            "of all postings; prune-table --budget budget:N:SHARE cuts them",
        ),
        Figure("lists of one", once, ".1%", "features of a single vector: rare words, or noise of the model"),
        Figure("gini of lengths", gini(lengths), ".3f", "0: all lists alike, 1: one list has all postings"),
    )
    rows: list[list[Cell]] = [
        [
            names[one],
            float(lists.lengths[one] / count),
            float(lists.means[one]),
            float(lists.largest[one]),
            float(lists.tightness[one]),
        ]
        for one in ordered[:LONGEST].tolist()
        if lists.lengths[one]
    ]
    columns = {"feature": "", "of vectors": ".1%", "mean weight": ".3f", "largest": ".3f", "mean/largest": ".2f"}
    quarter: list[list[Cell]] = [["postings of a list", *quantiles(lengths)]]
    return Section(
        "postings",
        figures,
        (Histogram.of("postings of a list", lengths, form=",.0f", logarithmic=True),),
        (
            Table(
                "quantiles of lengths",
                {"": "", **dict.fromkeys(("1 %", "5 %", "25 %", "median", "75 %", "95 %", "99 %", "max"), ",.0f")},
                quarter,
            ),
            Table("longest lists", columns, rows, "long, weak and alike: see stop-like features"),
        ),
    )


def inspect_bounds(stored: StoredVectors, lists: Lists, asked: Asked | None) -> Section:
    """Wacky weights (Mackenzie et al., 2021), beside BM25's own impacts where texts were read."""
    vectors, features = stored.sparse, len(stored.numbers)
    rows: list[list[Cell]] = []
    sides = dict(asked.sparse) if asked else {}
    for side, questions in sides.items() or [("", None)]:
        rows.append(_row(f"sparse {side}".strip(), vectors, lists, questions))
    if stored.words:
        impacts = bm25_impacts(stored.words)
        own = posting_lists(impacts, features)
        questions = idf_weighted(asked.words, own.lengths, len(impacts)) if asked and asked.words else None
        rows.append(_row("BM25 of words", impacts, own, questions))
    columns = {
        "weights": "",
        "list tightness": ".3f",
        "block tightness": ".3f",
        "gini": ".3f",
        "MaxScore": ".1%",
        "WAND": ".1%",
        "block-max": ".1%",
    }
    first = rows[0]
    figures = [
        Figure(
            "list tightness",
            _number(first[1]),
            ".3f",
            "mean weight by bound; near 0, bounds keep losers in play",
        ),
        Figure(
            "block tightness",
            _number(first[2]),
            ".3f",
            f"by bounds of {BLOCK} postings; well above the last, block-max pays",
        ),
        Figure(
            "gini of lists",
            _number(first[3]),
            ".3f",
            "skew within a list; high: few large weights make bounds loose",
        ),
    ]
    if first[6] is not None:
        figures.append(
            Figure(
                "documents to score",
                _number(first[6]),
                ".1%",
                "by block-max at best; near 100 %: --query-prune or --sparse-field",
            )
        )
    meaning = (
        "tightness and gini of a posting on average; then the least share of postings (MaxScore) or documents (WAND, "
        "block-max) to look at for the ten best"
    )
    missing = [] if stored.words else ["BM25's impacts: give the --bundle that splits texts"]
    missing += [] if asked else ["what MaxScore, WAND and block-max must look at: give --collection"]
    return Section("bounds", figures, (), (Table("bounds", columns, rows, meaning),), missing)


def _row(name: str, vectors: SparseVectors, lists: Lists, questions: SparseVectors | None) -> list[Cell]:
    weights = vectors.weights.astype(np.float64)
    total = weights.sum()
    by_list = float(total / max(lists.largest[vectors.token_ids].sum(), 1e-30))
    by_block = float(total / max(lists.block_bounds.sum(dtype=np.float64), 1e-30))
    skew = float((lists.ginis * lists.lengths).sum() / max(1, lists.lengths.sum()))
    done: Work | None = None
    if questions is not None:
        done = work(vectors, lists, first_rows(questions, min(WORKED, len(questions))))
    shares: list[Cell] = [done.maxscore, done.wand, done.block_max] if done else [None, None, None]
    return [name, by_list, by_block, skew, *shares]


def _number(cell: Cell) -> float | None:
    return cell if isinstance(cell, float) else None
