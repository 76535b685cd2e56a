"""Encoder step: items of one channel through an encoder's stream into the next channel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

from opensearch_splade.ingest.channel import Channel

ENCODER_PATIENCE = 0.2
"""Seconds without a new document after which an encoder goes on with what it has, though batches are not full."""

HELD = 32_000_000
"""Characters of documents that an encoder holds before it goes on with what it has: its window counts tokens, and a
long text has no more of them than the model takes."""

_In = TypeVar("_In")
_Piece = TypeVar("_Piece")
_Out = TypeVar("_Out")
_Row = TypeVar("_Row")


def through(
    source: Channel[_In],
    pieces: Callable[[list[_In]], Iterable[Sequence[_Piece]]],
    stream: Callable[[Iterator[_Piece | None]], Iterator[_Row]],
    join: Callable[[_In, list[_Row]], _Out],
    out: Channel[_Out],
    size: Callable[[_In], int] = lambda _: 0,
) -> None:
    """Items through an encoder's stream, which reads a window ahead of what it gives.

    Args:
        source: Where items come from.
        pieces: What the encoder reads for each of them; at least one piece.
        stream: The encoder: one row a piece, in order; ``None`` says that no more is to be had just now.
        join: An item and the rows of its pieces.
        out: Where they go.
        size: Of an item, in characters.
    """
    waiting: deque[tuple[_In, int]] = deque()
    held = 0

    def ahead() -> Iterator[_Piece | None]:
        nonlocal held
        for batch in source.takes(ENCODER_PATIENCE):
            for item, read in zip(batch, pieces(batch), strict=True):
                waiting.append((item, len(read)))
                held += size(item)
                yield from read
            if not batch:
                yield None
            while held > HELD:
                yield None

    def rows() -> Generator[_Row, None, None]:
        yield from stream(ahead())

    together = list[_Row]()
    with closing(rows()) as found:  # which closes the stream too, so that the encoder's threads end with this step
        for row in found:
            together.append(row)
            item, count = waiting[0]
            if len(together) == count:
                waiting.popleft()
                held -= size(item)
                out.put(join(item, together))
                together = []
