"""Bodies of anyone's making: each rule is broken once, and the real node shows what refusing it spares."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from opensearchpy import OpenSearch, Search
from opensearchpy.exceptions import TransportError

from opensearch_splade.errors import CapabilityError, QueryError
from opensearch_splade.evaluation.templates import Template
from opensearch_splade.query import (
    Fusion,
    check_body,
    constant_boost,
    filtered,
    hybrid,
    knn,
    linear,
    match,
    search_body,
)
from opensearch_splade.query.body_check import RULES
from opensearch_splade.query.dsl import Hybrid, Q
from opensearch_splade.query.fusion_spec import FUSION_METHODS
from opensearch_splade.types import Capabilities, Json

GOLDEN = json.loads((Path(__file__).resolve().parent / "golden_clauses.json").read_text(encoding="utf-8"))
LATEST = Capabilities((3, 6, 0), frozenset({"opensearch-neural-search", "opensearch-knn", "mapper-extras"}))
FOX, DOG, NEAR = match("fox"), match("dog"), knn([0.6, 0.8], 3, capabilities=LATEST)
GROUP = {"term": {"group": "b"}}
PIPELINE = Fusion().pipeline(2)

RANKS = Fusion("rrf").pipeline(2)


def fused(*queries: Json, **more: object) -> Json:
    """A whole search of a hybrid as it should be."""
    legs = list(queries or (FOX, DOG))
    return {"query": {"hybrid": {"queries": legs}}, "search_pipeline": Fusion().pipeline(len(legs)), **more}


def weighted(*weights: float) -> Json:
    """A hybrid of two queries with weights as they are."""
    parts = {"combination": {"technique": "arithmetic_mean", "parameters": {"weights": list(weights)}}}
    return fused() | {"search_pipeline": {"phase_results_processors": [{"normalization-processor": parts}]}}


HYBRID = fused()["query"]


@dataclass(frozen=True)
class Broken:
    """A body that breaks a rule.

    Attributes:
        rule: Its name.
        body: What check_body refuses.
        refusal: What the server says; empty if it answers.
        meant: Of an answer: the body that asks for what was meant, and that answers otherwise.
        read_as: Of an answer: what the server took it for, where there is such a body.
    """

    rule: str
    body: Json
    refusal: str = ""
    meant: Json | None = None
    read_as: Json | None = None


NESTED, WEIGHTS = "a hybrid within another query", "weights of a hybrid"
TOP = "hybrid query must be a top level query"
SUM = {"query": {"bool": {"should": [FOX, DOG]}}}
BROKEN = [
    Broken(NESTED, {**fused(), "query": Q("bool", must=[Hybrid(queries=[FOX, DOG])]).to_dict()}, "", fused(), SUM),
    Broken(NESTED, {**fused(), "query": {"bool": {"should": [HYBRID]}}}, "", fused(), SUM),
    Broken(NESTED, {**fused(), "query": {"bool": {"must": [FOX], "filter": [HYBRID]}}}, TOP),
    Broken(NESTED, {**fused(), "query": {"constant_score": {"filter": HYBRID}}}, TOP),
    Broken(NESTED, {**fused(), "query": {"function_score": {"query": HYBRID}}}, TOP),
    Broken(NESTED, {**fused(), "query": {"dis_max": {"queries": [HYBRID, FOX]}}}, TOP),
    Broken(
        NESTED,
        {**fused(), "query": {"boosting": {"positive": HYBRID, "negative": {"match_none": {}}, "negative_boost": 0.5}}},
        "",
        fused(),
        SUM,
    ),
    Broken(NESTED, fused(HYBRID, NEAR), "", fused(FOX, DOG, NEAR), fused(SUM["query"], NEAR)),
    Broken(
        NESTED,
        {"query": FOX, "rescore": {"window_size": 99, "query": {"rescore_query": HYBRID, "query_weight": 0.0}}},
        "",
        fused(),
        {"query": FOX, "rescore": {"window_size": 99, "query": {"rescore_query": SUM["query"], "query_weight": 0.0}}},
    ),
    Broken("a hybrid of no queries, or of more than five", fused(*[FOX] * 6), "exceeds maximum supported"),
    Broken(
        "a hybrid of no queries, or of more than five",
        {"query": {"hybrid": {"queries": []}}, "search_pipeline": PIPELINE},
        "malformed",
    ),
    Broken("a hybrid without a search pipeline that fuses", {"query": HYBRID}, "", fused()),
    Broken(
        "a hybrid without a search pipeline that fuses",
        {"query": HYBRID, "search_pipeline": {"request_processors": []}},
        "",
        fused(),
    ),
    Broken(WEIGHTS, weighted(0.5, 0.25, 0.25), "number of weights .* must match number of sub-queries"),
    Broken(WEIGHTS, weighted(1.0, 2.0), "all weights must be in range"),
    Broken(WEIGHTS, weighted(0.4, 0.5), "sum of weights for combination must be equal to 1.0"),
    Broken(WEIGHTS, weighted(0, 1), "Integer cannot be cast to class java.lang.Double"),
    Broken("a hybrid that collapses", fused(collapse={"field": "group"}, size=3), "", fused(size=3)),
    Broken(
        "a hybrid that is rescored",
        fused(rescore={"window_size": 99, "query": {"rescore_query": DOG, "query_weight": 1.0}}),
        "",
        fused(),
        fused(SUM["query"], {"bool": {"must": [DOG], "should": [DOG]}}),
    ),
    Broken("a hybrid with post_filter", fused(post_filter=GROUP), "", fused()),
    Broken(
        "a hybrid sorted by _score and more", fused(sort=["_score", {"number": "asc"}]), "cannot be applied with any"
    ),
    Broken("a page of a hybrid without pagination_depth", {**fused(), "from": 2}, "pagination_depth param is missing"),
    Broken(
        "a weight of neural_sparse out of (0, 64]",
        {"query": {"neural_sparse": {"sparse": {"query_tokens": {"fox": 65.0}}}}},
        r"weight must be in \(0, 64",
    ),
    Broken(
        "a filter around a kNN query",
        {"query": {"bool": {"must": [NEAR], "filter": [GROUP]}}},
        "",
        {"query": filtered(NEAR, GROUP)},
    ),
]


@pytest.fixture(scope="module")
def index(client: OpenSearch) -> Iterator[str]:
    """Twelve documents in three groups, in an index with a nested field: there the server refuses the least."""
    name = f"test-body-check-{uuid.uuid4().hex[:8]}"
    method = {"name": "hnsw", "engine": "lucene", "space_type": "innerproduct"}
    fields = {
        "text": {"type": "text"},
        "group": {"type": "keyword"},
        "number": {"type": "integer"},
        "sparse": {"type": "rank_features"},
        "passages": {"type": "nested", "properties": {"text": {"type": "text"}}},
        "dense": {"type": "knn_vector", "dimension": 2, "method": method},
    }
    client.indices.create(
        index=name,
        body={"settings": {"index.knn": True, "number_of_shards": 1}, "mappings": {"properties": fields}},
    )
    lines: list[Json] = []
    for number in range(12):
        text = "fox " * (number % 4 + 1) + "dog " * number
        dense = [0.6 + number / 20, 0.8 - number / 10]
        sparse = {"fox": 1 + number / 4}
        lines += [
            {"index": {"_id": str(number)}},
            {"text": text, "group": "abc"[number % 3], "number": number, "sparse": sparse, "dense": dense},
        ]
    assert not client.bulk(index=name, body=lines, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


@pytest.fixture
def ask(client: OpenSearch, index: str) -> Callable[[Json], dict[str, float]]:
    """The scores of a search, by document."""

    def asked(body: Json) -> dict[str, float]:
        hits = client.search(index=index, body={"size": 12, **body})["hits"]["hits"]
        return {hit["_id"]: round(hit["_score"], 5) for hit in hits}

    return asked


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.rule)
def test_it_is_refused_with_what_to_write_instead(broken: Broken) -> None:
    """By its name, before anything is sent; what was meant passes."""
    with pytest.raises(QueryError, match=f"^{re.escape(broken.rule)}: .*; "):
        check_body(broken.body, LATEST)
    if broken.meant:
        assert check_body(broken.meant, LATEST) == broken.meant


def test_every_rule_is_shown() -> None:
    """None stands in the table that the server was not asked about."""
    assert {one.rule for one in BROKEN} == {rule.name for rule in RULES}


@pytest.mark.server
@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: one.rule)
def test_what_the_server_makes_of_it(broken: Broken, client: OpenSearch, index: str, ask: Callable) -> None:
    """It refuses, or it answers otherwise than what was meant is answered, and without a word."""
    if broken.refusal:
        with pytest.raises(TransportError, match=f"(?s){broken.refusal}") as refused:
            raise _told(client, index, broken.body)
        assert refused.value.status_code in {400, 500}
        return
    found, meant = ask(broken.body), ask(broken.meant)
    assert any(score != meant.get(document) for document, score in found.items()) or len(found) < len(meant)
    if broken.read_as:
        assert found == ask(broken.read_as)


def _told(client: OpenSearch, index: str, body: Json) -> TransportError:
    """The refusal with all its reasons, as its text names only the first."""
    try:
        client.search(index=index, body=body)
    except TransportError as error:
        return TransportError(error.status_code, json.dumps(error.info), error.info)
    raise AssertionError("the server answered")


@pytest.mark.server
def test_a_collapsing_hybrid_loses_the_best_of_a_group(ask: Callable) -> None:
    """Of three groups three hits are wanted, and one of them is not its group's best."""
    best: dict[str, str] = {}
    for document in ask(fused()):
        best.setdefault("abc"[int(document) % 3], document)
    collapsed = ask(fused(collapse={"field": "group"}, size=3))
    assert len(collapsed) == len(best) == 3
    assert set(collapsed) != set(best.values())


# What is not refused


@pytest.mark.parametrize("name", GOLDEN)
def test_clauses_of_our_own_pass(name: str) -> None:
    """Every builder keeps the rules, alone, filtered and boosted."""
    query = GOLDEN[name]["body"]
    check_body(search_body(query))
    check_body(search_body(filtered(query, GROUP)))


@pytest.mark.parametrize("method", FUSION_METHODS)
@pytest.mark.parametrize("weights", [None, [1, 3, 2]])
def test_hybrids_of_our_own_pass(method: str, weights: list[int] | None) -> None:
    """With their pipelines, filtered, in any page."""
    query, pipeline = hybrid([FOX, NEAR, DOG], method=method, weights=weights, filter=GROUP, capabilities=LATEST)
    check_body(search_body(query, start=20, search_pipeline=pipeline), LATEST)
    check_body(search_body(linear([FOX, NEAR], boosts=[constant_boost(GROUP, 2.0)], filter=GROUP)), LATEST)


def test_what_is_no_hybrid_may_be_called_so() -> None:
    """A field of that name is a field, and a template's places are not judged."""
    check_body({"query": {"bool": {"must": [match("fox", "hybrid")]}}})
    check_body(fused("{{sparse}}", FOX) | {"search_pipeline": "stored"})


def test_searches_of_the_dsl() -> None:
    """A ``Search`` is taken as it is; a hybrid in a plain ``Bool``, which no class can catch, is caught here."""
    legs = [Q(FOX), Q(DOG)]
    good = Search().query("hybrid", queries=legs).extra(search_pipeline=PIPELINE)
    assert check_body(good, LATEST) == good.to_dict()
    with pytest.raises(QueryError, match=NESTED):
        check_body(Search().query("bool", must=[Hybrid(queries=legs)]).extra(search_pipeline=PIPELINE))
    with pytest.raises(QueryError, match="a search body is a JSON object, not list"):
        check_body([])


@pytest.mark.parametrize(
    ("body", "version", "message"),
    [
        (fused(), (2, 9), "a hybrid query needs OpenSearch 2.10"),
        ({**fused(), "query": {"hybrid": {"queries": [FOX, DOG], "filter": GROUP}}}, (2, 19), "a filter of a hybrid"),
        ({"query": HYBRID, "search_pipeline": RANKS}, (2, 18), "by RRF needs OpenSearch 2.19"),
        ({"query": GOLDEN["neural_sparse"]["body"]}, (2, 13), "neural_sparse with query_tokens"),
        ({"query": GOLDEN["seismic"]["body"]}, (3, 2), "sparse_vector field needs OpenSearch 3.3"),
        ({"query": NEAR}, (2, 3), "a kNN query"),
    ],
)
def test_versions_are_asked_for(body: Json, version: tuple[int, int], message: str) -> None:
    """What a server of that age lacks is named; without capabilities only the rules are checked."""
    with pytest.raises(CapabilityError, match=message):
        check_body(body, Capabilities((*version, 0), LATEST.plugins))
    check_body(body, LATEST)
    check_body(body)


def test_templates_are_checked_when_they_are_read(tmp_path: Path) -> None:
    """The evaluation names the file, not a question's failure."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"query": {"hybrid": {"queries": [match("{{query}}"), "{{sparse}}"]}}}))
    with pytest.raises(QueryError, match=r"mine\.json: a hybrid without a search pipeline"):
        Template.load(str(path))
    path.write_text(json.dumps(fused(match("{{query}}"), "{{sparse}}")))
    assert Template.load(str(path)).places == {"{{query}}", "{{sparse}}"}
