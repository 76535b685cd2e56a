"""Prune curve: what each pruning of document vectors saves, and what it costs in nDCG@10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.measures import measure
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.ingest.term_budget import Budget, PruningRule
from opensearch_splade.types import SparseVectors

DEPTH = 100  # ids per question: what recall@100 needs
RATIOS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
COUNTS = (32, 64, 96, 128, 192, 256)
SHARES = (0.0, 0.1, 0.05)
"""Of the documents that a feature may stand in, for budgets of the corpus."""
MASSES = (0.7, 0.8, 0.9, 0.95, 0.98)
QUANTILES = (0.1, 0.25, 0.4, 0.6)
"""Of all weights, for ``abs_value``: what a weight is worth differs from model to model."""
_PACKED = 0.6
"""What the stored source's compression leaves of the features' JSON. With the postings it came within 6 % of what a
node wrote for SciFact by splade-tiny: all 253 features of a document, ``alpha_mass:0.8`` (120) and ``top_k:64``."""
_WEIGHT_BITS = 16  # Lucene keeps a weight as the upper bits of its float, less the sign, packed by the largest of 128


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One pruning, measured.

    Attributes:
        pruning: The rule; ``None`` keeps all features.
        features: Mean features of a document.
        bytes: Mean bytes that a document's features take in the index, estimated: postings and stored source.
        measures: Mean of each measure over the judged questions.
    """

    pruning: PruningRule | Budget | None
    features: float
    bytes: float
    measures: dict[str, float]

    @property
    def ndcg(self) -> float:
        """nDCG@10."""
        return self.measures["nDCG@10"]


Curve: TypeAlias = tuple[str, Sequence[CurvePoint]]
"""What prunings of one bundle's vectors save and cost, and the bundle's name."""


def default_rules(documents: SparseVectors) -> list[PruningRule | Budget]:
    """The grid: every kind of pruning, from careful to rough."""
    cuts = np.quantile(documents.weights, QUANTILES) if len(documents.weights) else ()
    thresholds = dict.fromkeys(float(f"{cut:.2g}") for cut in cuts)
    return [
        *(Pruning("max_ratio", ratio) for ratio in RATIOS),
        *(Pruning("top_k", count) for count in reversed(COUNTS)),
        *(Pruning("alpha_mass", mass) for mass in reversed(MASSES)),
        *(Pruning("abs_value", threshold) for threshold in thresholds if threshold > 0),
        *(Budget(count, share) for share in SHARES for count in reversed(COUNTS)),
    ]


def prune_curve(
    collection: Collection,
    ids: Sequence[str],
    documents: SparseVectors,
    questions: SparseVectors,
    names: Sequence[str],
    rules: Sequence[PruningRule | Budget],
    on_point: Callable[[], None] = lambda: None,
) -> list[CurvePoint]:
    """Every rule by exact dot product, with weights rounded as they are stored; first without any.

    Args:
        collection: Its judgements.
        ids: The document of each row of ``documents``.
        documents: Unpruned vectors.
        questions: One row for each of the collection's queries, in their order.
        names: The feature of each token id.
        rules: What to try.
        on_point: Called after each measurement.

    Raises:
        MissingExtraError: ir-measures is not installed.
    """
    name_bytes = np.array([len(orjson.dumps(name)) for name in names])
    points: list[CurvePoint] = []
    for rule in (None, *rules):
        stored = encode_weights(rule.apply(documents) if rule else documents)
        ranked = ExactIndex(ids, stored).rank(questions, DEPTH)
        measures = measure(dict(zip(collection.queries, ranked, strict=True)), collection.qrels)
        size = posting_bytes(stored) + _PACKED * json_bytes(stored, name_bytes)
        count = max(1, len(stored))
        points.append(CurvePoint(rule, len(stored.weights) / count, size / count, measures))
        on_point()
    return points


def json_bytes(vectors: SparseVectors, name_bytes: npt.NDArray[np.int64]) -> int:
    """What the features take in the documents as they are sent: quoted name, colon, weight, comma."""
    weights = len(orjson.dumps(vectors.weights.tolist()))  # commas and two brackets
    return int(name_bytes[vectors.token_ids].sum()) + len(vectors.weights) + weights


def posting_bytes(vectors: SparseVectors) -> float:
    """What Lucene's postings take, estimated: for each feature of a document its weight, and the way to the next one.

    The way is as many bits as the mean gap between the documents that have the feature, and one more: they are packed
    by the largest of 128.
    """
    counts = np.bincount(vectors.token_ids) if len(vectors.token_ids) else np.zeros(0, np.int64)
    counts = counts[counts > 0]
    gap_bits = np.ceil(np.log2(len(vectors) / counts)) + 1 if len(counts) else counts
    return float((counts * (gap_bits + _WEIGHT_BITS)).sum() / 8)


def recommend(points: Sequence[CurvePoint], tolerance: float) -> CurvePoint:
    """The smallest whose nDCG@10 is at most ``tolerance`` below that of the first point, which is unpruned."""
    enough = [point for point in points if point.ndcg >= points[0].ndcg - tolerance - 1e-9]  # four decimals each
    return min(enough, key=lambda point: (point.bytes, -point.ndcg))
