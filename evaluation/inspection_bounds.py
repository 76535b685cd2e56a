"""Upper bounds: how well the largest weight of a posting list, or of 128 postings, speaks for the weights below it.

Dynamic pruning (MaxScore, WAND, block-max WAND, which Lucene uses) leaves a document out if the bounds of its features
cannot reach the ten best. Learned weights make that hard (Mackenzie et al., "Wacky weights", 2021): many features a
question, bounds that few postings come near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.inspection_ranking import DEPTH, sparse_scores
from opensearch_splade.types import SparseVectors

Floats = npt.NDArray[np.float64]
BLOCK = 128
"""Postings that Lucene keeps a bound for."""
K1, B = 1.2, 0.75
"""Of BM25, as OpenSearch has them."""


@dataclass(frozen=True, eq=False)
class Lists:
    """Posting lists, by feature.

    Attributes:
        lengths: Postings.
        means: Of the weights; 0 of an empty list.
        largest: The bound of the list.
        deviations: Standard deviation of the weights.
        ginis: How unequal they are.
        block_bounds: Shape ``(postings,)``, in the order of the vectors' features: the largest weight of its block.
    """

    lengths: npt.NDArray[np.int64]
    means: Floats
    largest: Floats
    deviations: Floats
    ginis: Floats
    block_bounds: npt.NDArray[np.float32]

    @property
    def tightness(self) -> Floats:
        """Mean by bound of each list: 1 if all weights are alike; 0 of an empty list."""
        return np.asarray(self.means / np.maximum(self.largest, 1e-30))


def posting_lists(vectors: SparseVectors, features: int) -> Lists:
    """The lists of some vectors, whose rows are in the order of the index."""
    ids, weights = vectors.token_ids, vectors.weights.astype(np.float64)
    lengths = np.bincount(ids, minlength=features)
    count = np.maximum(lengths, 1)
    means = np.bincount(ids, weights, minlength=features) / count
    squares = np.bincount(ids, (weights - means[ids]) ** 2, minlength=features) / count
    largest = np.zeros(features)
    np.maximum.at(largest, ids, weights)
    starts = np.cumsum(lengths) - lengths
    rising = np.lexsort((weights, ids))
    ranks = np.arange(len(ids)) - starts[ids[rising]] + 1
    sums = np.bincount(ids[rising], ranks * weights[rising], minlength=features)
    ginis = np.where(lengths, 2 * sums / np.maximum(count**2 * means, 1e-30) - (count + 1) / count, 0.0)
    return Lists(lengths, means, largest, np.sqrt(squares), ginis, _block_bounds(vectors, starts))


def _block_bounds(vectors: SparseVectors, starts: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    order = np.argsort(vectors.token_ids, kind="stable")
    bounds = np.empty(len(order), np.float32)
    if len(order):
        places = np.arange(len(order)) - starts[vectors.token_ids[order]]
        begins = np.flatnonzero(places % BLOCK == 0)
        largest = np.maximum.reduceat(vectors.weights[order], begins)
        bounds[order] = np.repeat(largest, np.diff(begins, append=len(order)))
    return bounds


def bm25_impacts(words: SparseVectors) -> SparseVectors:
    """Counts of words as BM25 weighs them in a document, without the idf, which is the same for a whole list."""
    rows = np.repeat(np.arange(len(words)), np.diff(words.indptr))
    lengths = np.bincount(rows, words.weights, minlength=len(words))
    norm = K1 * (1 - B + B * lengths / max(float(lengths.mean()), 1e-30))
    counts = words.weights.astype(np.float64)
    return SparseVectors(words.indptr, words.token_ids, (counts / (counts + norm[rows])).astype(np.float32))


def idf_weighted(words: SparseVectors, lengths: npt.NDArray[np.int64], documents: int) -> SparseVectors:
    """A question's words with their idf; words that no document has stay, and find nothing."""
    idf = np.log1p((documents - lengths + 0.5) / (lengths + 0.5))
    return SparseVectors(words.indptr, words.token_ids, (words.weights * idf[words.token_ids]).astype(np.float32))


@dataclass(frozen=True, slots=True)
class Work:
    """What finding the ten best takes at the least, as shares, on average over questions.

    Attributes:
        maxscore: Postings of the lists that MaxScore must walk through, of all postings of the question's features.
        wand: Documents whose list bounds reach the tenth best score, of all that have a feature of the question.
        block_max: The same by the bounds of blocks.
    """

    maxscore: float
    wand: float
    block_max: float


def work(vectors: SparseVectors, lists: Lists, questions: SparseVectors) -> Work:
    """The least work of dynamic pruning: the tenth best score is known from the beginning."""
    if not len(questions) or not len(vectors):
        return Work(0.0, 0.0, 0.0)
    scores: Floats = np.hstack(list(sparse_scores(vectors, questions))).astype(np.float64)
    depth = min(DEPTH, scores.shape[1])
    tenth = np.partition(scores, scores.shape[1] - depth, axis=1)[:, scores.shape[1] - depth]
    matched = np.maximum((scores > 0).sum(axis=1), 1)
    list_bounds = lists.largest[vectors.token_ids].astype(np.float32)
    shares: list[float] = []
    for bounds in (list_bounds, lists.block_bounds):
        bounded = SparseVectors(vectors.indptr, vectors.token_ids, bounds)
        possible: Floats = np.hstack(list(sparse_scores(bounded, questions))).astype(np.float64)
        # A hair of slack: the bound of a document that is at its bound must not fail for rounding.
        reach = (possible >= tenth[:, None] * (1 - 1e-6)) & (scores > 0)
        shares.append(float((reach.sum(axis=1) / matched).mean()))
    walked = [_maxscore(lists, *question, float(least)) for question, least in zip(questions, tenth, strict=True)]
    return Work(float(np.mean(walked)), *shares)


def _maxscore(lists: Lists, ids: npt.NDArray[np.int32], weights: npt.NDArray[np.float32], least: float) -> float:
    bounds, lengths = weights * lists.largest[ids], lists.lengths[ids]
    order = np.argsort(bounds)
    essential = np.cumsum(bounds[order]) >= least * (1 - 1e-6)
    return float(lengths[order][essential].sum() / max(1, lengths.sum()))
