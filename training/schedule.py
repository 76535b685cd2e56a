"""Schedule: which pairs a step learns from. A function of seed and step alone, so a run goes on where it was killed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_WINDOW = 16
"""Batches whose pairs are sorted by length together: batches hold texts of like length, and still differ each time."""


class Schedule:
    """All pairs once an epoch, in batches of like length, the batches in a random order.

    Args:
        lengths: Tokens of each pair's text.
        size: Pairs in a batch; the last ones of an epoch that do not fill one come another time.
        seed: Another one gives other batches.
    """

    def __init__(self, lengths: Sequence[int], size: int, seed: int) -> None:
        self._lengths = np.array(lengths)
        self.size = min(size, len(lengths))
        self._seed = seed
        self._epoch = -1
        self._batches: list[list[int]] = []

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return len(self._lengths) // self.size

    def at(self, step: int) -> list[int]:
        """Places of the pairs of a step."""
        epoch, place = divmod(step, self.batches)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._shuffled(epoch)
        return self._batches[place]

    def chance(self, step: int) -> np.random.Generator:
        """What else is drawn in a step."""
        return np.random.default_rng([self._seed, 1, step])

    def _shuffled(self, epoch: int) -> list[list[int]]:
        chance = np.random.default_rng([self._seed, 0, epoch])
        order = chance.permutation(len(self._lengths))
        span = _WINDOW * self.size
        windows = [order[start : start + span] for start in range(0, len(order), span)]
        order = np.concatenate([one[np.argsort(self._lengths[one], kind="stable")] for one in windows])
        cut = [order[start * self.size : (start + 1) * self.size].tolist() for start in range(self.batches)]
        return [cut[place] for place in chance.permutation(len(cut))]
