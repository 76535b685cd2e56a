"""Four documents by features alone, for tests of searches in two steps: the strongest feature ranks them otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from opensearch_splade.types import Features

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

# Exact in 9 bits; one of them only a weak feature finds.
_STORED = {"a": {"fox": 2.0}, "b": {"fox": 1.5, "dog": 2.0}, "c": {"dog": 9.0}, "d": {"fox": 1.0, "run": 0.5}}


class Table:
    """A query encoder by table.

    Args:
        weights: Of the known words, strongest first.
    """

    fingerprint = "f1"

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = weights

    def encode_query(self, text: str) -> Features:
        """Weights of the known words, strongest first."""
        return {word: weight for word, weight in self._weights.items() if word in text.split()}


def index_four_documents(client: OpenSearch, index: str) -> None:
    """Makes the index, of one shard, and fills it."""
    mappings = {
        "properties": {
            "text": {"type": "text"},
            "sparse": {"type": "rank_features"},
            "id": {"type": "keyword"},
            "encoded": {"type": "keyword"},
        },
        "_meta": {"opensearch_splade": {"sparse": {"fingerprint": "f1", "bundle": "t", "kind": "siamese"}}},
    }
    client.indices.create(index=index, body={"mappings": mappings, "settings": {"number_of_shards": 1}})
    lines = [part for key, sparse in _STORED.items() for part in (
        {"index": {"_id": key}},
        {"id": key, "text": " ".join(sparse), "sparse": sparse, "encoded": ["f1"]},
    )]  # fmt: skip
    assert not client.bulk(index=index, body=lines, params={"refresh": "true"})["errors"]
