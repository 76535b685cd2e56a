"""Batches by token budget: texts of like length together, so that little is padding."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence, Sized
from itertools import chain
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

Tokens = Sequence[int]
Text = TypeVar("Text", bound=Sized)


class SlidingWindow(Generic[Text]):
    """Texts that wait for their batch, sorted by length in tokens; new ones come in as batches leave.

    Each batch holds the text that has waited longest and its nearest neighbours in length, so nothing waits forever and
    the order can be restored in bounded memory.
    """

    def __init__(self) -> None:
        self._waiting: dict[int, Text] = {}
        self._by_length: list[tuple[int, int]] = []
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, place: int, tokens: Text) -> None:
        """Takes in a text that has at least one token."""
        self._waiting[place] = tokens
        insort(self._by_length, (len(tokens), place))
        self.tokens += len(tokens)

    def discard(self, place: int) -> None:
        """Forgets a text; one that is no longer there is none to forget."""
        tokens = self._waiting.pop(place, None)
        if tokens is not None:
            del self._by_length[bisect_left(self._by_length, (len(tokens), place))]
            self.tokens -= len(tokens)

    def take(self, budget: int) -> tuple[list[int], list[Text]]:
        """The next batch, longest first: ``longest * count <= budget``, or a single longer text."""
        order = self._by_length
        oldest = next(iter(self._waiting))
        low = bisect_left(order, (len(self._waiting[oldest]), oldest))
        high = low + 1
        while True:
            longest, count = order[high - 1][0], high - low + 1
            up = order[high][0] - longest if high < len(order) and order[high][0] * count <= budget else None
            down = order[low][0] - order[low - 1][0] if low and longest * count <= budget else None
            if up is None and down is None:
                break
            if down is None or (up is not None and up <= down):
                high += 1
            else:
                low -= 1
        places = [place for _, place in reversed(order[low:high])]
        del order[low:high]
        batch = [self._waiting.pop(place) for place in places]
        self.tokens -= sum(map(len, batch))
        return places, batch


def pad(token_ids: Sequence[Tokens], multiple: int = 1) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Right-padded ids and attention mask, each of shape ``(batch, longest, rounded up to a multiple)``.

    Padding is id 0: masked positions never reach the output, so its value does not matter.
    """
    lengths = np.fromiter(map(len, token_ids), np.int64, len(token_ids))
    longest = -(-int(lengths.max()) // multiple) * multiple
    mask = np.arange(longest) < lengths[:, None]
    ids = np.zeros(mask.shape, np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(token_ids), np.int64, int(lengths.sum()))
    return ids, mask.astype(np.int64)
