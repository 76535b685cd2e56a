"""Rankings for inspection: exact, a block of vectors at a time, so that variants of all vectors can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.measures import measure
from opensearch_splade.types import SparseVectors

DEPTH = 10
_BLOCK = 8_192  # rows
_SCORES = 4_000_000  # at once
_PASSAGES = 10  # rows that are looked at for each document that is wanted

Run = list[dict[str, float]]
"""For each question document id to score, best first."""
Scores = npt.NDArray[np.float64] | npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quality:
    """What rankings are worth.

    Attributes:
        ndcg: nDCG@10.
        false_positives: Of the first ten, the documents not judged relevant that stand before the first relevant one
            (ten where none is relevant), on average.
    """

    ndcg: float
    false_positives: float


def quality(run: Run, queries: Sequence[str], qrels: Mapping[str, Mapping[str, int]]) -> Quality:
    """Judges a run.

    Raises:
        MissingExtraError: ir-measures is not installed.
    """
    ndcg = measure(dict(zip(queries, run, strict=True)), qrels)["nDCG@10"]
    wrong = [
        _before_relevant(list(found)[:DEPTH], qrels.get(query, {})) for query, found in zip(queries, run, strict=True)
    ]
    return Quality(ndcg, sum(wrong) / max(1, len(wrong)))


def _before_relevant(found: Sequence[str], grades: Mapping[str, int]) -> int:
    places = [place for place, id_ in enumerate(found) if grades.get(id_, 0) > 0]
    return places[0] if places else len(found)


def sparse_scores(vectors: SparseVectors, questions: SparseVectors) -> Iterator[Scores]:
    """Shape ``(questions, rows)`` of each block of rows."""
    size = _block(len(questions))
    for start in range(0, len(vectors), size):
        indptr = vectors.indptr[start : start + size + 1]
        part = slice(int(indptr[0]), int(indptr[-1]))
        block = SparseVectors(indptr - indptr[0], vectors.token_ids[part], vectors.weights[part])
        exact = ExactIndex([""] * len(block), block)
        yield (
            np.stack([exact.scores(*question) for question in questions])
            if len(questions)
            else np.empty((0, len(block)))
        )


def dense_scores(vectors: npt.NDArray[np.float32], questions: npt.NDArray[np.float32]) -> Iterator[Scores]:
    """The same for dense vectors."""
    size = _block(len(questions))
    for start in range(0, len(vectors), size):
        yield questions @ vectors[start : start + size].T


def _block(questions: int) -> int:
    """Rows at once, such that their scores stay small."""
    return max(256, min(_BLOCK, _SCORES // max(1, questions)))


def best(blocks: Iterable[Scores], documents: npt.NDArray[np.int64], ids: Sequence[str], *, floor: float = 0.0) -> Run:
    """The best documents of each question by their best row.

    Args:
        blocks: Scores of rows, block by block.
        documents: Shape ``(rows,)``: the document of each row.
        ids: Of documents.
        floor: Only scores above it count.
    """
    several = bool(len(documents)) and len(np.unique(documents)) < len(documents)
    depth = DEPTH * _PASSAGES if several else DEPTH
    found: list[dict[int, float]] = []
    start = 0
    for scores in blocks:
        found = found or [{} for _ in range(len(scores))]
        width = scores.shape[1]
        taken = min(depth, width)
        places = np.argpartition(scores, width - taken, axis=1)[:, width - taken :]
        values = np.take_along_axis(scores, places, axis=1)
        for one, row, row_scores in zip(found, documents[start + places].tolist(), values.tolist(), strict=True):
            for document, score in zip(row, row_scores, strict=True):
                if score > floor and score > one.get(document, floor):
                    one[document] = score
        start += width
    ordered = (sorted(one.items(), key=lambda pair: (-pair[1], pair[0]))[:DEPTH] for one in found)
    return [{ids[document]: score for document, score in one} for one in ordered]


def overlap(run: Run, reference: Run) -> float:
    """The share of the reference's documents that the run has too, on average."""
    shares = [len(one.keys() & other.keys()) / len(other) for one, other in zip(run, reference, strict=True) if other]
    return sum(shares) / max(1, len(shares))
