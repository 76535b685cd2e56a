"""Lanes: who shares a batch with whom, who waits, and who is told to come again. The side is a stand-in for a model."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from opensearch_splade.onnx_models.batches import SlidingWindow
from opensearch_splade.onnx_models.plan import Plan
from opensearch_splade.serving.lane import SMALL_TOKENS, Lane
from opensearch_splade.serving.limits import Limits
from opensearch_splade.serving.metrics import Metrics
from opensearch_splade.serving.refusals import Refusal


class Gated:
    """A model whose batches end when the test says so: a stand-in for one that takes its time."""

    nothing = b"{}"

    def __init__(self, batches: int = 1, token_budget: int = 8) -> None:
        self.plan = Plan(batches=batches, threads=1, token_budget=token_budget)
        self.token_budget = token_budget
        self.budget = self
        self.gate = threading.Semaphore(0)
        self.batches: list[list[str]] = []

    def prepare(self, texts: Sequence[str]) -> list[str | None]:
        """A character is a token."""
        return [text or None for text in texts]

    def run(self, batch: Sequence[Any]) -> list[bytes]:
        """Itself, once the gate is open."""
        self.batches.append(list(batch))
        self.gate.acquire()
        if "bad" in batch:
            raise ValueError("a bad batch")
        return [text.encode() for text in batch]


def lanes(side: Gated, limits: Limits | None = None, questions: Gated | None = None) -> tuple[Lane, Lane]:
    """The lane of documents, and the one it gives way to."""
    metrics, limits = Metrics(), limits or Limits(max_wait_ms=1000)
    first = Lane(questions or Gated(), limits, metrics.lane("m", "queries"))
    return Lane(side, limits, metrics.lane("m", "documents"), first), first


def held(test: Callable[[], Awaitable[None]]) -> None:
    """Runs on a loop of its own, for a while at most."""
    asyncio.run(asyncio.wait_for(test(), 30))  # type: ignore[arg-type]


async def until(condition: Callable[[], bool]) -> None:
    """Waits for what threads do."""
    while not condition():
        await asyncio.sleep(0.002)


def test_requests_share_batches_of_like_length() -> None:
    """What comes while a batch runs leaves together, by the budget, and each request gets its own in order."""

    async def test() -> None:
        side = Gated(token_budget=12)
        lane, _ = lanes(side)
        first = asyncio.ensure_future(lane.encode(["x"]))
        await until(lambda: side.batches == [["x"]])
        others = [asyncio.ensure_future(lane.encode(texts)) for texts in (["aa"], ["b", "cc"], ["dd", "", "e"])]
        await until(lambda: lane.texts == 5)
        side.gate.release()
        assert await first == [b"x"]
        side.gate.release()
        assert [await other for other in others] == [[b"aa"], [b"b", b"cc"], [b"dd", b"{}", b"e"]]
        assert [sorted(batch) for batch in side.batches] == [["x"], ["aa", "b", "cc", "dd", "e"]]
        lane.close()

    held(test)


def test_an_idle_model_waits_for_nobody() -> None:
    """A batch that is not full leaves at once where nothing runs, and after the wait where something does."""

    async def test() -> None:
        side = Gated(batches=2)
        lane, _ = lanes(side, Limits(max_wait_ms=50))
        asked = [asyncio.ensure_future(lane.encode(["a"]))]
        await until(lambda: side.batches == [["a"]])
        asked.append(asyncio.ensure_future(lane.encode(["b"])))
        await asyncio.sleep(0)
        assert side.batches == [["a"]]
        await until(lambda: side.batches == [["a"], ["b"]])
        side.gate.release(2)
        await asyncio.gather(*asked)
        lane.close()

    held(test)


def test_texts_of_a_client_that_went_away_are_not_run() -> None:
    """They leave the queue at once, so others take their places; what runs already is finished and thrown away."""

    async def test() -> None:
        side = Gated()
        lane, _ = lanes(side)
        gone = asyncio.ensure_future(lane.encode(["12345678", "87654321", "aaaaaaaa", "bbbbbbbb"]))
        await until(lambda: lane.texts == 2)
        stays = asyncio.ensure_future(lane.encode(["stays"]))
        await until(lambda: lane.texts == 3)
        gone.cancel()
        await until(lambda: lane.texts == 1)
        side.gate.release(3)
        assert await stays == [b"stays"]
        assert side.batches == [["12345678"], ["87654321"], ["stays"]]
        lane.close()

    held(test)


def test_a_full_lane_says_so_and_takes_again() -> None:
    """429 with a time to come again, both by texts and by tokens; nothing of a refused request stays."""

    async def test() -> None:
        side = Gated()
        lane, _ = lanes(side, Limits(max_texts=3, max_queue=3, max_queue_tokens=12))
        taken = [asyncio.ensure_future(lane.encode(["12345678"])) for _ in range(2)]  # one runs, one stands by
        await until(lambda: not lane.texts and len(side.batches) == 1)
        taken.append(asyncio.ensure_future(lane.encode(["12345678"])))
        await until(lambda: lane.texts == 1)
        for texts in (["1", "2", "3"], ["12345"]):
            with pytest.raises(Refusal) as refused:
                await lane.encode(texts)
            assert refused.value.status == 429
            assert int(refused.value.headers["retry-after"]) >= 1
        taken.append(asyncio.ensure_future(lane.encode(["1234"])))
        side.gate.release(9)
        assert [await one for one in taken] == [[b"12345678"], [b"12345678"], [b"12345678"], [b"1234"]]
        assert await lane.encode(["1", "2", "3"]) == [b"1", b"2", b"3"]
        lane.close()

    held(test)


def test_a_failed_batch_fails_its_own_requests() -> None:
    """And nobody else's."""

    async def test() -> None:
        side = Gated()
        lane, _ = lanes(side)
        side.gate.release(9)
        with pytest.raises(ValueError, match="a bad batch"):
            await lane.encode(["bad"])
        assert await lane.encode(["good"]) == [b"good"]
        lane.close()

    held(test)


def test_documents_take_small_batches_while_questions_come() -> None:
    """A device cannot be taken from a batch, so none is long while a question may come."""

    async def test() -> None:
        side, questions = Gated(token_budget=4 * SMALL_TOKENS), Gated()
        lane, first = lanes(side, Limits(max_wait_ms=0), questions)
        side.gate.release(99)
        texts = ["x" * (SMALL_TOKENS // 2)] * 8
        await lane.encode(texts)
        assert [len(batch) for batch in side.batches] == [8]
        asked = asyncio.ensure_future(first.encode(["a question"]))
        await until(lambda: bool(questions.batches))
        side.batches.clear()
        await lane.encode(texts)
        assert [len(batch) for batch in side.batches] == [2] * 4
        questions.gate.release()
        assert await asked == [b"a question"]
        lane.close()
        first.close()

    held(test)


def test_questions_that_come_meanwhile_share_the_next_batch() -> None:
    """So a crowd costs two batches and not one each; documents in the other lane do not stand before them."""

    async def test() -> None:
        documents, questions = Gated(), Gated(token_budget=100)
        lane, first = lanes(documents, questions=questions)
        blocked = asyncio.ensure_future(lane.encode(["a document"] * 20))
        asked = [asyncio.ensure_future(first.encode(["q"]))]
        await until(lambda: len(questions.batches) == 1)
        asked += [asyncio.ensure_future(first.encode([text])) for text in "abcdef"]
        await until(lambda: first.texts == 6)
        questions.gate.release(2)
        assert [await one for one in asked] == [[b"q"], *([text.encode()] for text in "abcdef")]
        assert list(map(sorted, questions.batches)) == [["q"], list("abcdef")]
        assert not blocked.done()
        documents.gate.release(99)
        await blocked
        lane.close()
        first.close()

    held(test)


def test_a_window_forgets_what_is_discarded() -> None:
    """It is in no batch and counts no more; what left already cannot be discarded."""
    window: SlidingWindow[str] = SlidingWindow()
    for place, text in enumerate(["aa", "bb", "c"]):
        window.add(place, text)
    window.discard(0)
    window.discard(0)
    assert (len(window), window.tokens) == (2, 3)
    assert window.take(100) == ([1, 2], ["bb", "c"])
    window.discard(1)
    assert (len(window), window.tokens) == (0, 0)
