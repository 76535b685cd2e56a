"""Fusion: query and pipeline belong together, gated by version, and the real server fuses as said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import CapabilityError, QueryError
from opensearch_splade.index_meta import DenseMeta, SparseMeta
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.query import (
    Bound,
    Fusion,
    Mode,
    Searcher,
    hybrid,
    knn,
    linear,
    match,
    neural_sparse,
    search_body,
)
from opensearch_splade.query.fusion import pool_depth
from opensearch_splade.query.fusion_spec import FUSION_METHODS
from opensearch_splade.query.mode import LEGS
from opensearch_splade.types import Capabilities

PLUGINS = frozenset({"opensearch-neural-search", "opensearch-knn", "mapper-extras"})
LATEST = Capabilities((3, 6, 0), PLUGINS)
A, B, C = match("a"), match("b"), match("c")
TAG = {"term": {"metadata.lang": "en"}}
BOUNDED = Fusion(lower_bounds=(Bound(0), None))
CAPPED = Fusion(upper_bounds=(None, Bound(9, "clip")))


def server(*version):
    """A server of that version with all plugins."""
    return Capabilities((*version, 0), PLUGINS)


def test_min_max_with_equal_weights():
    """By default all legs weigh alike and 200 hits of each are fused."""
    query, pipeline = hybrid([A, B], filter=TAG, capabilities=LATEST)
    assert query == {"hybrid": {"queries": [A, B], "filter": TAG, "pagination_depth": 200}}
    assert pipeline == {
        "phase_results_processors": [
            {
                "normalization-processor": {
                    "normalization": {"technique": "min_max"},
                    "combination": {"technique": "arithmetic_mean", "parameters": {"weights": [0.5, 0.5]}},
                }
            }
        ]
    }


def test_rrf_without_weights_needs_no_parameters():
    """Unweighted RRF is what 2.19 knows: rank constant 60, nothing else."""
    _, pipeline = hybrid([A, B], method="rrf", capabilities=server(2, 19))
    processor = {"score-ranker-processor": {"combination": {"technique": "rrf", "rank_constant": 60}}}
    assert pipeline == {"phase_results_processors": [processor]}


@pytest.mark.parametrize(
    ("method", "normalisation", "combination"),
    [
        ("l2", {"technique": "l2"}, "arithmetic_mean"),
        ("z_score", {"technique": "z_score"}, "arithmetic_mean"),
        ("min_max/geometric", {"technique": "min_max"}, "geometric_mean"),
        ("l2/harmonic", {"technique": "l2"}, "harmonic_mean"),
        (
            BOUNDED,
            {
                "technique": "min_max",
                "parameters": {"lower_bounds": [{"mode": "apply", "min_score": 0}, {"mode": "ignore"}]},
            },
            "arithmetic_mean",
        ),
        (
            CAPPED,
            {
                "technique": "min_max",
                "parameters": {"upper_bounds": [{"mode": "ignore"}, {"mode": "clip", "max_score": 9}]},
            },
            "arithmetic_mean",
        ),
    ],
)
def test_pipelines_of_the_normalisers(method, normalisation, combination):
    """Each technique and bound as the processor names it."""
    _, pipeline = hybrid([A, B], method=method, weights=[3, 1], capabilities=LATEST)
    combined = {"technique": combination, "parameters": {"weights": [0.75, 0.25]}}
    parts = {"normalization": normalisation, "combination": combined}
    assert pipeline == {"phase_results_processors": [{"normalization-processor": parts}]}


def test_a_rank_constant_of_ones_own():
    """What RRF takes beside weights."""
    _, pipeline = hybrid([A, B], method=Fusion("rrf", rank_constant=20), capabilities=LATEST)
    processor = {"score-ranker-processor": {"combination": {"technique": "rrf", "rank_constant": 20}}}
    assert pipeline == {"phase_results_processors": [processor]}


def test_a_linear_combination_is_one_bool():
    """For any server: no plugin, no pipeline; the filter also within the kNN clause; boosts beside what must match."""
    near, old = knn([1.0], 5, capabilities=LATEST), Capabilities((1, 3, 0))
    query, pipeline = hybrid([A, near], method="linear", weights=[1, 2], filter=TAG, capabilities=old)
    inside = knn([1.0], 5, filter=TAG, capabilities=LATEST)
    summed = {"should": [A, {"bool": {"should": [inside], "boost": 2}}], "minimum_should_match": 1}
    assert (query, pipeline) == ({"bool": {**summed, "filter": [TAG]}}, None)
    host = {"constant_score": {"filter": TAG, "boost": 3}}
    assert linear([A], boosts=[host]) == {
        "bool": {"must": [{"bool": {"should": [A], "minimum_should_match": 1}}], "should": [host]}
    }


def test_a_field_called_hybrid_is_no_hybrid():
    """Only a clause with queries is one."""
    assert linear([match("a", "hybrid")])["bool"]["should"] == [match("a", "hybrid")]


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_pages_of_one_depth_have_one_pool(first, second):
    """A pool holds its page, and deeper pages never have a smaller one; there are three pools in all."""
    assert pool_depth(first) >= first
    assert pool_depth(min(first, second)) <= pool_depth(max(first, second))
    assert pool_depth(first) in {200, 1_000, 10_000}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"normaliser": "l2", "lower_bounds": (Bound(0),)}, "bounds go with min_max, not with l2"),
        ({"normaliser": "rrf", "rank_constant": 0}, "a rank constant is 0: the server takes 1 to 10,000"),
        ({"normaliser": "rrf", "combination": "harmonic_mean"}, "rrf goes with arithmetic_mean"),
        ({"weights": (1.0, float("inf"))}, "they are finite"),
    ],
)
def test_fusions_that_no_server_has(arguments, message):
    """Refused where they are said."""
    with pytest.raises(QueryError, match=message):
        Fusion(**arguments)


def test_bounds_that_no_server_takes():
    """The score and the mode."""
    with pytest.raises(QueryError, match="a bound is 10001: the server takes -10,000 to 10,000"):
        Bound(10_001)
    with pytest.raises(QueryError, match="unknown mode 'cut' of a bound"):
        Bound(0, "cut")


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=5))
def test_weights_sum_to_one(weights):
    """Any positive weights are scaled to [0, 1] with the sum 1 that the server asks for (within 0.01)."""
    _, pipeline = hybrid([A] * len(weights), weights=weights, capabilities=LATEST)
    sent = pipeline["phase_results_processors"][0]["normalization-processor"]["combination"]["parameters"]["weights"]
    assert sum(sent) == pytest.approx(1.0, abs=1e-9)
    assert all(0 <= weight <= 1 for weight in sent)
    assert sorted(range(len(sent)), key=sent.__getitem__) == sorted(range(len(weights)), key=weights.__getitem__)


@pytest.mark.parametrize(
    ("legs", "options", "message"),
    [
        ([A], {}, "2 to 5 queries, not 1"),
        ([A] * 6, {}, "2 to 5 queries, not 6"),
        ([A, B], {"weights": [1.0]}, "1 weights for 2 queries"),
        ([A, B], {"weights": [1.0, 0.0]}, "hybrid weight is 0.0"),
        ([A, B], {"weights": [1.0, float("nan")]}, "hybrid weight is nan"),
        ([A, B], {"method": "z"}, "unknown fusion 'z': choose one of min_max, rrf, l2, z_score, min_max/geometric"),
        ([A, B, C], {"method": BOUNDED}, "2 bounds for 3 queries"),
        ([A, {"bool": {"must": [{"hybrid": {"queries": [A]}}]}}], {}, "query 2 holds a hybrid, which the server takes"),
        ([{"hybrid": {"queries": [A]}}, B], {"method": "linear"}, "query 1 holds a hybrid"),
        ([A, B], {"method": "linear", "weights": [1.0]}, "1 weights for 2 queries"),
        ([A, B], {"method": Fusion(weights=(1, 0))}, "hybrid weight is 0: it must be positive"),
    ],
)
def test_what_cannot_be_fused(legs, options, message):
    """The number of legs, the weights and the method are checked before the server is asked."""
    with pytest.raises(QueryError, match=message):
        hybrid(legs, capabilities=LATEST, **options)


@pytest.mark.parametrize(
    ("version", "options", "message"),
    [
        ((2, 9), {}, "a hybrid query needs OpenSearch 2.10 or later; this server is 2.9.0"),
        ((2, 19), {"method": "z_score"}, "hybrid by z-scores needs OpenSearch 3.0 or later; this server is 2.19.0"),
        ((2, 19), {"method": BOUNDED}, "min-max with lower bounds needs OpenSearch 3.0 or later"),
        ((3, 1), {"method": CAPPED}, "min-max with upper bounds needs OpenSearch 3.2 or later"),
        ((2, 17), {"method": "rrf"}, "hybrid by RRF needs OpenSearch 2.19 or later; this server is 2.17.0"),
        ((3, 0), {"method": "rrf", "weights": [1, 2]}, "hybrid by RRF with weights needs OpenSearch 3.1 or later"),
    ],
)
def test_version_gates(version, options, message):
    """A server that would answer with wrong scores is not asked."""
    with pytest.raises(CapabilityError, match=message):
        hybrid([A, B], capabilities=server(*version), **options)


def test_a_server_without_hybrids_has_two_ways_out():
    """The error names them, and the linear one works there."""
    bare = Capabilities((3, 6, 0))
    with pytest.raises(CapabilityError, match=r"leg by leg \(`search_fused`\), or for a linear combination"):
        hybrid([A, B], capabilities=bare)
    assert hybrid([A, B], method="linear", capabilities=bare)[1] is None


def test_a_filter_goes_into_each_leg_before_3_0():
    """An older server has no filter of the whole hybrid; each leg gets it, kNN inside."""
    near = knn([1.0], 5, capabilities=LATEST)
    query, _ = hybrid([A, near], filter=TAG, capabilities=server(2, 19))
    legs = [{"bool": {"must": [A], "filter": [TAG]}}, knn([1.0], 5, filter=TAG, capabilities=LATEST)]
    assert query == {"hybrid": {"queries": legs, "pagination_depth": 200}}
    assert hybrid([A, B], capabilities=server(2, 18))[0] == {"hybrid": {"queries": [A, B]}}


@pytest.mark.parametrize(
    "text",
    [
        *LEGS,
        *(f"bm25+knn:{method}" for method in FUSION_METHODS[1:]),
        "hybrid",
        "hybrid:rrf",
        "bm25+knn",
        "knn+bm25:rrf",
        "bm25+neural-sparse+knn:rrf",
    ],
)
def test_modes_round_trip(text):
    """A mode's text is its parse format."""
    assert str(Mode.parse(text)) == text


def test_min_max_is_the_default_fusion():
    """Naming the default changes nothing; a single ranking has no fusion."""
    assert Mode.parse("bm25+knn:min_max") == Mode.parse("bm25+knn") == Mode(("bm25", "knn"), "min_max")
    assert Mode.parse("knn") == Mode(("knn",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unknown ranking ''; choose hybrid, or one or more of bm25, weighted-terms, neural-sparse, knn"),
        ("bm26", "unknown ranking 'bm26'"),
        ("bm25+", "unknown ranking ''"),
        ("bm25+knn:", "unknown fusion ''; choose one of min_max, rrf, l2, z_score"),
        ("bm25+hybrid", "unknown ranking 'hybrid'"),
        ("knn+knn", "names a ranking twice"),
        ("knn:rrf", "names a fusion for a single ranking; write 'knn'"),
    ],
)
def test_bad_modes_list_the_choices(text, message):
    """A typing error is answered with what there is."""
    with pytest.raises(QueryError, match=message):
        Mode.parse(text)


# On the real node


@pytest.fixture
def legs(client, index_name):
    """Three legs over 30 documents that each rank differently; half of the documents are tagged ``en``."""
    capabilities = probe(client)
    sparse, dense = SparseMeta("s", "tiny", "siamese"), DenseMeta("d", "mini", 2)
    client.indices.create(index=index_name, body=index_body(sparse=sparse, dense=dense, capabilities=capabilities))
    lines = []
    for i in range(30):
        angle = (i * 7 % 30) / 30
        source = {
            "text": "fox " * (i % 5) + "dog " * (i % 3 + 1),
            "sparse": {"fox": 0.5 + i / 10, "bear": 3.0 - i / 11},
            "dense": [(1 - angle**2) ** 0.5, angle],
            "metadata": {"lang": "en" if i % 2 else "de"},
        }
        lines += [{"index": {"_id": str(i)}}, source]
    assert not client.bulk(index=index_name, body=lines, refresh=True)["errors"]
    tokens = neural_sparse({"fox": 2.0, "bear": 1.0}, capabilities=capabilities)
    return [match("fox"), tokens, knn([1.0, 0.0], 30, capabilities=capabilities)]


def ask(client, index, query, pipeline=None, size=30):
    """Document id to score, best first."""
    answer = client.search(index=index, body=search_body(query, size=size, search_pipeline=pipeline))
    return {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}


def min_max(found):
    """Scores to [0, 1]; the server gives the lowest 0.001 so that it stays a hit."""
    low, high = min(found.values()), max(found.values())
    return {key: max((score - low) / (high - low), 0.001) for key, score in found.items()}


@pytest.mark.server
@pytest.mark.parametrize("weights", [None, [3.0, 2.0, 1.0]])
def test_server_fuses_by_min_max(client, index_name, legs, weights):
    """The fused score is the weighted mean of the legs' scaled scores, in [0, 1], each document once."""
    capabilities = probe(client)
    alone = [min_max(ask(client, index_name, leg)) for leg in legs]
    shares = [weight / 6 for weight in weights or [2, 2, 2]]
    query, pipeline = hybrid(legs, weights=weights, capabilities=capabilities)
    found = ask(client, index_name, query, pipeline)
    expected = {key: sum(s * a.get(key, 0) for s, a in zip(shares, alone, strict=True)) for key in found}
    assert len(found) == 30
    assert found == pytest.approx(expected, abs=1e-3)
    assert all(0 <= score <= 1 for score in found.values())


@pytest.mark.server
@pytest.mark.parametrize(("weights", "factors"), [(None, [1.0, 1.0]), ([3.0, 1.0], [0.75, 0.25])])
def test_server_fuses_by_reciprocal_ranks(client, index_name, legs, weights, factors):
    """The fused score is the (weighted) sum of 1 / (60 + rank) over the legs, ranks from 1."""
    tokens, near = legs[1:]  # no ties in these
    query, pipeline = hybrid([tokens, near], method="rrf", weights=weights, capabilities=probe(client))
    ranks = [{key: rank for rank, key in enumerate(ask(client, index_name, leg), 1)} for leg in (tokens, near)]
    expected = {
        key: sum(factor / (60 + rank[key]) for factor, rank in zip(factors, ranks, strict=True)) for key in ranks[0]
    }
    assert ask(client, index_name, query, pipeline) == pytest.approx(expected, rel=1e-4)


@pytest.mark.server
@pytest.mark.parametrize("method", ["min_max", "rrf"])
def test_server_filters_every_leg(client, index_name, legs, method):
    """A hybrid's filter holds for all legs, written for 3.x and for 2.x alike, with the same hits."""
    query, pipeline = hybrid(legs, method=method, filter=TAG, capabilities=probe(client))
    older, _ = hybrid(legs, method=method, filter=TAG, capabilities=server(2, 19))
    found = ask(client, index_name, query, pipeline)
    assert {int(key) % 2 for key in found} == {1}
    assert len(found) == 15
    assert ask(client, index_name, older, pipeline) == pytest.approx(found)


@pytest.mark.server
@pytest.mark.parametrize("method", ["min_max", "rrf"])
def test_server_scores_do_not_move_with_the_size(client, index_name, legs, method):
    """With a fixed pool the first hits and their scores are the same for any size."""
    query, pipeline = hybrid(legs, method=method, capabilities=probe(client))
    few, many = (ask(client, index_name, query, pipeline, size) for size in (5, 30))
    assert few == {key: many[key] for key in few}
    assert sorted(few.values()) == sorted(many.values())[-5:]


@pytest.mark.server
def test_server_fuses_a_leg_without_hits(client, index_name, legs):
    """A leg that matches nothing takes no part; the others' hits stay."""
    nothing = neural_sparse({}, capabilities=probe(client))
    query, pipeline = hybrid([nothing, legs[1]], capabilities=probe(client))
    assert len(ask(client, index_name, query, pipeline)) == 30


class Fox:
    """A query encoder that knows one word."""

    fingerprint = "s"

    def encode_query(self, _text):
        """The same for every question."""
        return {"fox": 1.0}


@pytest.mark.server
@pytest.mark.parametrize("method", ["min_max", "rrf", "z_score"])
def test_deep_pages_are_cut_from_one_pool(client, index_name, method):
    """Beyond rank 200 too: pages up to 400 of one ranking, though each ends deeper than the one before."""
    capabilities, sparse = probe(client), SparseMeta("s", "tiny", "siamese")
    client.indices.create(index=index_name, body=index_body(sparse=sparse, capabilities=capabilities))
    lines = []
    for i in range(450):
        source = {"id": str(i), "encoded": ["s"], "text": "fox " + f"w{i} " * (i * 7 % 450)}
        lines += [{"index": {"_id": str(i)}}, {**source, "sparse": {"fox": 0.5 + (i * 11 % 450) / 450}}]
    assert not client.bulk(index=index_name, body=lines, refresh=True)["errors"]
    searcher = Searcher(client, index_name, capabilities=capabilities, sparse=Fox())

    def page(start, size):
        found = searcher.search("fox", mode=f"hybrid:{method}", start=start, size=size, ids_only=True)
        return [(hit.id, hit.score) for hit in found.hits]

    whole = page(200, 200)
    assert [one for start in range(200, 400, 40) for one in page(start, 40)] == whole
    assert len({document for document, _ in whole}) == 200
