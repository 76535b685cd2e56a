"""Query weights: the table that answers for a query model in inference-free retrieval.

A query's weight for a token is looked up, not computed (arXiv 2411.04403); how often a token stands in the query does
not count. The table is learned with the checkpoint, or the inverse document frequency of a corpus.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from opensearch_splade.errors import BundleError, CheckpointError
from opensearch_splade.types import Features

if TYPE_CHECKING:
    from opensearch_splade.onnx_models.vocabulary import Vocabulary


class QueryWeights:
    """Feature weights by token id.

    Args:
        table: Feature to weight. Features without one weigh nothing, so they are not asked for.
        vocabulary: The bundle's.
    """

    def __init__(self, table: Mapping[str, float], vocabulary: Vocabulary) -> None:
        self.table = dict(table)
        self._features = vocabulary.features
        self._by_id = [table.get(feature, 0.0) for feature in vocabulary.features]

    def weigh(self, token_ids: Iterable[int]) -> Features:
        """Feature to weight for the distinct tokens of a query, strongest first."""
        by_id, features = self._by_id, self._features
        found = [(features[token], by_id[token]) for token in set(token_ids) if token < len(by_id) and by_id[token] > 0]
        return dict(sorted(found, key=lambda item: (-item[1], item[0])))


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
        BundleError: It is not a JSON object of positive numbers.
    """
    try:
        table = orjson.loads(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(table, dict) or not all(isinstance(value, int | float) for value in table.values()):
        raise BundleError(f"{path} must hold one JSON object of token: weight.")
    return {feature: float(value) for feature, value in table.items()}


def read_checkpoint_table(path: Path, vocabulary: Vocabulary, tokens: Mapping[str, int]) -> dict[str, float]:
    """The query weights of a checkpoint: ``idf.json`` ({token: weight}) or a ``SparseStaticEmbedding``'s safetensors.

    Raises:
        CheckpointError: The table does not fit the vocabulary.
    """
    if path.suffix == ".json":
        by_id = {tokens[token]: weight for token, weight in read_table(path).items() if token in tokens}
    else:
        from safetensors.numpy import load_file

        weights = load_file(path)["weight"].reshape(-1)
        if len(weights) > len(vocabulary):
            raise CheckpointError(f"{path} holds {len(weights)} query weights for a vocabulary of {len(vocabulary)}.")
        by_id = dict(enumerate(map(float, weights)))
    features = vocabulary.features
    return {features[token]: weight for token, weight in sorted(by_id.items()) if features[token] and weight > 0}


def write_table(path: Path, table: Mapping[str, float]) -> None:
    """Writes ``query_weights.json``."""
    path.write_bytes(orjson.dumps(dict(table)))
