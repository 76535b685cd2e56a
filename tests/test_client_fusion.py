"""Fusion on the client: it computes what the server computes, on one shard and on three, and pages are cuts of it."""

from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opensearch_splade.errors import ClusterError, QueryError
from opensearch_splade.evaluation.fused_runs import Pool, fused_runs
from opensearch_splade.index_meta import DenseMeta, PassagesMeta, SparseMeta
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.plugin.search_pipelines import pipeline_name, stored_pipeline
from opensearch_splade.query import (
    Bound,
    Fusion,
    Searcher,
    hybrid,
    knn,
    linear,
    match,
    neural_sparse,
    search_body,
)
from opensearch_splade.query.client_fusion import fuse
from opensearch_splade.query.client_search import search_fused
from opensearch_splade.query.fusion_spec import FUSION_METHODS

HYBRIDS = [method for method in FUSION_METHODS if method != "linear"]
SCORED = [method for method in HYBRIDS if method != "rrf"]
DOCUMENTS = 90
TAG = {"term": {"metadata.lang": "en"}}

scores = st.lists(st.floats(0.125, 100, width=32), max_size=12).map(lambda found: sorted(found, reverse=True))
weights = st.lists(st.floats(0.1, 10), min_size=3, max_size=3).map(tuple)
bounds = st.none() | st.builds(Bound, st.floats(-2, 8), st.sampled_from(["apply", "clip", "ignore"]))


@st.composite
def rankings(draw):
    """Three rankings of one question over the same twelve documents, each finding some of them."""
    return [dict(zip(draw(st.permutations("abcdefghijkl")), draw(scores), strict=False)) for _ in range(3)]


# Without a node


@given(rankings(), st.sampled_from(HYBRIDS), weights)
def test_one_vector_of_weights_and_many_are_fused_alike(legs, method, shares) -> None:
    """The tuner's arrays give the ranking that a search with the chosen weights gets."""
    fusion = replace(Fusion.parse(method), weights=shares)
    one, many = fuse(legs, fusion), fused_runs(fusion, {"q": Pool.of(legs)})["q"]
    assert one == pytest.approx(many, rel=1e-5, abs=1e-7)


@given(rankings(), st.sampled_from(FUSION_METHODS))
def test_every_found_document_is_ranked_once_and_best_first(legs, method) -> None:
    """No document is lost or made up, whatever the fusion; equal scores go by the larger id."""
    found = fuse(legs, method)
    assert set(found) == {document for leg in legs for document in leg}
    order = [(score, document) for document, score in found.items()]
    assert order == sorted(order, reverse=True)


@given(rankings(), st.floats(0.5, 4, width=16), st.sampled_from(["min_max", "rrf", "l2", "l2/harmonic"]))
def test_scales_of_scores_do_not_matter(legs, factor, method) -> None:
    """A leg whose scores are all multiplied is fused as before: what a linear combination cannot say of itself."""
    scaled = [{document: score * factor for document, score in legs[0].items()}, *legs[1:]]
    assert fuse(scaled, method) == pytest.approx(fuse(legs, method), rel=1e-4, abs=1e-6)


def test_documents_that_a_leg_lacks() -> None:
    """Arithmetic counts a missing leg as 0, geometric and harmonic leave it out, linear knows a cut leg's least."""
    legs = [{"a": 4.0, "b": 2.0}, {"a": 3.0, "c": 1.0}]
    assert fuse(legs, "min_max") == pytest.approx({"a": 1, "c": 0.0005, "b": 0.0005})
    assert fuse(legs, "min_max/geometric") == pytest.approx({"a": 1, "c": 0.001, "b": 0.001})
    assert fuse(legs, "linear") == {"a": 7, "b": 2, "c": 1}
    assert fuse(legs, "linear", candidates=2) == {"a": 7, "b": 3, "c": 3}
    assert fuse([], "min_max") == {}
    assert fuse([{}, {"a": 1.0}], Fusion(weights=(3, 1))) == {"a": 0.25}


def test_bounds_move_the_scale() -> None:
    """A lower bound of 0 keeps the proportions of scores; clipped ones are .001 below and 1 above."""
    leg = {"a": 8.0, "b": 4.0, "c": 2.0}
    assert fuse([leg], Fusion(lower_bounds=(Bound(0),))) == pytest.approx({"a": 1, "b": 0.5, "c": 0.25})
    clipped = Fusion(lower_bounds=(Bound(3, "clip"),), upper_bounds=(Bound(7, "clip"),))
    assert fuse([leg], clipped) == pytest.approx({"a": 1, "b": 0.25, "c": 0.001})
    assert fuse([leg], Fusion(lower_bounds=(Bound(3, "ignore"),))) == fuse([leg])


def test_what_cannot_be_fused_is_said() -> None:
    """Weights and bounds are one for each leg."""
    with pytest.raises(QueryError, match="2 weights for 1 queries"):
        fuse([{"a": 1.0}], Fusion(weights=(1, 2)))
    with pytest.raises(QueryError, match="unknown fusion 'borda': choose one of min_max, rrf, l2"):
        fuse([], "borda")


# On the real node


@pytest.fixture(scope="module", params=[1, 3])
def shards(request):
    """How many the index has."""
    return request.param


@pytest.fixture(scope="module")
def filled(client, shards):
    """Ninety documents without ties, some of which a leg does not find; about half are English."""
    name, capabilities = f"test-{uuid.uuid4().hex[:12]}", probe(client)
    sparse, dense = SparseMeta("s1", "tiny", "siamese"), DenseMeta("d1", "mini", 2)
    body = index_body(sparse=sparse, dense=dense, shards=shards, capabilities=capabilities)
    client.indices.create(index=name, body=body)
    random = np.random.default_rng(7)
    lines = []
    for place in range(DOCUMENTS):
        angle = float(random.uniform(0, 1.5))
        words = ["fox"] * int(random.integers(1, 9)) + [f"w{n}" for n in range(int(random.integers(1, 90)))]
        source = {
            "id": str(place),
            "encoded": ["s1", "d1"],
            "text": " ".join(words) if place % 2 else "dog",
            "sparse": {("fox" if place % 3 else "bear"): float(random.uniform(0.1, 3))},
            "dense": [np.cos(angle), np.sin(angle)],
            "metadata": {"lang": "en" if place % 5 < 3 else "de"},
        }
        lines += [{"index": {"_id": str(place)}}, source]
    assert not client.bulk(index=name, body=lines, refresh=True)["errors"]
    yield name
    client.indices.delete(index=name)


def legs_of(client):
    """Three legs, the kNN one with fewer hits than there are documents."""
    capabilities = probe(client)
    return [
        match("fox"),
        neural_sparse({"fox": 2.0}, capabilities=capabilities),
        knn([1.0, 0.0], 25, capabilities=capabilities),
    ]


def ask(client, index, query, pipeline=None, size=DOCUMENTS, shard=None):
    """Document to score, best first."""
    body = search_body(query, size=size, search_pipeline=pipeline)
    options = {} if shard is None else {"preference": f"_shards:{shard}"}
    answer = client.search(index=index, body=body, params=options)
    return {hit["_id"]: hit["_score"] for hit in answer["hits"]["hits"]}


@pytest.mark.server
@settings(max_examples=40, deadline=None)
@given(method=st.sampled_from(SCORED), shares=st.none() | weights, data=st.data())
def test_client_and_server_fuse_alike(client, filled, method, shares, data) -> None:
    """All techniques, weights and bounds: the same documents and scores where all hits are candidates.

    Held on one shard and on three: the server normalises over the candidates of all shards together.
    """
    fusion = replace(Fusion.parse(method), weights=shares or ())
    if method.startswith("min_max"):
        lower, upper = (data.draw(st.just(()) | st.tuples(bounds, bounds, bounds)) for _ in range(2))
        fusion = replace(fusion, lower_bounds=lower, upper_bounds=upper)
    legs = legs_of(client)
    query, pipeline = hybrid(legs, method=fusion, capabilities=probe(client))
    own = fuse([ask(client, filled, leg) for leg in legs], fusion)
    assert ask(client, filled, query, pipeline) == pytest.approx(own, abs=2e-6, rel=1e-5)


@pytest.mark.server
@settings(max_examples=15, deadline=None)
@given(method=st.sampled_from(SCORED), depth=st.integers(3, 20))
def test_where_the_pool_is_cut_the_server_cuts_each_shard(client, filled, shards, method, depth) -> None:
    """The server fuses the best ``depth`` of every shard, the client the best ``depth`` of all: told apart here.

    Given what the server pools, the client gives the same scores; of one shard both pools are one.
    """
    legs = legs_of(client)
    query, pipeline = hybrid(legs, method=method, pagination_depth=depth, capabilities=probe(client))
    found = ask(client, filled, query, pipeline, size=depth)
    each = [[ask(client, filled, leg, size=depth, shard=shard) for shard in range(shards)] for leg in legs]
    pools = [dict(sorted(((d, s) for part in leg for d, s in part.items()), key=lambda e: -e[1])) for leg in each]
    own = fuse(pools, method)
    assert list(found.values()) == pytest.approx(list(own.values())[:depth], abs=2e-6, rel=1e-5)
    if shards == 1:
        assert list(found.values()) == pytest.approx(
            list(fuse([ask(client, filled, leg) for leg in legs], method, candidates=depth).values())[:depth],
            abs=2e-6,
            rel=1e-5,
        )


@pytest.mark.server
@settings(max_examples=20, deadline=None)
@given(shares=st.none() | weights, constant=st.integers(1, 200))
def test_reciprocal_ranks(client, filled, shares, constant) -> None:
    """The same ranks on one shard and on three (since 3.5), but for hits that a leg scores alike."""
    fusion = Fusion("rrf", weights=shares or (), rank_constant=constant)
    legs = legs_of(client)
    query, pipeline = hybrid(legs, method=fusion, capabilities=probe(client))
    rankings = [ask(client, filled, leg) for leg in legs]
    found, own = ask(client, filled, query, pipeline), fuse(rankings, fusion)
    assert found.keys() == own.keys()
    tied = {
        document
        for ranking in rankings
        for document, score in ranking.items()
        if list(ranking.values()).count(score) > 1
    }
    alone = [document for document in own if document not in tied]
    assert len(alone) > DOCUMENTS / 2
    assert {document: found[document] for document in alone} == pytest.approx(
        {document: own[document] for document in alone}, abs=1e-7, rel=1e-5
    )


@pytest.mark.server
@settings(max_examples=15, deadline=None)
@given(shares=weights, boost=st.floats(0.1, 5))
def test_a_linear_combination_is_the_sum(client, filled, shares, boost) -> None:
    """Weights times scores, plus the boost where its query matches; a boost alone finds nothing; the filter holds."""
    legs = legs_of(client)
    boosts = [{"constant_score": {"filter": TAG, "boost": boost}}]
    own = fuse([ask(client, filled, leg) for leg in legs], Fusion("raw", weights=shares))
    assert ask(client, filled, linear(legs, weights=shares)) == pytest.approx(own, rel=1e-5)
    found = ask(client, filled, linear(legs, weights=shares, boosts=boosts))
    expected = {document: own[document] + boost * (int(document) % 5 < 3) for document in own}
    assert found == pytest.approx(expected, rel=1e-5)
    assert ask(client, filled, linear([match("nothing")], boosts=boosts)) == {}
    assert {int(document) % 5 for document in ask(client, filled, linear(legs, filter=TAG))} == {0, 1, 2}
    near = ask(client, filled, linear(legs[2:], filter=TAG))  # the filter is within: 25 of each segment are left
    assert len(near) >= 25


@pytest.mark.server
def test_a_linear_combination_may_have_many_legs(client, filled) -> None:
    """The limit of five is the hybrid's."""
    legs = [match(f"w{place}") for place in range(7)]
    assert len(ask(client, filled, linear(legs))) > 0
    with pytest.raises(QueryError, match="add those of one scale up to one leg"):
        hybrid(legs, capabilities=probe(client))


class Fox:
    """A query encoder that knows one word."""

    fingerprint = "s1"

    def encode_query(self, _text):
        """The same for every question."""
        return {"fox": 2.0}


class East:
    """A dense query encoder that looks one way."""

    fingerprint = "d1"

    def embed_query(self, _text):
        """The same for every question."""
        return [1.0, 0.0]


@pytest.fixture
def searcher(client, filled):
    """Over all three legs."""
    return Searcher(client, filled, capabilities=probe(client), sparse=Fox(), dense=East())


def scored(result):
    """Document to score, best first."""
    return {hit.id: hit.score for hit in result.hits}


@pytest.mark.server
@pytest.mark.parametrize("method", ["min_max", "z_score", "l2/geometric"])
@pytest.mark.parametrize("filter", [None, TAG])
def test_a_search_is_the_same_from_either_side(searcher, method, filter) -> None:
    """Hits, scores and texts of a hybrid asked of the server and of one fused here; the filter is in every leg."""
    how = {"mode": f"hybrid:{method}", "filter": filter, "size": 60}
    server, own = searcher.search("a fox", **how), search_fused(searcher, "a fox", **how)
    assert scored(own) == pytest.approx(scored(server), abs=2e-6, rel=1e-5)
    texts = {hit.id: hit.text for hit in server.hits}
    assert {hit.id: hit.text for hit in own.hits} == {hit.id: texts[hit.id] for hit in own.hits}
    if filter:
        assert {hit.metadata["lang"] for hit in own.hits} == {"en"}


@pytest.mark.server
@settings(max_examples=12, deadline=None)
@given(method=st.sampled_from(FUSION_METHODS), size=st.integers(4, 40))
def test_pages_are_cuts_of_one_ranking(client, filled, method, size) -> None:
    """Page by page each document comes once, with the score and in the place that one large page gives it."""
    asker = Searcher(client, filled, capabilities=probe(client), sparse=Fox(), dense=East())
    for search in (asker.search, lambda *question, **how: search_fused(asker, *question, **how)):
        whole = list(scored(search("a fox", mode=f"hybrid:{method}", size=80)).items())
        pages = [
            entry
            for start in range(0, 80, size)
            for entry in scored(
                search("a fox", mode=f"hybrid:{method}", size=min(size, 80 - start), start=start)
            ).items()
        ]
        assert pages == whole


@pytest.mark.server
def test_pages_beyond_the_candidates_are_refused(searcher) -> None:
    """Instead of a ranking that changes on the way."""
    with pytest.raises(QueryError, match="a page ends within the candidates"):
        search_fused(searcher, "a fox", size=10, start=195)


@pytest.mark.server
def test_passages_come_as_their_documents(client, index_name) -> None:
    """A document whose passages are documents of the index is one hit, by the best passage of each leg."""
    capabilities, passages = probe(client), PassagesMeta("windows:12", "documents")
    body = index_body(sparse=SparseMeta("s1", "tiny", "siamese"), passages=passages, capabilities=capabilities)
    client.indices.create(index=index_name, body=body)
    lines = []
    for place in range(12):
        document, number = divmod(place, 3)
        source = {"id": f"d{document}", "number": number, "encoded": ["s1"], "sparse": {"fox": 1.0 + place}}
        lines += [{"index": {"_id": f"d{document}#{number}"}}, {**source, "text": "fox " * (1 + place % 5)}]
    assert not client.bulk(index=index_name, body=lines, refresh=True)["errors"]
    found = search_fused(Searcher(client, index_name, capabilities=capabilities, sparse=Fox()), "fox", size=3)
    assert found.hits[0].id == "d3"
    assert len({hit.id for hit in found.hits}) == len(found.hits) == 3
    assert all(hit.text.startswith("fox") for hit in found.hits)
    assert found.notices == ()


@pytest.mark.server
def test_a_pipeline_is_stored_once(client, filled) -> None:
    """By its content: the same name for the same pipeline, and a search by name gives what the inline one gives."""
    query, pipeline = hybrid(legs_of(client), method="l2", weights=[1, 2, 4], capabilities=probe(client))
    name = stored_pipeline(client, pipeline)
    try:
        assert stored_pipeline(client, dict(reversed(pipeline.items()))) == name == pipeline_name(pipeline)
        assert ask(client, filled, query, name) == ask(client, filled, query, pipeline)
        with pytest.raises(ClusterError, match=r"does not store the search pipeline osplade-\w+: .*no-such"):
            stored_pipeline(client, {"phase_results_processors": [{"no-such": {}}]})
    finally:
        client.transport.perform_request("DELETE", f"/_search/pipeline/{name}")
