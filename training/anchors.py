"""Anchors: what documents' weights are held to while rankings are learned: their own words, and how often they occur.

Rankings of a few hundred questions say little of the thousands of terms that a step does not ask for, and a student
that follows them alone buys resemblance with exact words: it finds the right document among a hundred better, and
among thousands worse. So the terms of a document are also held, each by itself, to a mixture of two vectors that are
known beforehand: the student's own before training, and BM25's saturated counts, which a maximum over positions never
saw. A wrong weight costs what it does to a score: its error times the query weight, squared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from opensearch_splade.onnx_models.sparse_rows import SparseRow, stack
from opensearch_splade.training.columns import Columns
from opensearch_splade.training.lexical import saturated
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.teacher_cache import cached_sparse, texts_key
from opensearch_splade.training.trainable import TrainableEncoder


class Anchors:
    """Target vectors of some documents.

    Args:
        encoder: The student before training.
        texts: The documents.
        cache: Folder where the student's first vectors are kept.
        recipe: ``frequency`` is the part of BM25's counts, ``expansion`` how much other terms than a document's own
            are held.
    """

    def __init__(self, encoder: TrainableEncoder, texts: Sequence[str], cache: Path, recipe: Recipe) -> None:
        self._expansion = recipe.expansion
        before = cached_sparse(cache / texts_key(_state(encoder), texts), lambda: encoder.encode(texts))
        features = encoder.vocabulary.features
        counts = [
            Counter(token for token in ids if features[token]) for ids in encoder.tokenizer.encode(texts, special=False)
        ]
        rows = [_mixed(*pair, recipe.frequency) for pair in zip(before, saturated(counts), strict=True)]
        self._targets = stack((ids, weights) for ids, weights, _ in rows)
        self._own = np.concatenate([own for _, _, own in rows])
        # As strong as before on the whole: scores keep the scale that the teachers' were fitted to.
        pairs = zip(before, counts, strict=True)
        were = sum(float(weights[np.isin(ids, list(one))].sum()) for (ids, weights), one in pairs)
        self._targets.weights[:] *= were / max(float(self._targets.weights[self._own].sum()), 1e-9)

    def terms(self, documents: Sequence[int]) -> list[list[int]]:
        """Token ids of the documents' own terms."""
        return [self._targets.token_ids[span][self._own[span]].tolist() for span in map(self._span, documents)]

    def distance(self, weights: Any, documents: Sequence[int], columns: Columns, idf: Any) -> Any:
        """Mean squared error of what a term of its own adds to a document's score; that of others counts in part.

        Args:
            weights: The student's, shape ``(documents, columns)``.
            documents: Places.
            columns: Which terms; those of ``terms(documents)`` are among them.
            idf: Query weights by token id, shape ``(vocabulary,)``.
        """
        import torch

        places = np.full(len(idf), -1)
        places[columns.ids.cpu().numpy()] = np.arange(len(columns.ids))
        target, own = (np.zeros(weights.shape, np.float32) for _ in range(2))
        for row, span in enumerate(map(self._span, documents)):
            there = places[self._targets.token_ids[span]]
            known = there >= 0
            target[row, there[known]] = self._targets.weights[span][known]
            own[row, there[known]] = self._own[span][known]
        wanted, mine = (torch.from_numpy(one).to(weights.device) for one in (target, own))
        share = mine + (1 - mine) * self._expansion * columns.counts
        return (share * (idf[columns.ids] * (weights - wanted)).square()).sum() / mine.sum().clamp(min=1)

    def _span(self, document: int) -> slice:
        return slice(int(self._targets.indptr[document]), int(self._targets.indptr[document + 1]))


def _mixed(before: SparseRow, counted: SparseRow, frequency: float) -> tuple[Any, Any, Any]:
    """Token ids, weights, and which of them are the document's own."""
    ids = np.union1d(before[0], counted[0]).astype(np.int32)
    weights = np.zeros(len(ids), np.float32)
    weights[np.searchsorted(ids, before[0])] = before[1]
    weights[np.searchsorted(ids, counted[0])] += np.float32(frequency) * counted[1]
    return ids, weights, np.isin(ids, counted[0])


def _state(encoder: TrainableEncoder) -> str:
    """Names what the encoder gives: its length and its weights."""
    digest = blake2b(digest_size=12)
    for name, value in sorted(encoder.parameters().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return f"{encoder.length} {digest.hexdigest()}"
