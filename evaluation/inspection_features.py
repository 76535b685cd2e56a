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
    return np.isin(rows_of(vectors) * width + vectors.token_ids, rows_of(words) * width + words.token_ids)


def inspect_expansion(stored: StoredVectors, asked: Asked | None, names: Sequence[str]) -> Section:
    """What the model adds to texts."""
    if stored.words is None:
        return Section("expansion", missing=("texts could not be split into features: give --bundle",))
    own = stored.sample()
    assert own.words is not None  # noqa: S101 - as stored has them
    original = in_text(own.sparse, own.words)
    unweighted = ~in_text(own.words, own.sparse)
    weights = own.sparse.weights.astype(np.float64)
    total = max(float(weights.sum()), 1e-30)
    share = float((~original).mean()) if len(original) else 0.0
    figures = [
        Figure(
            "expansion features",
            share,
            ".1%",
            "of the features do not stand in the text: postings that only the model gives",
        ),
        Figure(
            "weight of expansion",
            float(weights[~original].sum()) / total,
            ".1%",
            "of the weight; much less than the share of features: --prune takes expansion first",
        ),
        Figure(
            "words without weight",
            float(unweighted.mean()) if len(unweighted) else 0.0,
            ".1%",
            "of the words of a text got no feature: stop words, pruned, or beyond what the model reads (--passages)",
        ),
    ]
    if asked and asked.sparse:
        figures += _without_expansion(stored, asked)
    added = own.sparse.token_ids[~original]
    sums = np.bincount(added, weights[~original], minlength=len(names))
    counts = np.bincount(added, minlength=len(names))
    rows: list[list[Cell]] = [
        [names[one], float(counts[one] / len(own.sparse)), float(sums[one] / counts[one]), float(sums[one] / total)]
        for one in np.argsort(-sums)[:SHOWN].tolist()
        if counts[one]
    ]
    columns = {"feature": "", "added to": ".1%", "mean weight": ".3f", "of all weight": ".2%"}
    return Section("expansion", figures, (), (Table("strongest expansions", columns, rows),))


def _without_expansion(stored: StoredVectors, asked: Asked) -> list[Figure]:
    assert stored.words is not None  # noqa: S101 - looked at by the caller
    side, questions = next(iter(asked.sparse.items()))
    bare = kept(stored.sparse, in_text(stored.sparse, stored.words))
    pair = [
        quality(best(sparse_scores(vectors, questions), stored.documents, stored.ids), asked.queries, asked.qrels).ndcg
        for vectors in (stored.sparse, bare)
    ]
    return [
        Figure("nDCG@10", pair[0], ".4f", f"of the whole vectors, asked {side}"),
        Figure(
            "nDCG@10 without expansion", pair[1], ".4f", "if it is as good, expansion does not earn its postings here"
        ),
    ]


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
            f"in more than {STOP_SHARE:.0%} of the vectors, deviation below {STOP_VARIATION:g} of the mean weight",
        ),
        Figure(
            "postings of stop-like",
            postings,
            ".1%",
            "of all; osplade prune-table --budget budget:N:0.25 takes most of them",
        ),
    ]
    if asked and asked.sparse and is_stop.any():
        side, questions = next(iter(asked.sparse.items()))
        bare = kept(stored.sparse, ~is_stop[stored.sparse.token_ids])
        for name, vectors in (("nDCG@10", stored.sparse), ("nDCG@10 without stop-like", bare)):
            run = best(sparse_scores(vectors, questions), stored.documents, stored.ids)
            found = quality(run, asked.queries, asked.qrels).ndcg
            figures.append(Figure(name, found, ".4f", f"asked {side}; if both are alike, prune these features"))
    rows: list[list[Cell]] = [
        [names[one], float(share[one]), float(lists.means[one]), float(variation[one])]
        for one in np.argsort(-share, kind="stable").tolist()
        if is_stop[one]
    ]
    columns = {"feature": "", "of vectors": ".1%", "mean weight": ".3f", "deviation/mean": ".2f"}
    tables = (Table("most common stop-like features", columns, rows[:SHOWN]),) if rows else ()
    return Section("stop-like", figures, (), tables)


def inspect_dead(lists: Lists, asked: Asked | None, names: Sequence[str], vocabulary: Names[str] | None) -> Section:
    """Features that nothing has, and those that questions ask for in vain."""
    figures: list[Figure] = []
    missing: list[str] = []
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
                "much in a large index: the model uses a part of its vocabulary, or pruning took the rest",
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
    meaning = "of the weight of questions is on features that no vector has: documents or words are missing"
    return (
        Figure(f"asked in vain {side}", share, ".1%", meaning),
        Table(f"asked in vain {side}", {"feature": "", "questions": ",d"}, rows),
    )
