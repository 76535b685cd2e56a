"""Lane: texts of all requests wait together and leave in batches by token budget, while others of them run.

All of its state belongs to the event loop; threads only tokenise and run batches. A model has two lanes, and documents
give way to questions: by the priority of their threads, and by smaller batches while questions come.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import threading
import time
from collections.abc import Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from opensearch_splade.onnx_models.batches import SlidingWindow
from opensearch_splade.serving.limits import Limits
from opensearch_splade.serving.metrics import LaneMetrics
from opensearch_splade.serving.refusals import full, unavailable
from opensearch_splade.serving.sides import Side

NICENESS = 5
"""Of threads that give way; the kernel gives them a third of the time of one that does not."""
SMALL_TOKENS = 2048
"""Of a batch that gives way. On a GPU nothing can be taken from it before it ends."""
_RECENT = 1.0
"""Seconds after which questions are no longer expected."""
_PATIENCE = 300
"""Seconds that a refused client is told to wait at most."""


@dataclass(eq=False, slots=True)
class _Request:
    """Texts of one request on their way."""

    answer: asyncio.Future[None]
    rows: list[bytes]
    missing: int
    places: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Text:
    request: _Request
    index: int
    since: float


class Lane:
    """One side of a model at work. Made on the event loop it belongs to.

    Args:
        side: What runs.
        limits: What may wait.
        metrics: Where it counts.
        first: The lane that this one gives way to.
    """

    def __init__(self, side: Side, limits: Limits, metrics: LaneMetrics, first: Lane | None = None) -> None:
        self._side = side
        self._limits = limits
        self._metrics = metrics
        self._first = first
        self._loop = asyncio.get_running_loop()
        self._batches = side.budget.plan.batches
        # Documents: one batch more than run at once, so that no thread waits for the loop. A question waits instead of
        # entering a batch that has not begun: those that come meanwhile then share the next one.
        self._submitted = self._batches + (first is not None)
        self._wait = limits.max_wait_ms / 1000 if first else 0.0
        self._tokenizer = ThreadPoolExecutor(1, "tokenizer", give_way if first else None)
        self._workers = ThreadPoolExecutor(self._batches, "batches", give_way if first else None)
        self._window: SlidingWindow[Sized] = SlidingWindow()
        self._texts: dict[int, _Text] = {}
        self._next = 0
        self._tokenised = 0  # texts that are tokenised just now
        self._running = 0
        self._requests: set[_Request] = set()
        self._abandoned = False
        self._timer: asyncio.TimerHandle | None = None
        self._last = -math.inf
        self._tokens_per_second = 0.0
        metrics.watch(lambda: self.texts, lambda: self._window.tokens)

    @property
    def texts(self) -> int:
        """How many wait."""
        return len(self._texts) + self._tokenised

    @property
    def busy(self) -> bool:
        """Whether anything runs, waits, or came within the last second."""
        return bool(self._running or self.texts) or time.monotonic() - self._last < _RECENT

    async def encode(self, texts: Sequence[str]) -> list[bytes]:
        """The JSON of each text's vector, in order. Cancelled, it takes its texts out of the queue.

        Raises:
            Refusal: As many texts or tokens wait as may wait, or the server ends.
        """
        if self.texts + len(texts) > self._limits.max_queue:
            raise full(self._retry_after())
        self._last = time.monotonic()
        request = self._enqueue(await self._prepared(texts))
        if request.missing:
            self._requests.add(request)
            self._pump()
            try:
                await request.answer
            finally:
                self._requests.discard(request)
                self._forget(request)
        return request.rows

    def abandon(self) -> None:
        """Refuses what was accepted and is not answered yet."""
        self._abandoned = True
        for request in self._requests:
            if not request.answer.done():
                request.answer.set_exception(unavailable("draining"))

    def close(self) -> None:
        """Ends its threads, once the batches that run have ended. What waits is not run."""
        for pool in (self._tokenizer, self._workers):
            pool.shutdown(cancel_futures=True)

    async def _prepared(self, texts: Sequence[str]) -> Sequence[Sized | None]:
        if self._first is None:
            return self._side.prepare(texts)
        self._tokenised += len(texts)
        try:
            return await self._loop.run_in_executor(self._tokenizer, self._side.prepare, texts)
        except asyncio.CancelledError:
            self._metrics.dropped.inc(len(texts))
            raise
        finally:
            self._tokenised -= len(texts)

    def _enqueue(self, prepared: Sequence[Sized | None]) -> _Request:
        if self._abandoned:
            raise unavailable("draining")
        wanted = [(index, tokens) for index, tokens in enumerate(prepared) if tokens is not None]
        count = sum(len(tokens) for _, tokens in wanted)
        if self._window and self._window.tokens + count > self._limits.max_queue_tokens:
            raise full(self._retry_after())
        request = _Request(self._loop.create_future(), [self._side.nothing] * len(prepared), len(wanted))
        now = time.monotonic()
        for index, tokens in wanted:
            self._window.add(self._next, tokens)
            self._texts[self._next] = _Text(request, index, now)
            request.places.add(self._next)
            self._next += 1
        return request

    def _pump(self) -> None:
        """Sends batches on their way as long as threads are free and there is reason to."""
        while self._window and self._running < self._submitted and self._due():
            places, batch = self._window.take(self._budget)
            texts = [self._texts.pop(place) for place in places]
            for place, text in zip(places, texts, strict=True):
                text.request.places.discard(place)
            self._running += 1
            self._metrics.waited.observe(time.monotonic() - min(text.since for text in texts))
            future = self._workers.submit(self._run, batch)
            future.add_done_callback(
                lambda done, texts=texts: self._loop.call_soon_threadsafe(self._deliver, texts, done)  # type: ignore[misc]
            )

    @property
    def _budget(self) -> int:
        budget = min(self._side.budget.token_budget, self._limits.max_batch_tokens or sys.maxsize)
        return min(budget, SMALL_TOKENS) if self._first and self._first.busy else budget

    def _due(self) -> bool:
        """Whether a batch should leave now: it is full, has waited, or would find an idle device."""
        if not self._running or self._window.tokens >= self._budget:
            return True
        oldest = next(iter(self._texts.values())).since
        left = oldest + self._wait - time.monotonic()
        if left <= 0:
            return True
        if self._timer is None:
            self._timer = self._loop.call_later(left, self._wake)
        return False

    def _wake(self) -> None:
        self._timer = None
        self._pump()

    def _run(self, batch: Sequence[Sized]) -> tuple[list[bytes], float, int]:
        start = time.perf_counter()
        rows = self._side.run(batch)
        return rows, time.perf_counter() - start, sum(map(len, batch))

    def _deliver(self, texts: Sequence[_Text], done: Future[tuple[list[bytes], float, int]]) -> None:
        self._running -= 1
        if done.cancelled():  # closed
            return
        if error := done.exception():
            for request in {text.request for text in texts}:
                if not request.answer.done():
                    request.answer.set_exception(error)
        else:
            rows, seconds, tokens = done.result()
            self._count(len(rows), seconds, tokens)
            for text, row in zip(texts, rows, strict=True):
                _give(text, row)
        self._pump()

    def _count(self, texts: int, seconds: float, tokens: int) -> None:
        self._metrics.batch(texts, tokens, seconds)
        rate = tokens * self._batches / max(seconds, 1e-6)
        self._tokens_per_second += (rate - self._tokens_per_second) * (0.1 if self._tokens_per_second else 1)

    def _retry_after(self) -> int:
        """Seconds until half of what waits has left, at the present pace."""
        if not self._tokens_per_second:
            return 1
        return max(1, min(_PATIENCE, math.ceil(self._window.tokens / 2 / self._tokens_per_second)))

    def _forget(self, request: _Request) -> None:
        """Takes what nobody waits for out of the queue."""
        self._metrics.dropped.inc(len(request.places))
        for place in request.places:
            self._window.discard(place)
            del self._texts[place]
        request.places.clear()


def _give(text: _Text, row: bytes) -> None:
    request = text.request
    request.rows[text.index] = row
    request.missing -= 1
    if not request.missing and not request.answer.done():
        request.answer.set_result(None)


def give_way() -> None:
    """Lowers the priority of the calling thread, where threads have one."""
    if sys.platform == "linux":
        with suppress(OSError):  # forbidden by a sandbox: then all threads are equal
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
