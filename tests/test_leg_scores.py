"""Explanations on the real node: what is told of a hit adds up to the score that the server gave it."""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from opensearchpy import OpenSearch
from test_searcher import META, TAG, Compass, Words

from opensearch_splade.cli.explaining import explained
from opensearch_splade.errors import ClusterError, QueryError
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.plugin.launcher import RunningNode
from opensearch_splade.query import (
    LINEAR,
    AsyncSearcher,
    Fusion,
    QueryPruning,
    Searcher,
    SearchResult,
    constant_boost,
    feature_boost,
    search_fused,
    similarity,
)
from opensearch_splade.query.fusion_spec import FUSION_METHODS
from opensearch_splade.query.requirements import KNN_QUERY
from opensearch_splade.types import Hit

WORDS = ["fox", "dog", "bear", "bird", "fish", "frog", "wolf", "deer"]
SINGLE = ["bm25", "weighted-terms", "neural-sparse", "knn"]
FUSED = ["hybrid", "hybrid:rrf", "bm25+knn", "bm25+neural-sparse:rrf", "weighted-terms+knn"]
METHODS = [f"hybrid:{method}" for method in FUSION_METHODS]
ENGLISH = constant_boost(TAG, 0.25)
BOOSTS = [ENGLISH, feature_boost("sparse.wolf", LINEAR, 0.125), {"match": {"text": "deer"}}]
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


def total(hit: Hit) -> float:
    """By the formulas of the docstring of ``Hit``."""
    weights = sum(leg.weight for leg in hit.legs)
    fused = {
        "arithmetic_mean": lambda: sum(leg.contribution for leg in hit.legs),
        "geometric_mean": lambda: math.exp(sum(leg.weight * math.log(leg.normalised) for leg in hit.legs) / weights),
        "harmonic_mean": lambda: weights / sum(leg.weight / leg.normalised for leg in hit.legs),
    }[hit.combination]()
    return fused + sum(part.score for part in hit.boosts)


def worked_out(shown: str) -> float:
    """The score of what a terminal shows: the formula of a mean, or the sum of the rankings' products."""
    if found := re.search(r"^(?:geometric|harmonic) mean (.*) = ", shown, re.MULTILINE):
        # Our own digits and signs alone, so that it may be evaluated.
        written = re.sub(r"ln ([-+.e\d]+)", r"ln(\1)", found[1]).replace("×", "*")
        assert re.fullmatch(r"[-+*/(). \deln xp]+", written)
        return float(eval(written, {"__builtins__": {}, "ln": math.log, "exp": math.exp}))  # noqa: S307
    return sum(map(float, re.findall(r"^[\w-]+ \S+ × \S+ = (\S+)", shown, re.MULTILINE)))


def assert_adds_up(result: SearchResult) -> None:
    """Parts are the rankings' scores, rankings are the hit's, and nothing had to be excused."""
    assert result.hits
    assert not [notice for notice in result.notices if "add up" in notice]
    for hit in result.hits:
        assert total(hit) == pytest.approx(hit.score, rel=1e-5)
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


@pytest.mark.parametrize("mode", METHODS)
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("weights", [None, [1, 3, 2]])
def test_every_fusion_is_explained(
    animals: dict[int, Searcher], weights: list[int] | None, shards: int, mode: str
) -> None:
    """Sums add up and means come out, whatever makes the legs comparable, on one shard and on three."""
    found = animals[shards].search(QUESTION, mode=mode, weights=weights, size=150, explain=True)
    assert_adds_up(found)
    assert {hit.combination for hit in found.hits} == {Fusion.parse(mode.removeprefix("hybrid:")).combination}
    for hit in found.hits:
        cancels = 1e-5 if mode == "hybrid:z_score" else 0  # of either sign, so their sum may be nearly nothing
        assert worked_out(explained(hit, 3).plain) == pytest.approx(hit.score, rel=2e-5, abs=cancels)


@pytest.mark.parametrize("mode", [*SINGLE, *METHODS])
@pytest.mark.parametrize("filter", [None, TAG])
@pytest.mark.parametrize("shards", [1, 3])
def test_boosts_have_lines_of_their_own(
    animals: dict[int, Searcher], shards: int, filter: dict | None, mode: str
) -> None:
    """They add to the score, are no part of any leg, and the legs are what they are without them."""
    asked = {"mode": mode, "filter": filter, "explain": True}
    plain = animals[shards].search(QUESTION, **asked, size=200)  # of the same pool
    found = animals[shards].search(QUESTION, **asked, size=100, boosts=BOOSTS)
    assert_adds_up(found)
    assert [hit.score for hit in found.hits] == sorted((hit.score for hit in found.hits), reverse=True)
    known = {hit.id: hit for hit in plain.hits}
    for hit in found.hits:
        words = dict.fromkeys(hit.text.split())
        expected = ["metadata.lang=en"] * (hit.metadata["lang"] == "en") + ["sparse.wolf"] * ("wolf" in words)
        assert [part.feature for part in hit.boosts][: len(expected)] == expected
        assert len(hit.boosts) == len(expected) + ("deer" in words)
        if hit.id in known:
            legs = zip(hit.legs, known[hit.id].legs, strict=True)
            assert all(one.score == pytest.approx(other.score, rel=1e-5) for one, other in legs)
    assert len(known.keys() & {hit.id for hit in found.hits}) > 50


@pytest.mark.parametrize("mode", ["bm25", "hybrid", "hybrid:linear"])
def test_pages_with_boosts_are_cuts_of_one_ranking(animals: dict[int, Searcher], mode: str) -> None:
    """Page by page the same hits as at once, asked alone or with other questions; a boost may lift any candidate."""
    boosts = [constant_boost(TAG, 20.0)]
    whole = animals[3].search(QUESTION, mode=mode, size=60, boosts=boosts).hits
    pages = [animals[3].search(QUESTION, mode=mode, size=20, start=start, boosts=boosts) for start in (0, 20, 40)]
    assert [hit.id for page in pages for hit in page.hits] == [hit.id for hit in whole]
    assert {hit.metadata["lang"] for hit in whole} == {"en"}
    [many, _] = animals[3].search_many([QUESTION, "fish"], mode=mode, size=60, boosts=boosts)
    assert many.hits == whole


def test_boosts_that_cannot_be(animals: dict[int, Searcher]) -> None:
    """Refused before anything is sent, with what to do instead; those that the server refuses name its reason."""
    with pytest.raises(QueryError, match=r"no part of one body.*:linear"):
        animals[1].body(QUESTION, boosts=[ENGLISH])
    with pytest.raises(QueryError, match="leave out two_step and rescore, or the boosts"):
        animals[1].search(QUESTION, mode="neural-sparse", boosts=[ENGLISH], two_step=QueryPruning(top_k=1))
    with pytest.raises(QueryError, match="a JSON object with one key"):
        animals[1].search(QUESTION, boosts=[{}])
    for mode in ("bm25", "hybrid"):
        with pytest.raises(ClusterError, match=r"unknown query \[tern\]"):
            animals[1].search(QUESTION, mode=mode, boosts=[{"tern": {"a": 1}}])


@pytest.mark.parametrize("mode", METHODS)
@pytest.mark.parametrize("shards", [1, 3])
def test_fusion_on_the_client_is_explained_alike(animals: dict[int, Searcher], shards: int, mode: str) -> None:
    """It adds up to its own score, and where the pools are the same (one shard), it tells what the server's does."""
    fusion = replace(Fusion.parse(mode.removeprefix("hybrid:")), weights=(1, 3, 2))
    found = search_fused(animals[shards], QUESTION, mode=mode, fusion=fusion, size=100, explain=True)
    for hit in found.hits:
        assert total(hit) == pytest.approx(hit.score, rel=1e-5)
        for leg in hit.legs:
            if leg.why:
                assert sum(part.score for part in leg.why) == pytest.approx(leg.score, rel=1e-5)
    assert [hit.id for hit in found.hits] == [
        hit.id for hit in search_fused(animals[shards], QUESTION, mode=mode, fusion=fusion, size=100).hits
    ]
    theirs = animals[1].search(QUESTION, mode=mode, weights=fusion.weights, size=20, explain=True).hits
    own = {hit.id: hit for hit in found.hits}
    if shards == 1 and mode != "hybrid:linear":
        for hit in theirs:
            for leg, other in zip(hit.legs, own[hit.id].legs, strict=True):
                assert (leg.leg, leg.weight) == (other.leg, other.weight)
                assert leg.score == pytest.approx(other.score, rel=1e-6)
                assert [part.feature for part in leg.why] == [part.feature for part in other.why]


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
