"""Latencies: how long requests took, in the same memory for any number of them."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate

_STEPS = 4  # bounds for each doubling, so a quantile is at most 19 % too large
BOUNDS = tuple(0.005 * 2 ** (step / _STEPS) for step in range(16 * _STEPS))
"""Upper bounds of the buckets in seconds: 5 ms to 4 minutes; above is one bucket more."""
QUANTILES = (0.5, 0.9, 0.99)


class Latencies:
    """A histogram. The caller brings the lock."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self.total = self.longest = 0.0
        """Sum and maximum in seconds."""

    def add(self, seconds: float) -> None:
        """One request."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)

    def quantiles(self) -> dict[str, float]:
        """Upper bounds of the quantiles in seconds by name, ``p50`` and so on, and ``max``; empty if there is none."""
        counts = list(accumulate(self._counts))
        if not counts[-1]:
            return {}
        found = {}
        for quantile in QUANTILES:
            bucket = bisect_left(counts, quantile * counts[-1])
            found[f"p{quantile * 100:.0f}"] = round(min([*BOUNDS, self.longest][bucket], self.longest), 4)
        return {**found, "max": round(self.longest, 4)}

    def doublings(self) -> list[tuple[float, int]]:
        """Upper bounds in seconds, doubled each time, and how many requests took at most so long."""
        counts = list(accumulate(self._counts))
        return [(BOUNDS[at], counts[at]) for at in range(0, len(BOUNDS), _STEPS)] + [(float("inf"), counts[-1])]
