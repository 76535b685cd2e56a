"""Two steps made of one search: the bodies, what is refused, and on a real node hits and scores of the one-step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from four_documents import Table, index_four_documents

from opensearch_splade.errors import CapabilityError, QueryError
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.query import (
    QueryPruning,
    Searcher,
    filtered,
    in_two_steps,
    neural_sparse,
    search_body,
    two_phase,
    weighted_terms,
)
from opensearch_splade.query.clauses import best_passage, match, match_none, seismic
from opensearch_splade.query.requirements import NEURAL_SEARCH
from opensearch_splade.types import Capabilities, Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PLUGINS = frozenset({NEURAL_SEARCH})
SERVER = Capabilities((3, 6, 0), PLUGINS)
TOP = QueryPruning(top_k=1)
WEIGHTS = {"fox": 3.0, "dog": 1.0, "run": 0.5}
FILTER: Json = {"term": {"metadata.lang": "en"}}
SPARSE = neural_sparse(WEIGHTS, capabilities=SERVER)
STRONG = neural_sparse({"fox": 3.0}, capabilities=SERVER)
ANN = seismic(WEIGHTS, {"fox": 1, "dog": 2, "run": 3}, ceiling=16, k=10, capabilities=SERVER)


@pytest.mark.parametrize(
    ("one", "first", "second"),
    [
        (SPARSE, STRONG, SPARSE),
        (weighted_terms(WEIGHTS), weighted_terms({"fox": 3.0}), weighted_terms(WEIGHTS)),
        (
            best_passage(SPARSE, capabilities=SERVER),
            best_passage(STRONG, capabilities=SERVER),
            best_passage(SPARSE, capabilities=SERVER),
        ),
        (filtered(SPARSE, FILTER), filtered(STRONG, FILTER), SPARSE),
        (
            filtered(best_passage(SPARSE, capabilities=SERVER), FILTER),
            filtered(best_passage(STRONG, capabilities=SERVER), FILTER),
            best_passage(SPARSE, capabilities=SERVER),
        ),
        (match_none(), match_none(), match_none()),
    ],
)
def test_the_first_query_is_pruned_and_the_second_is_whole(one: Json, first: Json, second: Json) -> None:
    """For every sparse clause of ours; a filter holds in the first, so the second needs none; the body stays."""
    body = search_body(one, size=10)
    asked = in_two_steps(body, TOP, window=50)
    assert asked["query"] == first
    assert asked["rescore"]["query"]["rescore_query"] == second
    assert asked["rescore"]["window_size"] == 50
    assert body == search_body(one, size=10)


@pytest.mark.parametrize("query", [match("fox"), ANN, filtered(ANN, FILTER), {"hybrid": {"queries": [SPARSE]}}])
def test_what_has_no_strongest_features_is_refused(query: Json) -> None:
    """With what can be done instead."""
    with pytest.raises(QueryError, match="two steps go with one sparse ranking"):
        in_two_steps(search_body(query), TOP)


def rate(body: Json) -> tuple[float, int]:
    """Expansion rate and largest window of a two-phase body."""
    [processor] = body["search_pipeline"]["request_processors"]
    found = processor["neural_sparse_two_phase_processor"]["two_phase_parameter"]
    return found["expansion_rate"], found["max_window_size"]


def test_the_server_s_two_phases_travel_in_the_body() -> None:
    """Rule and window, for the versions that know them; before 2.19 there is no prune_type."""
    asked = two_phase(search_body(SPARSE, size=10), window=200, capabilities=Capabilities((2, 15, 0), PLUGINS))
    [processor] = asked.pop("search_pipeline")["request_processors"]
    assert processor == {
        "neural_sparse_two_phase_processor": {
            "two_phase_parameter": {"prune_ratio": 0.4, "expansion_rate": 20.05, "max_window_size": 200}
        }
    }
    assert asked == search_body(SPARSE, size=10)
    by_number = two_phase(search_body(SPARSE), QueryPruning(top_k=8), capabilities=SERVER)["search_pipeline"]
    rule = by_number["request_processors"][0]["neural_sparse_two_phase_processor"]["two_phase_parameter"]
    assert (rule["prune_type"], rule["prune_ratio"]) == ("top_k", 8)


@pytest.mark.parametrize(("size", "start", "window"), [(1, 0, 1), (7, 0, 50), (30, 40, 5), (10, 9990, 1), (3333, 0, 1)])
def test_the_window_of_the_server_reaches_the_page_s_end(size: int, start: int, window: int) -> None:
    """The server cuts size times rate to a whole number: it is the window or the page's end, and within its bounds."""
    found, largest = rate(two_phase(search_body(SPARSE, size=size, start=start), window=window, capabilities=SERVER))
    assert int(size * found) == max(window, size + start) <= largest
    assert found >= 1
    assert largest >= 50


def test_a_filter_goes_where_the_processor_sees_the_clause() -> None:
    """In bool.must it would be skipped; beside a filter a should of one that must match is the same."""
    asked = two_phase(search_body(filtered(SPARSE, FILTER)), capabilities=SERVER)
    assert asked["query"] == {"bool": {"should": [SPARSE], "minimum_should_match": 1, "filter": [FILTER]}}


@pytest.mark.parametrize(
    ("query", "more", "message"),
    [
        (best_passage(SPARSE, capabilities=SERVER), {}, "silently: neural_sparse stands in nested"),
        (filtered(best_passage(SPARSE, capabilities=SERVER), FILTER), {}, "stands in nested"),
        ({"bool": {"must": [SPARSE, match("fox")]}}, {}, "stands in bool.must"),
        ({"hybrid": {"queries": [match("fox"), SPARSE]}}, {}, "stands in hybrid"),
        ({"function_score": {"query": {"bool": {"should": [SPARSE]}}}}, {}, "stands in function_score"),
        ({"bool": {"should": [SPARSE, {"dis_max": {"queries": [SPARSE]}}]}}, {}, "stands in dis_max"),
        (weighted_terms(WEIGHTS), {}, "silently: the query has no neural_sparse"),
        (ANN, {}, "refuses two phases on a sparse_vector field"),
        (SPARSE, {"sort": [{"metadata.year": "desc"}]}, "do not go with sort"),
        (SPARSE, {"collapse": {"field": "id"}}, "do not go with collapse"),
    ],
)
def test_what_the_server_would_skip_silently_is_refused(query: Json, more: Json, message: str) -> None:
    """With the place where the clause stands, or what else stands against it."""
    with pytest.raises(QueryError, match=message):
        two_phase(search_body(query) | more, capabilities=SERVER)


@pytest.mark.parametrize(
    ("version", "plugins", "rule", "message"),
    [
        ((2, 14, 0), PLUGINS, QueryPruning(max_ratio=0.4), "needs OpenSearch 2.15"),
        ((2, 18, 0), PLUGINS, QueryPruning(top_k=8), "needs OpenSearch 2.19"),
        ((3, 6, 0), frozenset[str](), QueryPruning(max_ratio=0.4), "needs the plugin"),
    ],
)
def test_two_phases_need_their_version(
    version: tuple[int, int, int], plugins: frozenset[str], rule: QueryPruning, message: str
) -> None:
    """The processor is of 2.15, its other rules of 2.19, both of the plugin."""
    with pytest.raises(CapabilityError, match=message):
        two_phase(search_body(SPARSE), rule, capabilities=Capabilities(version, plugins))


@pytest.mark.parametrize(
    ("rule", "window", "message"),
    [
        (QueryPruning(), 50, "takes one rule"),
        (QueryPruning(max_ratio=0.1, top_k=3), 50, "takes one rule"),
        (TOP, 0, "window of 0"),
        (TOP, 10_001, "window of 10001"),
    ],
)
def test_two_phases_take_one_rule_and_a_window(rule: QueryPruning, window: int, message: str) -> None:
    """Others are refused before they are sent."""
    with pytest.raises(QueryError, match=message):
        two_phase(search_body(SPARSE), rule, window=window, capabilities=SERVER)


@pytest.fixture
def searcher(client: OpenSearch, index_name: str) -> Searcher:
    """Over four documents, one of which only a weak feature finds."""
    index_four_documents(client, index_name)
    return Searcher(client, index_name, capabilities=probe(client), sparse=Table(WEIGHTS))


@pytest.mark.server
@pytest.mark.parametrize("mode", ["neural-sparse", "weighted-terms"])
@pytest.mark.parametrize("filter_", [None, {"match": {"text": "fox"}}])
def test_a_searcher_asks_in_two_steps(searcher: Searcher, mode: str, filter_: Json | None) -> None:
    """Candidates are those with the strongest feature, scores and explanations those of the one-step."""
    asked: dict[str, Any] = {"mode": mode, "filter": filter_, "explain": True}
    one = {hit.id: hit for hit in searcher.search("fox dog run", **asked).hits}
    two = searcher.search("fox dog run", two_step=TOP, **asked)
    assert [hit.id for hit in two.hits] == ["b", "a", "d"]
    assert all(hit == one[hit.id] for hit in two.hits)
    assert [hit.id for hit in searcher.search("fox dog run", two_step=TOP, size=1, start=1, **asked).hits] == ["a"]
    assert searcher.body("fox dog run", two_step=TOP, window=500, **asked)["rescore"]["window_size"] == 500


@pytest.mark.server
@pytest.mark.parametrize("filter_", [None, {"match": {"text": "fox"}}])
def test_the_node_answers_in_two_phases(client: OpenSearch, searcher: Searcher, filter_: Json | None) -> None:
    """Same candidates and scores as the two steps by rescore, where the processor sees the clause."""
    body = searcher.body("fox dog run", mode="neural-sparse", filter=filter_)
    index = searcher.target.index

    def scores(asked: Json) -> list[tuple[str, float]]:
        return [(hit["_id"], hit["_score"]) for hit in client.search(index=index, body=asked)["hits"]["hits"]]

    expected = scores(in_two_steps(body, TOP))
    assert len(expected) == 3
    for rule in (TOP, QueryPruning(max_ratio=0.9)):
        assert scores(two_phase(body, rule, capabilities=searcher.target.capabilities)) == expected


@pytest.mark.server
def test_the_node_does_skip_what_is_refused(client: OpenSearch, searcher: Searcher) -> None:
    """In bool.must the processor has no effect: the document of the weak feature alone is still found."""
    body = searcher.body("fox dog run", mode="neural-sparse")
    pipeline = two_phase(body, TOP, capabilities=searcher.target.capabilities)["search_pipeline"]
    skipped = body | {"query": {"bool": {"must": [body["query"]]}}, "search_pipeline": pipeline}
    found = client.search(index=searcher.target.index, body=skipped)["hits"]["hits"]
    assert {hit["_id"] for hit in found} == {"a", "b", "c", "d"}
