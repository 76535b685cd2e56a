"""Stream: texts of any number through batches of like length, several at once, results in the order of the texts.

Memory is bounded whatever the number of texts: a window of texts waits for batches, and a result waits only for those
that came before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import Protocol, TypeVar

from opensearch_splade.onnx_models.batches import SlidingWindow, Text
from opensearch_splade.onnx_models.plan import Plan

Row = TypeVar("Row")

WINDOW_BATCHES = 24
"""Batches that the waiting texts amount to: the more, the less is padding."""
MOST = 10_000
"""Results that may wait for those before them; only texts without any token come to so many."""
CHUNK = 128
"""Texts tokenised at once."""
AHEAD = 3
"""Chunks tokenised or being tokenised before they are needed."""


class Budget(Protocol):
    """What ``in_order`` needs to know of a session."""

    @property
    def plan(self) -> Plan:
        """How many batches run at once."""
        ...

    @property
    def token_budget(self) -> int:
        """Tokens a batch; may shrink while texts stream by."""
        ...


def in_order(
    token_ids: Iterable[Text | None], run: Callable[[list[Text]], Iterable[Row]], session: Budget
) -> Iterator[Row | None]:
    """One result per text, in order; ``None`` for a text without any token.

    Args:
        token_ids: Texts, as long as they have tokens. Read as batches leave, a window ahead. ``None`` says that no more
            is to be had just now, so that what waits goes into batches at once. What it raises is raised at once:
            results of texts before it that were not given yet are lost.
        run: One batch to one result per text. Called from several threads.
        session: Whose plan and budget hold. The budget may shrink on the way.
    """
    waiting: SlidingWindow[Text] = SlidingWindow()
    source = iter(token_ids)
    running: dict[Future[list[Row]], list[int]] = {}
    done: SimpleQueue[Future[list[Row]]] = SimpleQueue()  # cheaper than `concurrent.futures.wait`
    finished: dict[int, Row | None] = {}
    exhausted, read, given = False, 0, 0
    with ThreadPoolExecutor(session.plan.batches, thread_name_prefix="encoder") as workers:
        try:
            while True:
                while not exhausted and waiting.tokens < WINDOW_BATCHES * session.token_budget and len(finished) < MOST:
                    try:
                        tokens = next(source)
                    except StopIteration:
                        exhausted = True
                        break
                    if tokens is None:
                        break
                    if tokens:
                        waiting.add(read, tokens)
                    else:
                        finished[read] = None
                    read += 1
                # One batch more than run at once, so that no worker waits for this thread.
                while waiting and len(running) <= session.plan.batches:
                    places, batch = waiting.take(session.token_budget)
                    future = workers.submit(_collect, run, batch)
                    running[future] = places
                    future.add_done_callback(done.put)
                if running:
                    future = done.get()
                    finished.update(zip(running.pop(future), future.result(), strict=True))
                while given in finished:
                    yield finished.pop(given)
                    given += 1
                if exhausted and not waiting and not running:
                    return
        finally:
            for batch_result in running:
                batch_result.cancel()


def _collect(run: Callable[[list[Text]], Iterable[Row]], batch: list[Text]) -> list[Row]:
    return list(run(batch))


def tokenised(texts: Iterable[str], tokenise: Callable[[Sequence[str]], list[list[int]]]) -> Iterator[list[int]]:
    """Token ids of each text, made ahead of need while batches run."""
    source = iter(texts)
    ahead: deque[Future[list[list[int]]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="tokenizer") as worker:
        try:
            while chunk := list(islice(source, CHUNK)):
                ahead.append(worker.submit(tokenise, chunk))
                if len(ahead) > AHEAD:
                    yield from ahead.popleft().result()
            while ahead:
                yield from ahead.popleft().result()
        finally:
            for chunk_result in ahead:
                chunk_result.cancel()
