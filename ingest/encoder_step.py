"""Encoder step: items of one channel through an encoder's stream into the next channel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

from opensearch_splade.ingest.channel import Channel
from opensearch_splade.onnx_models.batches import Tokens

ENCODER_PATIENCE = 0.2
"""Seconds without a new document after which an encoder goes on with what it has, though batches are not full."""

HELD = 32_000_000
"""Characters of documents that an encoder holds before it goes on with what it has: its window counts tokens, and a
long text has no more of them than the model takes."""

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Row = TypeVar("_Row")


def through(
    source: Channel[_In],
    tokenise: Callable[[list[_In]], Iterable[Tokens]],
    stream: Callable[[Iterator[Tokens | None]], Iterator[_Row]],
    join: Callable[[_In, _Row], _Out],
    out: Channel[_Out],
    size: Callable[[_In], int] = lambda _: 0,
) -> None:
    """Items through an encoder's stream, which reads a window ahead of what it gives."""
    waiting: deque[_In] = deque()
    held = 0

    def tokens() -> Iterator[Tokens | None]:
        nonlocal held
        for batch in source.takes(ENCODER_PATIENCE):
            waiting.extend(batch)
            held += sum(map(size, batch))
            yield from tokenise(batch)
            if not batch:
                yield None
            while held > HELD:
                yield None

    def rows() -> Generator[_Row, None, None]:
        yield from stream(tokens())

    with closing(rows()) as found:  # which closes the stream too, so that the encoder's threads end with this step
        for row in found:
            item = waiting.popleft()
            held -= size(item)
            out.put(join(item, row))
