"""Rankings read to their end on the real node: each document once, in one order, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import uuid
from contextlib import aclosing, closing
from inspect import getgeneratorlocals

import numpy as np
import pytest
from click.testing import CliRunner
from four_documents import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from opensearch_splade.cli.main import main
from opensearch_splade.errors import ClusterError, QueryError
from opensearch_splade.index_meta import DenseMeta, PassagesMeta, SparseMeta
from opensearch_splade.plugin.capabilities import probe
from opensearch_splade.plugin.index import index_body
from opensearch_splade.query import Searcher, fuse
from opensearch_splade.query.searcher import AsyncSearcher

pytestmark = pytest.mark.server

DOCUMENTS = 240
WORDS = {"fox": 2.0, "dog": 0.5}
SHARDS = {"one": 1, "three": 3, "passages": 2}


class Angle:
    """A dense encoder that always points along the first axis."""

    fingerprint = "d1"

    def embed_query(self, _: str):
        """A unit vector."""
        return [1.0, 0.0]


def source(number: int, part: int | None = None):
    """A document, or a passage of one: weights are few, so that many scores tie."""
    random = np.random.default_rng([number, part or 0])
    name = f"d{number}"
    angle = float(random.uniform(0, 1.5))
    made = {
        "id": name,
        "encoded": ["f1", "d1"],
        "text": " ".join(random.choice(["fox", "dog", "cat"], int(random.integers(1, 4)))),
        "sparse": {word: float(random.choice([0.5, 1.0, 2.0])) for word in WORDS if random.random() < 0.7},
    }
    if part is None:
        return {**made, "dense": [np.cos(angle), np.sin(angle)]}
    return {**made, "number": part, "passage_count": 3}


def fill(client, index, kind) -> None:
    """An index of whole documents, or of three passages of each as documents."""
    passages = kind == "passages"
    body = index_body(
        sparse=SparseMeta("f1", "t", "siamese"),
        dense=None if passages else DenseMeta("d1", "mini", 2),
        passages=PassagesMeta("late:64", "documents") if passages else None,
        shards=SHARDS[kind],
        capabilities=probe(client),
    )
    client.indices.create(index=index, body=body)
    lines = []
    for number in range(DOCUMENTS):
        for part in range(3) if passages else [None]:
            lines += [{"index": {"_id": f"d{number}" if part is None else f"d{number}#{part}"}}, source(number, part)]
    assert not client.bulk(index=index, body=lines, refresh=True)["errors"]


@pytest.fixture(scope="module", params=SHARDS)
def searcher(client, request):
    """Of a filled index."""
    index = f"test-{uuid.uuid4().hex[:12]}"
    fill(client, index, request.param)
    dense = None if request.param == "passages" else Angle()
    yield Searcher(client, index, capabilities=probe(client), sparse=Table(WORDS), dense=dense)
    client.indices.delete(index=index)


def own_places(client, index) -> int:
    """Those of one index: others may run at the same time."""
    found = client.indices.stats(index=index, metric="search")["indices"][index]["total"]["search"]
    return found["point_in_time_current"]


def pages(searcher, **options):
    """Document and score, page by page."""
    return [[(hit.id, hit.score) for hit in page.hits] for page in searcher.exhaust("fox dog", **options)]


def everything(searcher, **options):
    """Of all pages together."""
    return [pair for page in pages(searcher, **options) for pair in page]


@settings(max_examples=12, deadline=None)
@given(mode=st.sampled_from(["bm25", "neural-sparse", "weighted-terms"]), page=st.integers(1, 300), ids=st.booleans())
def test_a_ranking_comes_whole_and_in_the_order_of_the_search(searcher, mode, page, ids) -> None:
    """Pages of any size are cuts of the one-page search, each document once; ties go by the smaller id."""
    page = max(page, 40)
    one = [(hit.id, hit.score) for hit in searcher.search("fox dog", mode=mode, size=10_000).hits]
    found = everything(searcher, mode=mode, page=page, ids_only=ids)
    assert found == sorted(one, key=lambda each: (-each[1], each[0]))
    assert len({identity for identity, _ in found}) == len(found) > 150
    assert own_places(searcher._client, searcher.target.index) == 0


def test_it_is_the_exact_ranking(searcher) -> None:
    """By the weights that were put in: the dot product, and of passages the best one's."""
    passages = range(3) if searcher.target.store else [None]
    exact = {
        f"d{number}": max(
            sum(WORDS[word] * weight for word, weight in source(number, part)["sparse"].items()) for part in passages
        )
        for number in range(DOCUMENTS)
    }
    expected = sorted(((key, score) for key, score in exact.items() if score), key=lambda each: (-each[1], each[0]))
    found = everything(searcher, mode="neural-sparse", page=50)
    assert [key for key, _ in found] == [key for key, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected])


@pytest.mark.parametrize("fusion", ["min_max", "rrf", "linear"])
def test_a_hybrid_is_fused_of_whole_rankings(searcher, fusion) -> None:
    """The same as fusing the exhausted legs; documents have their texts, and ids are enough where only they count."""
    mode = f"bm25+neural-sparse:{fusion}"
    legs = [dict(everything(searcher, mode=leg)) for leg in ("bm25", "neural-sparse")]
    expected = list(fuse(legs, fusion, candidates=10_000).items())
    assert everything(searcher, mode=mode, page=70) == expected
    assert everything(searcher, mode=mode, page=70, ids_only=True, depth=100) == expected[:100]
    [*_, last] = searcher.exhaust("fox dog", mode=mode)
    assert last.total == len(expected)
    assert all(hit.text for hit in last.hits)
    assert not last.notices


def test_the_nearest_are_bounded_and_it_is_said(searcher) -> None:
    """KNN finds its nearest and no more; a linear combination would lack the scores of all others."""
    if searcher.target.store:
        pytest.skip("passages stored as documents of their own have no dense vectors here")
    [page] = searcher.exhaust("fox dog", mode="knn", page=1000)
    assert len(page.hits) == DOCUMENTS
    assert "knn has no end: it gives its nearest 10,000 hits" in page.notices[0]
    scores = [score for _, score in everything(searcher, mode="knn", page=100)]
    assert scores == sorted(scores, reverse=True)
    assert len(everything(searcher, mode="bm25+knn:rrf")) == DOCUMENTS
    with pytest.raises(QueryError, match="linear combination needs a document's score in every ranking"):
        searcher.exhaust("fox dog", mode="bm25+knn:linear")


def test_what_is_written_meanwhile_changes_nothing(client, index_name) -> None:
    """Deleted, changed and new documents: the pages are those of the moment when the first one was asked for."""
    for kind, mode in (("three", "neural-sparse"), ("passages", "bm25+neural-sparse")):
        index = f"{index_name}-{kind}"
        fill(client, index, kind)
        searcher = Searcher(client, index, capabilities=probe(client), sparse=Table(WORDS))
        before = everything(searcher, mode=mode, page=50)
        reading = searcher.exhaust("fox dog", mode=mode, page=50)
        found = [(hit.id, hit.score) for hit in next(reading).hits]
        assert own_places(client, index) == SHARDS[kind]
        first, last = before[0][0], before[-1][0]
        gone = {"query": {"terms": {"id": [first, last, *(key for key, _ in before[60:90])]}}}
        client.delete_by_query(index=index, body=gone, params={"refresh": "true"})
        new = source(1, 0 if kind == "passages" else None)
        stored = "new{}#0" if kind == "passages" else "new{}"
        lines = [
            line
            for number in range(60)
            for line in ({"index": {"_id": stored.format(number)}}, {**new, "id": f"new{number}"})
        ]
        assert not client.bulk(index=index, body=lines, refresh=True)["errors"]
        client.indices.forcemerge(index=index, params={"max_num_segments": 1})
        texts = [hit for page in reading for hit in page.hits]
        assert found + [(hit.id, hit.score) for hit in texts] == before
        assert all(hit.text for hit in texts)
        assert own_places(client, index) == 0
        assert everything(searcher, mode=mode) != before


def test_the_place_is_let_go_however_the_loop_is_left(searcher) -> None:
    """By break, error, close, and where the iterator was never begun."""
    client, index = searcher._client, searcher.target.index
    for _ in searcher.exhaust("fox", mode="bm25", page=10):
        break
    assert own_places(client, index) == 0

    def fails() -> None:
        for _ in searcher.exhaust("fox", mode="bm25+neural-sparse", page=10):
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fails()
    assert own_places(client, index) == 0
    with closing(searcher.exhaust("fox", mode="bm25", page=10)) as reading:
        next(reading)
        assert own_places(client, index) > 0
    assert own_places(client, index) == 0
    searcher.exhaust("fox")
    assert own_places(client, index) == 0


def test_a_lost_place_is_told_with_its_remedy(searcher) -> None:
    """What was given stays given, and the error says how many and what to do."""
    reading = searcher.exhaust("fox", mode="bm25", page=10)
    next(reading)
    searcher._client.delete_pit(body={"pit_id": [getgeneratorlocals(reading)["reading"]._place]})
    with pytest.raises(ClusterError, match=r"lost after 10 hits .*keep_alive='5m'.*Ask again from the beginning"):
        next(reading)


def test_depth_ends_it_and_bad_bounds_are_refused(searcher) -> None:
    """Before anything is sent."""
    whole = everything(searcher, mode="bm25")
    for depth in (1, 99, 10_000):
        assert everything(searcher, mode="bm25", depth=depth, page=37) == whole[:depth]
    for options, message in (
        ({"page": 0}, "a page of 0 hits"),
        ({"depth": 0}, "a depth of 0"),
        ({"mode": "bm25", "weights": [1]}, "weights are for the legs of a hybrid"),
        ({"mode": "bm25+neural-sparse", "weights": [1]}, "1 weights"),
    ):
        with pytest.raises(QueryError, match=message):
            searcher.exhaust("fox", **options)


def test_awaited_it_is_the_same(searcher, node) -> None:
    """One logic; a loop that is left early lets the place go too."""
    opensearchpy = pytest.importorskip("opensearchpy")

    async def asked():
        client = opensearchpy.AsyncOpenSearch(node.url)
        try:
            there = await AsyncSearcher.open(
                client, searcher.target.index, capabilities=searcher.target.capabilities, sparse=Table(WORDS)
            )
            async with aclosing(there.exhaust("fox dog", mode="bm25", page=10)) as reading:
                async for _ in reading:
                    break
            return [
                (hit.id, hit.score)
                async for page in there.exhaust("fox dog", mode="bm25+neural-sparse", page=70)
                for hit in page.hits
            ]
        finally:
            await client.close()

    assert asyncio.run(asked()) == everything(searcher, mode="bm25+neural-sparse", page=70)
    assert own_places(searcher._client, searcher.target.index) == 0


def test_an_alias_over_two_indices_gives_both(client, index_name) -> None:
    """Ids that stand in both come twice, and ties between them do not stop the reading."""
    for part in "ab":
        fill(client, f"{index_name}-{part}", "one")
        client.indices.put_alias(index=f"{index_name}-{part}", name=f"{index_name}-both")
    both = Searcher(client, f"{index_name}-both", capabilities=probe(client), sparse=Table(WORDS))
    alone = Searcher(client, f"{index_name}-a", capabilities=probe(client), sparse=Table(WORDS))
    once = everything(alone, mode="neural-sparse", page=33)
    assert everything(both, mode="neural-sparse", page=33) == [pair for pair in once for _ in range(2)]


def test_the_command_writes_the_ranking_and_says_when_it_is_enough(searcher, tmp_path, node) -> None:
    """Lines in the order of the ranking; judgements up to the first unread document; bad files by line."""
    out, read = tmp_path / "hits.jsonl", tmp_path / "read.txt"
    base = ["exhaust", "fox dog", "--index", searcher.target.index, "--url", node.url, "--mode", "bm25"]

    def call(*more: str, code: int = 0):
        result = CliRunner().invoke(main, [*base, *more])
        assert result.exit_code == code, result.output
        return result

    expected = [key for key, _ in everything(searcher, mode="bm25")]
    said = json.loads(call("--out", str(out), "--page", "50", "--json").stdout)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["id"] for line in lines] == expected
    assert [line["rank"] for line in lines] == list(range(1, len(expected) + 1))
    assert lines[0]["text"]
    assert (said["hits"], said["total"], said["estimate"]) == (len(expected), len(expected), None)
    assert "nothing is overwritten" in call("--out", str(out), code=1).stderr
    read.write_text("\n".join([f"{key} {int(place < 5)}" for place, key in enumerate(expected[:150])] + ["else 1"]))
    estimate = json.loads(call("--judged", str(read), "--json").stdout)["estimate"]
    assert (estimate["seen"], estimate["found"]) == (150, 5)
    assert 0 < estimate["recall_at_least"] < 1
    assert "read on" in call("--judged", str(read)).stdout
    assert "enough for 0.30" in call("--judged", str(read), "--recall", "0.3").stdout
    assert "a hint and no estimate" in call("--depth", "20").stdout
    read.write_text("d1 1\nd2\n")
    assert f"{read}:2: a line is ID 1" in call("--judged", str(read), code=1).stderr
    [body] = json.loads(call("--dry-run").stdout)
    assert body["sort"][:2] == ["_score", {"id": "asc"}]
