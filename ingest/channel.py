"""Channel: a bounded queue between two stages of the pipeline, which run in threads of their own.

A full channel holds up the stage before it, so a slow cluster slows the encoder down and memory stays flat. The reading
side takes all that is there at once, so that a busy pipeline works in large steps and a trickling source is not held
up.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class BrokenOffError(Exception):
    """Another stage failed, so there is nothing more to do here."""


class Channel(Generic[Item]):
    """One writer, one reader.

    Args:
        room: Items that may wait.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[Item] = deque()
        self._ended = self._broken = False
        self._changed = threading.Condition()

    @property
    def is_crowded(self) -> bool:
        """Whether the writer is ahead of the reader: at least half of the room is taken."""
        return len(self._items) * 2 >= self._room

    def put(self, item: Item) -> None:
        """Waits for room.

        Raises:
            BrokenOffError: Nobody will take it.
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._items) < self._room or self._broken)
            if self._broken:
                raise BrokenOffError
            self._items.append(item)
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
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended or self._broken, patience)
                if self._broken:
                    raise BrokenOffError
                if self._ended and not self._items:
                    return
                items = list(self._items)
                self._items.clear()
                self._changed.notify()
            yield items
