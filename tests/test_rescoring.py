"""Rescoring: the clause, what is refused, and on a real node that scores are those of the second query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from four_documents import Table, index_four_documents

from opensearch_splade.errors import QueryError
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.query import (
    Options,
    PrunedQueries,
    QueryPruning,
    Searcher,
    SearchResult,
    Wanted,
    rescored,
    search_body,
)
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

FIRST: Json = {"match": {"text": {"query": "fox"}}}
SECOND: Json = {"rank_feature": {"field": "sparse.fox", "boost": 2.0, "linear": {}}}


def test_the_clause_holds_query_window_and_weights() -> None:
    """The second score alone by default; everything else of the body stays."""
    body = search_body(FIRST, size=10)
    again = rescored(body, SECOND, window=50)
    assert again.pop("rescore") == {
        "window_size": 50,
        "query": {"rescore_query": SECOND, "query_weight": 0.0, "rescore_query_weight": 1.0},
    }
    assert again == body == search_body(FIRST, size=10)
    assert rescored(body, SECOND, window=50, weights=(1, 2))["rescore"]["query"]["query_weight"] == 1


def test_the_window_reaches_the_page_s_end() -> None:
    """Scores of two scales never stand in one page."""
    assert rescored(search_body(FIRST, size=30, start=40), SECOND, window=5)["rescore"]["window_size"] == 70


@pytest.mark.parametrize(
    ("body", "query", "how", "message"),
    [
        ({"query": {"hybrid": {}}, "size": 1}, SECOND, {}, "a hybrid cannot be rescored"),
        ({"query": FIRST, "size": 1}, {"hybrid": {}}, {}, "a hybrid cannot be rescored"),
        ({"query": FIRST, "size": 1, "collapse": {}}, SECOND, {}, "not rescore where it has to collapse"),
        ({"query": FIRST, "size": 1, "sort": []}, SECOND, {}, "not rescore where it has to sort"),
        ({"query": FIRST, "size": 1}, {"knn": {}}, {}, "rescore by bm25, or by"),
        ({"query": FIRST, "size": 1}, {"neural_sparse": {"sparse": {"method_parameters": {}}}}, {}, "SEISMIC"),
        ({"query": FIRST, "size": 1}, SECOND, {"window": 0}, "window of 0: it takes 1 to 10,000"),
        ({"query": FIRST, "size": 1}, SECOND, {"window": 10_001}, "window of 10001"),
        ({"query": FIRST, "size": 1}, SECOND, {"weights": (1, 0)}, "the second not 0"),
        ({"query": FIRST, "size": 1}, SECOND, {"weights": (-1, 1)}, "none negative"),
        ({"query": FIRST, "size": 1}, SECOND, {"weights": (1, float("nan"))}, "both are finite"),
    ],
)
def test_what_the_server_would_refuse_or_misread(body: Json, query: Json, how: dict[str, Any], message: str) -> None:
    """Is refused before it is sent, with what to do instead."""
    with pytest.raises(QueryError, match=message):
        rescored(body, query, **{"window": 10, **how})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rescore": "knn"}, "rescore by 'knn': choose one of bm25"),
        ({"rescore": "bm25", "two_step": QueryPruning(top_k=1)}, "already; leave the rescoring out"),
        ({"rescore": "bm25", "explain": True}, "a rescored hit is not explained"),
        ({"rescore_weights": (1.0, 2.0)}, "go with rescore"),
        ({"window": 50}, "goes with two_step or rescore"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    """Are refused before a question is encoded, since the server would leave one of them out silently."""
    with pytest.raises(QueryError, match=message):
        Wanted(**options)


WORDS = {"fox": 3.0, "dog": 1.0, "run": 0.5}


@pytest.fixture
def searchers(client: OpenSearch, index_name: str) -> tuple[Searcher, Searcher]:
    """Two over the same index: by all features, and by the strongest one."""
    index_four_documents(client, index_name)
    encoder, capabilities = Table(WORDS), probe(client)
    pruned = PrunedQueries(encoder, QueryPruning(top_k=1))
    return tuple(Searcher(client, index_name, capabilities=capabilities, sparse=sparse) for sparse in (encoder, pruned))


def scores(client: OpenSearch, index: str, body: Json) -> dict[str, float]:
    """Documents and their scores, best first."""
    return {hit["_id"]: hit["_score"] for hit in client.search(index=index, body=body)["hits"]["hits"]}


@pytest.mark.server
@pytest.mark.parametrize("leg", ["neural-sparse", "weighted-terms"])
def test_a_two_step_finds_by_the_strongest_and_scores_by_all(
    client: OpenSearch, searchers: tuple[Searcher, Searcher], leg: str
) -> None:
    """The candidates are those with the strongest feature; their scores equal the exact ones."""
    whole, strongest = searchers
    index, question = whole.target.index, "fox dog run"
    exact = scores(client, index, whole.body(question, mode=leg))
    assert list(scores(client, index, strongest.body(question, mode=leg))) == ["a", "b", "d"]
    body = rescored(strongest.body(question, mode=leg), whole.body(question, mode=leg)["query"], window=10)
    found = scores(client, index, body)
    assert list(found.items()) == [(key, score) for key, score in exact.items() if key != "c"]
    assert list(found) == ["b", "a", "d"]


@pytest.mark.server
def test_bm25_is_rescored_by_the_sparse_clause(client: OpenSearch, searchers: tuple[Searcher, Searcher]) -> None:
    """By it alone, or by the weighted sum of both scores."""
    whole, _ = searchers
    index, question = whole.target.index, "fox run"
    first = whole.body(question, mode="bm25")
    lexical = scores(client, index, first)
    clause = whole.body(question, mode="weighted-terms")["query"]
    alone = scores(client, index, rescored(first, clause, window=10))
    assert list(alone.items()) == [("a", 6.0), ("b", 4.5), ("d", 3.25)]
    both = scores(client, index, rescored(first, clause, window=10, weights=(2, 3)))
    assert both == pytest.approx({key: 2 * lexical[key] + 3 * alone[key] for key in alone})


@pytest.mark.server
def test_a_searcher_rescores(client: OpenSearch, searchers: tuple[Searcher, Searcher]) -> None:
    """Scores are those of the bodies above, alone and for many questions; the page is cut and the filter holds."""
    whole, _ = searchers
    index, question = whole.target.index, "fox run"
    lexical = scores(client, index, whole.body(question, mode="bm25"))
    second = scores(client, index, whole.body(question, mode="weighted-terms"))
    asked: Options = {"mode": "bm25", "rescore": "weighted-terms", "window": 20}
    assert {hit.id: hit.score for hit in whole.search(question, **asked).hits} == {key: second[key] for key in lexical}
    both: Options = {**asked, "rescore_weights": (2.0, 3.0)}
    [found] = whole.search_many([question], **both)
    assert isinstance(found, SearchResult)
    assert {hit.id: hit.score for hit in found.hits} == pytest.approx(
        {key: 2 * lexical[key] + 3 * second[key] for key in lexical}
    )
    assert whole.body(question, **both)["rescore"]["window_size"] == 20
    filter_ = {"ids": {"values": ["b", "d"]}}
    assert [hit.id for hit in whole.search(question, start=1, size=1, filter=filter_, **asked).hits] == ["d"]
    with pytest.raises(QueryError, match="a hybrid cannot be rescored"):
        whole.body(question, mode="bm25+neural-sparse", rescore="bm25")


@pytest.mark.server
def test_a_rescored_hit_needs_the_vectors_of_both_rankings(
    client: OpenSearch, searchers: tuple[Searcher, Searcher]
) -> None:
    """A hit that another bundle encoded is told of where a sparse ranking scores it, though bm25 has found it."""
    whole, _ = searchers
    client.update(index=whole.target.index, id="a", body={"doc": {"encoded": ["other"]}}, params={"refresh": "true"})
    assert not whole.search("fox", mode="bm25").notices
    [notice] = whole.search("fox", mode="bm25", rescore="neural-sparse").notices
    assert "1 of 3 hits (e.g. 'a') were not encoded by the bundle that asks" in notice
