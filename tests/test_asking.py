"""Asking without a server: one logic whether answers are awaited or not, time-outs, and errors in their own place."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opensearchpy import exceptions
from test_searcher import ALL, Recorder, Words, searcher

from opensearch_splade.errors import ClusterError, OspladeError, QueryError, TargetError
from opensearch_splade.query import AsyncSearcher

HITS = [{"_index": "b", "_id": "1", "_score": 2.0, "_source": {"text": "x", "encoded": ["s1", "d1"]}}]


class Batches(Recorder):
    """A client that also takes batches, and notes the time-outs that it is given."""

    def __init__(self, *refusals: Exception | None, **more: Any) -> None:
        super().__init__(hits=HITS, **more)
        self.refusals = list(refusals)
        self.patience: list[Any] = []

    def search(self, *, index: str, body: Any, params: Any = None) -> Any:
        """The one answer."""
        self.patience.append(params)
        return super().search(index=index, body=body)

    def msearch(self, *, index: str, body: Any, params: Any = None) -> Any:
        """The one answer to each, unless it is time for a refusal."""
        self.patience.append(params)
        self.sent.append((index, body))
        if refusal := self.refusals.pop(0) if self.refusals else None:
            raise refusal
        return {"responses": [self.answer for _ in body[1::2]]}


class Awaited:
    """A client whose answers are awaited, as those of ``AsyncOpenSearch``."""

    def __init__(self, client: Batches) -> None:
        self.client = client
        self.indices = self

    def __getattr__(self, name: str) -> Any:
        async def answer(**arguments: Any) -> Any:
            await asyncio.sleep(0)
            return getattr(self.client, name)(**arguments)

        return answer


def opened(client: Batches) -> Any:
    """An ``AsyncSearcher`` over it, to be awaited."""
    return AsyncSearcher.open(Awaited(client), "books", capabilities=ALL, sparse=Words({"fox": 2.0}))


def test_awaiting_sends_and_gives_the_same() -> None:
    """Bodies, hits and notices of both kinds of searchers are equal, and errors come alike."""

    async def ask(client: Batches) -> list[Any]:
        asker = await opened(client)
        return [await asker.search("fox", mode="bm25"), await asker.search_many(["fox", " "], mode="bm25")]

    waiting, blocking = Batches(), Batches()
    one, many = asyncio.run(ask(waiting))
    asker = searcher(blocking)
    assert one == asker.search("fox", mode="bm25")
    [first, second], [expected, _] = many, asker.search_many(["fox", " "], mode="bm25")
    assert first == expected
    assert isinstance(second, QueryError)
    assert waiting.sent == blocking.sent


def test_errors_are_translated_while_awaited() -> None:
    """A refusal becomes our error within the awaiting call, and another bundle's encoder is refused at the opening."""

    async def ask() -> None:
        await (await opened(Batches(refusal=exceptions.ConnectionTimeout("TIMEOUT", "late", None)))).search("fox")

    with pytest.raises(ClusterError, match="did not answer"):
        asyncio.run(ask())
    foreign = AsyncSearcher.open(Awaited(Batches()), "books", capabilities=ALL, sparse=Words({}, fingerprint="s9"))
    with pytest.raises(TargetError, match="fingerprint s9"):
        asyncio.run(foreign)


def test_both_time_outs_come_from_one_number() -> None:
    """The server is told when to stop, and the client waits a second longer, of a batch as long as all of it."""
    client = Batches()
    asker = searcher(client)
    asker.search("fox", mode="bm25", timeout=0.25)
    asker.search_many(["fox", "fox"], mode="bm25", timeout=0.25)
    asker.search("fox", mode="bm25")
    assert client.sent[0][1]["timeout"] == "250ms"
    assert client.sent[1][1][1]["timeout"] == "250ms"
    assert client.patience == [{"request_timeout": 1.25}, {"request_timeout": 2.5}, None]
    for wrong in (0, -1, float("nan"), float("inf")):
        with pytest.raises(QueryError, match="time-out"):
            asker.search("fox", timeout=wrong)


def test_partial_answers_of_a_batch_are_told() -> None:
    """A batch's answer says the same of missing hits as a single search's."""
    [result] = searcher(Batches(timed_out=True, failed=1)).search_many(["fox"], mode="bm25")
    assert len(result.notices) == 2


def test_a_refused_batch_is_asked_one_by_one() -> None:
    """One body that cannot be parsed costs the others nothing; what does not answer at all ends the batch."""
    bad = exceptions.RequestError(400, "parsing_exception", {"error": {"reason": "no such query"}})
    client = Batches(bad, None, bad)
    first, second, third = searcher(client).search_many(["fox", "dog", "cow"], mode="bm25")
    assert [bool(isinstance(one, OspladeError)) for one in (first, second, third)] == [False, True, False]
    assert "no such query" in str(second)
    assert [len(lines) // 2 for _, lines in client.sent] == [3, 1, 1, 1]
    with pytest.raises(ClusterError, match="did not answer"):
        searcher(Batches(exceptions.ConnectionError("N/A", "gone", None))).search_many(["fox"], mode="bm25")


def test_an_unknown_option_is_refused() -> None:
    """A mistyped option is an error and not ignored."""
    with pytest.raises(TypeError, match="sizes"):
        searcher().search("fox", sizes=3)  # type: ignore[call-arg]
