"""Late interaction: the client's score is that of the server, which is affine in MaxSim."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import CapabilityError, QueryError
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.query import rescored, search_body
from opensearch_splade.query.clauses import match
from opensearch_splade.query.late_interaction import by_late_interaction, late_interaction
from opensearch_splade.query.requirements import KNN
from opensearch_splade.types import Capabilities

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

SERVER = Capabilities((3, 6, 0), frozenset({KNN}))
QUESTION = [[1.0, 0.0], [0.0, 2.0]]
DOCUMENTS = {
    "b": [[0.0, 1.0]],
    "none": [],
    "a": [[3.0, 0.0], [0.5, 0.5]],
    "c": [[-1.0, 0.0], [0.0, -1.0]],
}


def test_scores_by_hand() -> None:
    """Each of the question's vectors takes its largest cosine; without vectors a document scores 0 and comes last."""
    found = by_late_interaction(QUESTION, DOCUMENTS)
    assert list(found) == ["a", "b", "c", "none"]
    assert found == pytest.approx({"a": 1 + (1 + math.sqrt(0.5)) / 2, "b": 1.5, "c": 1.0, "none": 0.0})


PLACES = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)).filter(any), min_size=1, max_size=4)


@given(PLACES, st.dictionaries(st.text(max_size=2), PLACES, min_size=2, max_size=5))
def test_the_order_is_that_of_max_sim(
    question: list[tuple[int, int]], documents: dict[str, list[tuple[int, int]]]
) -> None:
    """Of cosines by the angle, which no product of coordinates enters."""

    def angle(vector: tuple[int, int]) -> float:
        return math.atan2(vector[1], vector[0])

    sums = {
        key: sum(max(math.cos(angle(one) - angle(other)) for other in found) for one in question)
        for key, found in documents.items()
    }
    found = by_late_interaction(question, documents)
    assert found == pytest.approx({key: (len(question) + total) / 2 for key, total in sums.items()})
    assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize(
    ("question", "documents", "message"),
    [
        ([], {}, "the question has no token vectors"),
        ([[0.0, 0.0]], {}, "the question has no direction"),
        ([[math.nan, 1.0]], {}, "has no direction"),
        ([[1.0, 0.0], [1.0]], {}, "has 1 numbers where 2 are needed"),
        ([[1.0, 0.0]], {"d": [[1.0]]}, "of document 'd' has 1 numbers where 2"),
        ([[1.0, 0.0]], {"d": [[0.0, 0.0]]}, "of document 'd' has no direction"),
    ],
)
def test_vectors_that_cannot_be_compared(
    question: list[list[float]], documents: dict[str, list[list[float]]], message: str
) -> None:
    """Are refused with whose they are."""
    with pytest.raises(QueryError, match=message):
        by_late_interaction(question, documents)


@pytest.mark.parametrize(("version", "plugins"), [((3, 2, 0), {KNN}), ((3, 6, 0), set[str]())])
def test_the_server_s_function_needs_its_version(version: tuple[int, int, int], plugins: set[str]) -> None:
    """It is of 3.3 and of the k-NN plugin."""
    with pytest.raises(CapabilityError, match="lateInteractionScore needs"):
        late_interaction(QUESTION, "tokens", capabilities=Capabilities(version, frozenset(plugins)))


@pytest.mark.server
def test_the_node_gives_the_same_scores(client: OpenSearch, index_name: str) -> None:
    """As the second query of a rescoring, documents without vectors, or without the field, included."""
    mappings = {"properties": {"text": {"type": "text"}, "tokens": {"type": "object", "enabled": False}}}
    client.indices.create(index=index_name, body={"mappings": mappings, "settings": {"number_of_shards": 1}})
    stored = {key: {"text": "fox", "tokens": vectors} for key, vectors in DOCUMENTS.items()} | {"bare": {"text": "fox"}}
    lines = [part for key, source in stored.items() for part in ({"index": {"_id": key}}, source)]
    assert not client.bulk(index=index_name, body=lines, params={"refresh": "true"})["errors"]
    query = late_interaction(QUESTION, "tokens", capabilities=probe(client))
    answer = client.search(index=index_name, body=rescored(search_body(match("fox")), query, window=10))
    found = {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}
    assert found == pytest.approx(by_late_interaction(QUESTION, DOCUMENTS | {"bare": []}), rel=1e-6)
    assert list(found)[:3] == ["a", "b", "c"]
    assert late_interaction(QUESTION, "tokens", capabilities=SERVER) == query
