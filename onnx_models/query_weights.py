"""Query weights: the table that answers for a query model in inference-free retrieval.

A query's weight for a token is looked up, not computed (arXiv 2411.04403). The table is learned with the checkpoint,
given by the user, 1 for every token (SPLADE-doc, arXiv 2109.10086), or the inverse document frequency of a corpus.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from opensearch_splade.errors import BundleError
from opensearch_splade.types import Features

if TYPE_CHECKING:
    from opensearch_splade.onnx_models.bundle import TableKind
    from opensearch_splade.onnx_models.vocabulary import Vocabulary

K3 = 8.0
"""Okapi's k3: how fast a token's weight saturates as it is repeated in the query. 8 is what Robertson's group took for
long queries and Terrier's default; without a bound (Lucene) a token would weigh as often as it stands there."""


class QueryWeights:
    """Feature weights by token id.

    Args:
        table: Feature to weight. Features without one weigh nothing, so they are not asked for.
        vocabulary: The bundle's.
        kind: What kind of table it is. Only with ``bm25`` does it count how often a token stands in the query.
    """

    def __init__(self, table: Mapping[str, float], vocabulary: Vocabulary, kind: TableKind = "table") -> None:
        self._counts = kind == "bm25"
        # In the form that sorts strongest first, ties by name: a look-up takes a few microseconds.
        self._by_id = {
            token: (-weight, feature)
            for token, feature in enumerate(vocabulary.features)
            if feature and (weight := table.get(feature, 0.0)) > 0
        }

    @property
    def largest(self) -> float:
        """The largest weight of the table; 0 if it is empty."""
        return max((-negative for negative, _ in self._by_id.values()), default=0.0)

    def weigh(self, token_ids: Iterable[int]) -> Features:
        """Feature to weight for the distinct tokens of a query, strongest first."""
        if self._counts:
            return self._saturated(Counter(token_ids))
        found = filter(None, map(self._by_id.get, set(token_ids)))
        return {feature: -negative for negative, feature in sorted(found)}

    def _saturated(self, counts: Mapping[int, int]) -> Features:
        by_id = self._by_id
        known = [(*by_id[token], count) for token, count in counts.items() if token in by_id]
        found = [(negative * saturation(count), feature) for negative, feature, count in known]
        return {feature: -negative for negative, feature in sorted(found)}


def saturation(count: int) -> float:
    """What a token that stands ``count`` times in a query weighs, in tokens that stand there once.

    ``count * (k3 + 1) / (count + k3)``: the query's half of Okapi BM25 (Robertson et al., TREC-3), 1 for 1, below
    ``k3 + 1`` for any.
    """
    return count * (K3 + 1) / (count + K3)


class DocumentFrequencies:
    """Counts in how many passages each token stands, while they stream by."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._features = vocabulary.features
        self._counts = [0] * len(vocabulary)
        self.passages = 0

    def add(self, token_ids: Iterable[Sequence[int]]) -> None:
        """Counts some passages' tokens."""
        counts = self._counts
        for tokens in token_ids:
            self.passages += 1
            for token in set(tokens):
                if token < len(counts):
                    counts[token] += 1

    def merge(self, other: DocumentFrequencies) -> None:
        """Adds what another one counted with the same vocabulary."""
        self.passages += other.passages
        self._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]

    def idf(self) -> dict[str, float]:
        """Feature to ``ln(1 + (N - n + .5) / (n + .5))``, four decimals: the idf of Lucene's BM25, never negative.

        Tokens that no passage holds have the highest weight: a document may still carry them by expansion.
        """
        total = self.passages
        return {
            feature: round(math.log1p((total - count + 0.5) / (count + 0.5)), 4)
            for feature, count in zip(self._features, self._counts, strict=True)
            if feature
        }


def read_table(path: Path) -> dict[str, float]:
    """A bundle's ``query_weights.json``.

    Raises:
        BundleError: It is not a JSON object of numbers.
    """
    try:
        table = orjson.loads(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(table, dict) or not all(type(value) in {int, float} for value in table.values()):
        raise BundleError(f"{path} must hold one JSON object of token: weight.")
    return {feature: float(value) for feature, value in table.items()}


def write_table(path: Path, table: Mapping[str, float]) -> None:
    """Writes ``query_weights.json``."""
    path.write_bytes(orjson.dumps(dict(table)))
