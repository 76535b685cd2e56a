"""Explanations on the real node: what is told of a hit adds up to the score that the server gave it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import pytest
from opensearchpy import OpenSearch
from test_searcher import META, TAG, Compass, Words

from opensearch_splade.errors import QueryError
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.query import AsyncSearcher, Searcher, SearchResult, similarity
from opensearch_splade.query.requirements import KNN_QUERY

WORDS = ["fox", "dog", "bear", "bird", "fish", "frog", "wolf", "deer"]
SINGLE = ["bm25", "weighted-terms", "neural-sparse", "knn"]
FUSED = ["hybrid", "hybrid:rrf", "bm25+knn", "bm25+neural-sparse:rrf", "weighted-terms+knn"]
QUESTION = "fox dog bear"

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def animals(client: OpenSearch) -> Iterator[dict[int, Searcher]]:
    """By number of shards a searcher over 900 documents: more than a hybrid fuses of any shard."""
    capabilities = probe(client)
    capabilities.require(KNN_QUERY)
    made = {}
    encoders = {"sparse": Words({word: 1.0 + place for place, word in enumerate(WORDS)}), "dense": Compass([0.6, 0.8])}
    for shards in (1, 3):
        name = f"test-legs-{shards}-{random.SystemRandom().randrange(10**9)}"
        body = index_body(sparse=META.sparse, dense=META.dense, shards=shards, capabilities=capabilities)
        client.indices.create(index=name, body=body)
        assert not client.bulk(index=name, body=list(_documents()), refresh=True)["errors"]
        made[shards] = Searcher(client, name, capabilities=capabilities, **encoders)
    yield made
    for searcher in made.values():
        client.indices.delete(index=searcher.target.index)


def _documents() -> Iterator[dict[str, object]]:
    draw = random.Random(7)  # noqa: S311 - the same documents each time
    for key in map(str, range(900)):
        text = draw.choices(WORDS, k=draw.randint(3, 12))
        weights = {word: round(draw.uniform(0.05, 3), 4) for word in set(text)}
        dense = [draw.uniform(-1, 1), draw.uniform(-1, 1)]
        yield {"index": {"_id": key}}
        shown = {"id": key, "text": " ".join(text), "metadata": {"lang": draw.choice(["en", "de"])}}
        yield {**shown, "encoded": ["s1", "d1"], "sparse": weights, "dense": dense}


def assert_adds_up(result: SearchResult) -> None:
    """Parts are the rankings' scores, rankings are the hit's, and nothing had to be excused."""
    assert result.hits
    assert not [notice for notice in result.notices if "add up" in notice]
    for hit in result.hits:
        assert sum(leg.contribution for leg in hit.legs) == pytest.approx(hit.score, rel=1e-5)
        for leg in hit.legs:
            assert bool(leg.why) == (leg.leg != "knn")
            if leg.why:
                assert sum(part.score for part in leg.why) == pytest.approx(leg.score, rel=1e-5)


@pytest.mark.parametrize("mode", [*SINGLE, *FUSED])
@pytest.mark.parametrize("filter", [None, TAG])
@pytest.mark.parametrize("shards", [1, 3])
def test_what_is_told_is_the_score(animals: dict[int, Searcher], shards: int, filter: dict | None, mode: str) -> None:
    """On one shard and on several, filtered or not, of the best hits and of those that one ranking alone has found."""
    assert_adds_up(animals[shards].search(QUESTION, mode=mode, size=150, filter=filter, explain=True))


def test_weights_are_part_of_it(animals: dict[int, Searcher]) -> None:
    """Uneven weights scale each ranking's part; a page further down is explained from the same pool."""
    found = animals[1].search(QUESTION, mode="bm25+knn", weights=[1, 3], size=20, start=30, explain=True)
    assert_adds_up(found)
    assert {leg.weight for hit in found.hits for leg in hit.legs} <= {0.25, 0.75}


def test_the_similarity_is_the_inner_product(animals: dict[int, Searcher], client: OpenSearch) -> None:
    """Of kNN what is told is the product of the two vectors, positive or negative."""
    hits = animals[1].search(QUESTION, mode="knn", size=900, explain=True).hits
    stored = client.mget(index=animals[1].target.index, body={"ids": [hit.id for hit in hits]})["docs"]
    products = [0.6 * x + 0.8 * y for x, y in (one["_source"]["dense"] for one in stored)]
    assert min(products) < 0 < max(products)
    assert [similarity(hit.score) for hit in hits] == pytest.approx(products, abs=1e-5)


def test_a_profile_leaves_the_ranking_alone(animals: dict[int, Searcher]) -> None:
    """Profiled or not, explained or not, a hybrid gives the same hits with the same scores."""
    plain, looked_into = (animals[1].search(QUESTION, profile=on, explain=on, timeout=20) for on in (False, True))
    assert [(hit.id, hit.score) for hit in plain.hits] == [(hit.id, hit.score) for hit in looked_into.hits]
    assert plain.profile is None
    assert looked_into.profile["shards"]


@pytest.mark.parametrize("mode", ["neural-sparse", "hybrid"])
def test_many_questions_get_what_each_would(animals: dict[int, Searcher], mode: str) -> None:
    """Batches answer as single searches do, in the order of the questions, an error in the place of the bad one."""
    questions = [*WORDS, " ", *(f"{word} fox" for word in WORDS * 4)]
    found = animals[3].search_many(questions, mode=mode, size=5)
    assert isinstance(found[8], QueryError)
    for text, result in zip(questions, found, strict=True):
        if text.strip():
            assert result.hits == animals[3].search(text, mode=mode, size=5).hits


def test_what_the_server_refuses_costs_no_other_question(animals: dict[int, Searcher], monkeypatch) -> None:
    """A body that cannot be parsed spoils its request; the others are asked alone and answered."""
    from opensearch_splade.query import searcher

    planned = searcher.plan

    def spoilt(text, *more):
        made = planned(text, *more)
        if text == "dog":
            made.body["query"] = {"nothing_of_this_kind": {}}
        return made

    monkeypatch.setattr(searcher, "plan", spoilt)
    fox, dog, bear = animals[1].search_many(["fox", "dog", "bear"], mode="bm25")
    assert fox.hits
    assert bear.hits
    assert "nothing_of_this_kind" in str(dog)


def test_awaited_answers_are_the_same(animals: dict[int, Searcher], node: RunningNode) -> None:
    """``AsyncSearcher`` gives what ``Searcher`` gives, of one question and of many, at the same time too."""
    pytest.importorskip("aiohttp", reason="needs the [async] extra")
    from opensearchpy import AsyncOpenSearch

    target = animals[1].target
    given = {"capabilities": target.capabilities, "sparse": target.sparse, "dense": target.dense}

    async def ask():
        async with AsyncOpenSearch(node.url) as client:
            searcher = await AsyncSearcher.open(client, target.index, **given)
            one = searcher.search(QUESTION, explain=True)
            return await asyncio.gather(one, searcher.search_many([*WORDS, ""]))

    one, many = asyncio.run(ask())
    assert one.hits == animals[1].search(QUESTION, explain=True).hits
    assert [result.hits for result in many[:-1]] == [animals[1].search(word).hits for word in WORDS]
    assert isinstance(many[-1], QueryError)


def test_several_indices_behind_one_name(client: OpenSearch, index_name: str) -> None:
    """An alias over indices is explained too, or a notice says that it is not; it never fails for it."""
    capabilities = probe(client)
    documents = list(_documents())[:120]
    for part in (1, 2):
        body = index_body(sparse=META.sparse, dense=META.dense, shards=part, capabilities=capabilities)
        client.indices.create(index=f"{index_name}-{part}", body=body | {"aliases": {index_name: {}}})
        lines = documents[(part - 1) * 60 : part * 60]
        assert not client.bulk(index=f"{index_name}-{part}", body=lines, refresh=True)["errors"]
    words = Words(dict.fromkeys(WORDS, 1.0))
    asker = Searcher(client, index_name, capabilities=capabilities, sparse=words, dense=Compass([0.6, 0.8]))
    for mode in FUSED:
        assert_adds_up(asker.search(QUESTION, mode=mode, explain=True, size=60))
