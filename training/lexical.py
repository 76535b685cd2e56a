"""Lexical vectors: BM25 as a dot product of sparse vectors, mined and taught with like any model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from opensearch_splade.evaluation.collection_split import words
from opensearch_splade.onnx_models.sparse_rows import SparseRow, stack
from opensearch_splade.training.english import english_words
from opensearch_splade.types import SparseVectors

Language = Literal["english"]

K1, B = 1.2, 0.75
"""Lucene's."""


class Lexical:
    """BM25 over some documents.

    Args:
        texts: The documents.
        language: ``english`` for stems without stop words, as the analyzer of that name; ``None`` for plain words.

    Attributes:
        documents: Saturated term frequencies, one row a document.
    """

    def __init__(self, texts: Sequence[str], language: Language | None = None) -> None:
        self._words = english_words if language == "english" else words
        counts = [Counter(self._words(text)) for text in texts]
        having = Counter(word for one in counts for word in one)
        self._ids = {word: place for place, word in enumerate(sorted(having))}
        self._idf = {word: math.log1p((len(texts) - count + 0.5) / (count + 0.5)) for word, count in having.items()}
        self.documents = stack(
            saturated([Counter({self._ids[word]: tf for word, tf in one.items()}) for one in counts])
        )

    def queries(self, texts: Sequence[str]) -> SparseVectors:
        """Idf of each word of each question, as often as it stands there; unknown words are left out."""
        counted = (Counter(word for word in self._words(text) if word in self._ids) for text in texts)
        return stack(self._row({word: count * self._idf[word] for word, count in one.items()}) for one in counted)

    def _row(self, weights: Mapping[str, float]) -> SparseRow:
        row = sorted((self._ids[word], weight) for word, weight in weights.items())
        return np.array([place for place, _ in row], np.int32), np.array([weight for _, weight in row], np.float32)


def saturated(counts: Sequence[Counter[int]]) -> list[SparseRow]:
    """BM25's part of a document, of each: what its terms weigh before their idf, less than 1.

    Args:
        counts: How often each term stands in each document.
    """
    mean = sum(one.total() for one in counts) / max(1, len(counts)) or 1.0
    rows: list[SparseRow] = []
    for one in counts:
        norm, ids = K1 * (1 - B + B * one.total() / mean), sorted(one)
        tf = np.array([one[term] for term in ids], np.float64)
        rows.append((np.array(ids, np.int32), (tf / (tf + norm)).astype(np.float32)))
    return rows
