"""Features: which come from the text and which from the model, which say little, and which are never met."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.inspection import Asked, Cell, Figure, Section, Table
from opensearch_splade.evaluation.inspection_bounds import Lists
from opensearch_splade.evaluation.inspection_ranking import best, quality, sparse_scores
from opensearch_splade.evaluation.inspection_vectors import StoredVectors, kept, rows_of
from opensearch_splade.types import SparseVectors

SHOWN = 10
STOP_SHARE = 0.25
"""Of the vectors: a feature in more of them may be stop-like."""
STOP_VARIATION = 0.6
"""Standard deviation by mean: below it a feature's weights are much alike."""


def in_text(vectors: SparseVectors, words: SparseVectors) -> npt.NDArray[np.bool_]:
    """Shape ``(features,)``: whether each feature stands in its vector's text."""
    width = 1 + max(int(vectors.token_ids.max(initial=0)), int(words.token_ids.max(initial=0)))
    wanted, found = (rows_of(one) * width + one.token_ids for one in (vectors, words))  # both ascend
    if not len(found):
        return np.zeros(len(wanted), np.bool_)
    places = np.searchsorted(found, wanted)
    places[places == len(found)] = 0
    return np.asarray(found[places] == wanted)


def inspect_expansion(stored: StoredVectors, asked: Asked | None, names: Sequence[str]) -> Section:
    """What the model adds to texts."""
    if stored.words is None:
        return Section("expansion", missing=("texts could not be split into features: give --bundle",))
    own = stored.sample()
    assert own.words is not None  # noqa: S101 - as stored has them
    from_text = in_text(stored.sparse, stored.words)
    original = from_text[: len(own.sparse.weights)]
    unweighted = ~in_text(own.words, own.sparse)
    weights = own.sparse.weights.astype(np.float64)
    total = max(float(weights.sum()), 1e-30)
    share = float((~original).mean()) if len(original) else 0.0
    figures = [
        Figure(
            "expansion features",
            share,
            ".1%",
            "of the features do not stand in the text: the model's own postings",
        ),
        Figure(
            "weight of expansion",
            float(weights[~original].sum()) / total,
            ".1%",
            "of the weight; if far less than of features, --prune takes it first",
        ),
        Figure(
            "words without weight",
            float(unweighted.mean()) if len(unweighted) else 0.0,
            ".1%",
            "got no feature: stop words, pruned, or not read (--passages)",
        ),
    ]
    added = own.sparse.token_ids[~original]
    sums = np.bincount(added, weights[~original], minlength=len(names))
    counts = np.bincount(added, minlength=len(names))
    rows: list[list[Cell]] = [
        [names[one], float(counts[one] / len(own.sparse)), float(sums[one] / counts[one]), float(sums[one] / total)]
        for one in np.argsort(-sums)[:SHOWN].tolist()
        if counts[one]
    ]
    columns = {"feature": "", "added to": ".1%", "mean weight": ".3f", "of all weight": ".2%"}
    table = Table("strongest expansions", columns, rows)
    return Section("expansion", figures, (), [table, *_without("expansion", stored, asked, from_text)])


def _without(name: str, stored: StoredVectors, asked: Asked | None, keep: npt.NDArray[np.bool_]) -> list[Table]:
    """What rankings lose where only some features stay; nothing without questions."""
    rows: list[list[Cell]] = []
    bare = kept(stored.sparse, keep)
    for side, questions in (asked.sparse if asked else {}).items():
        runs = [best(sparse_scores(one, questions), stored.documents, stored.ids) for one in (stored.sparse, bare)]
        whole, without = (quality(run, asked.queries, asked.qrels).ndcg for run in runs) if asked else (0.0, 0.0)
        rows.append([side, whole, without, without - whole])
    columns = {"question": "", "nDCG@10": ".4f", "without": ".4f", "change": "+.4f"}
    meaning = "where nothing is lost, these features do not earn their postings"
    return [Table(f"without {name}", columns, rows, meaning)] if rows else []


def inspect_stop_like(stored: StoredVectors, lists: Lists, asked: Asked | None, names: Sequence[str]) -> Section:
    """Features of many documents whose weights differ little: many postings, little told."""
    own = stored.sample().sparse
    share = lists.lengths / max(1, len(own))
    variation = lists.deviations / np.maximum(lists.means, 1e-30)
    is_stop = (share > STOP_SHARE) & (variation < STOP_VARIATION)
    postings = float(lists.lengths[is_stop].sum() / max(1, lists.lengths.sum()))
    figures = [
        Figure(
            "stop-like features",
            int(is_stop.sum()),
            ",d",
            f"in over {STOP_SHARE:.0%} of vectors, deviation below {STOP_VARIATION:g} of the mean",
        ),
        Figure(
            "postings of stop-like",
            postings,
            ".1%",
            "of all; prune-table --budget budget:N:0.25 shortens their lists",
        ),
    ]
    rows: list[list[Cell]] = [
        [names[one], float(share[one]), float(lists.means[one]), float(variation[one])]
        for one in np.argsort(-share, kind="stable").tolist()
        if is_stop[one]
    ]
    columns = {"feature": "", "of vectors": ".1%", "mean weight": ".3f", "deviation/mean": ".2f"}
    tables = [Table("most common stop-like features", columns, rows[:SHOWN])] if rows else []
    if rows:
        tables += _without("stop-like features", stored, asked, ~is_stop[stored.sparse.token_ids])
    return Section("stop-like", figures, (), tables)


def inspect_dead(
    lists: Lists, asked: Asked | None, names: Sequence[str], vocabulary: Names[str] | None, *, is_sample: bool = False
) -> Section:
    """Features that nothing has, and those that questions ask for in vain."""
    figures: list[Figure] = []
    missing = ["what the rest of the index has: this is of a sample"] if is_sample else []
    if vocabulary is None:
        missing.append("features of the vocabulary that no vector has: give --bundle")
    else:
        alive = {name for name, length in zip(names, lists.lengths.tolist(), strict=True) if length}
        dead = len(set(vocabulary) - alive)
        figures += [
            Figure("dead features", dead, ",d", "of the vocabulary that no vector has"),
            Figure(
                "dead by vocabulary",
                dead / max(1, len(vocabulary)),
                ".1%",
                "much in a large index: a narrow model, or pruning took the rest",
            ),
        ]
    tables: list[Table] = []
    for side, questions in (asked.sparse if asked else {}).items():
        found, table = _asked_in_vain(side, questions, lists, names)
        figures.append(found)
        tables += [table] if table.rows else []
    if not asked:
        missing.append("features that questions ask for in vain: give --collection")
    return Section("dead", figures, (), tables, missing)


def _asked_in_vain(side: str, questions: SparseVectors, lists: Lists, names: Sequence[str]) -> tuple[Figure, Table]:
    in_vain = lists.lengths[questions.token_ids] == 0
    weights = questions.weights.astype(np.float64)
    share = float(weights[in_vain].sum() / max(weights.sum(), 1e-30))
    counts = np.bincount(questions.token_ids[in_vain], minlength=len(names))
    rows: list[list[Cell]] = [
        [names[one], int(counts[one])] for one in np.argsort(-counts, kind="stable")[:SHOWN].tolist() if counts[one]
    ]
    meaning = "of the weight of questions finds nothing: words that documents lack"
    return (
        Figure(f"asked in vain {side}", share, ".1%", meaning),
        Table(f"asked in vain {side}", {"feature": "", "questions": ",d"}, rows),
    )
