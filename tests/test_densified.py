"""Densified vectors: what is kept of each slice, and on a real node that rescored candidates have exact scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import QueryError
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.query import knn, rescored, search_body, weighted_terms
from opensearch_splade.query.densified import densified

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

    from opensearch_splade.types import Features

FEATURES = st.dictionaries(st.text(max_size=3), st.integers(1, 8).map(float), max_size=8)


def exact(one: Features, other: Features) -> float:
    """The dot product."""
    return sum(weight * other.get(name, 0) for name, weight in one.items())


@given(FEATURES, FEATURES, st.integers(1, 20))
def test_products_bound_the_exact_one(one: Features, other: Features, slices: int) -> None:
    """Gated never more than exact, and ungated never less than gated; with no collisions gated is exact."""
    left, right = densified(one, slices), densified(other, slices)
    ungated = sum(a * b for a, b in zip(left.weights, right.weights, strict=True))
    assert left.gated(right) <= min(exact(one, other), ungated)
    assert left.gated(right) == right.gated(left)
    if sum(map(bool, densified(one | other, slices).features)) == len(one | other) and "" not in one | other:
        assert left.gated(right) == exact(one, other)


@given(FEATURES, st.integers(1, 20))
def test_each_slice_keeps_its_largest(features: Features, slices: int) -> None:
    """With the feature that had it; alone in a vector a feature falls into the same slice."""
    found = densified(features, slices)
    assert len(found.weights) == len(found.features) == slices
    for name, weight in features.items():
        place = densified({name: weight}, slices).weights.index(weight)
        assert found.weights[place] >= weight
    for name, weight in zip(found.features, found.weights, strict=True):
        assert weight == features.get(name, 0) or (name == "" and weight == 0)


def test_what_cannot_be_sliced_or_compared() -> None:
    """Is refused."""
    with pytest.raises(QueryError, match="at least 1"):
        densified({"fox": 1.0}, 0)
    with pytest.raises(QueryError, match="3 slices cannot be compared with 4"):
        densified({}, 3).gated(densified({}, 4))


@pytest.mark.server
def test_knn_finds_and_the_sparse_query_scores(client: OpenSearch, index_name: str) -> None:
    """The kNN hits come back with the exact product of the sparse field."""
    vector = {
        "type": "knn_vector",
        "dimension": 16,
        "method": {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"},
    }
    body = {
        "mappings": {"properties": {"sparse": {"type": "rank_features"}, "dense": vector}},
        "settings": {"index.knn": True, "number_of_shards": 1},
    }
    client.indices.create(index=index_name, body=body)
    stored: dict[str, Features] = {"a": {"fox": 2.0}, "b": {"fox": 1.0, "dog": 4.0}, "c": {"cat": 8.0}}
    lines = [part for key, sparse in stored.items() for part in (
        {"index": {"_id": key}}, {"sparse": sparse, "dense": densified(sparse, 16).weights}
    )]  # fmt: skip
    assert not client.bulk(index=index_name, body=lines, params={"refresh": "true"})["errors"]
    question: Features = {"fox": 1.0, "dog": 0.5}
    first = search_body(knn(densified(question, 16).weights, 3, capabilities=probe(client)))
    answer = client.search(index=index_name, body=rescored(first, weighted_terms(question), window=10))
    found = {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}
    assert found == {key: exact(question, sparse) for key, sparse in stored.items()}
    assert list(found)[:2] == ["b", "a"]
