"""Channel: a bounded queue between two stages of the pipeline, which run in threads of their own.

A full channel holds up the stage before it, so a slow cluster slows the encoder down and memory stays flat: it is full
by count or by size, whichever comes first. The reading side takes all that is there at once, so that a busy pipeline
works in large steps and a trickling source is not held up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from opensearch_splade.ingest.waits import Wait

Item = TypeVar("Item")


class BrokenOffError(Exception):
    """Another stage failed, so there is nothing more to do here."""


class Channel(Generic[Item]):
    """One writer, one reader.

    Args:
        room: Items that may wait.
        size: Of an item.
        sizes: What the sizes of waiting items may add up to; one item may always wait.
        starved: Counts the reader's waits.
        blocked: Counts the writer's waits.
    """

    def __init__(
        self,
        room: int,
        *,
        size: Callable[[Item], int] = lambda _: 0,
        sizes: int = 0,
        starved: Wait | None = None,
        blocked: Wait | None = None,
    ) -> None:
        self._room, self._size, self._sizes = room, size, sizes
        self._starved, self._blocked = starved or Wait(), blocked or Wait()
        self._items: deque[Item] = deque()
        self._held = 0
        self._ended = self._broken = False
        self._changed = threading.Condition()

    @property
    def depth(self) -> int:
        """Items that wait."""
        return len(self._items)

    def put(self, item: Item) -> None:
        """Waits for room.

        Raises:
            BrokenOffError: Nobody will take it.
        """
        size = self._size(item)

        def has_room() -> bool:
            fits = len(self._items) < self._room and self._held + size <= self._sizes
            return fits or not self._items or self._broken

        with self._changed:
            if not has_room():
                with self._blocked:
                    self._changed.wait_for(has_room)
            if self._broken:
                raise BrokenOffError
            self._items.append(item)
            self._held += size
            self._changed.notify()

    def end(self) -> None:
        """Nothing more comes."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def break_off(self) -> None:
        """Both sides stop at once; what waits is dropped."""
        with self._changed:
            self._broken = True
            self._changed.notify_all()

    def takes(self, patience: float) -> Iterator[list[Item]]:
        """All that waits, again and again until the end; an empty list whenever nothing came for ``patience`` seconds.

        Raises:
            BrokenOffError: Another stage failed.
        """

        def is_told() -> bool:
            return bool(self._items) or self._ended or self._broken

        while True:
            with self._changed:
                if not is_told():
                    with self._starved:
                        self._changed.wait_for(is_told, patience)
                if self._broken:
                    raise BrokenOffError
                if self._ended and not self._items:
                    return
                items = list(self._items)
                self._items.clear()
                self._held = 0
                self._changed.notify()
            yield items
