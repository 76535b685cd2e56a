"""Forecast: from a sample that was really brought over to the whole index, each figure with its error.

Time: seconds a document, of several parts of the sample; the first warms up and does not count. The error is Student's
95 % interval of their mean. Steps of the pipeline overlap in a long run and hardly do in a short one: the lower end is
what the busiest step alone takes, the upper one what all took, and the figure lies a third of the way up, as it did in
runs that were measured (benchmarks/README.md).

Size: an index grows by a power of its documents a little below 1, since terms and their statistics come again and their
postings pack better. The exponent is fitted to the size after each part, merged into one segment. A live index has more
segments, so the upper end takes the sample's size a document for all; the lower end takes twice the bend.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

MILLION = 1_000_000
_STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""97.5 % quantiles of t for 1 to 10 degrees of freedom."""
_LEAST_EXPONENT = 0.8


class Estimate(NamedTuple):
    """A figure and between what it lies, most likely."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        """All three."""
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


class Part(NamedTuple):
    """A part of the sample, brought over.

    Attributes:
        documents: How many.
        seconds: From the first read to the last acknowledged.
        busiest: Seconds for which the busiest step worked.
        size: Bytes of the scratch index after it, all parts before included; 0 where there is none.
    """

    documents: int
    seconds: float
    busiest: float
    size: int = 0


def seconds_each(parts: Sequence[Part], most: float | None = None) -> Estimate:
    """Seconds a document.

    Args:
        parts: In the order in which they were brought over; at least one.
        most: Documents a second at most.
    """
    counted = parts[1:] or parts
    (whole, error), (busiest, less) = (
        _mean([getattr(part, name) / part.documents for part in counted]) for name in ("seconds", "busiest")
    )
    least = 1 / most if most else 0.0
    figures = ((whole + 2 * busiest) / 3, max(busiest - less, busiest / 3), whole + error)
    return Estimate(*(max(least, one) for one in figures))


def size(parts: Sequence[Part], documents: float, spread: float) -> Estimate:
    """Bytes of one copy of the new index.

    Args:
        parts: As above, with sizes.
        documents: Of the whole index, which has one shard.
        spread: Standard error of the documents' own sizes, as a share of their mean.
    """
    counts, total = [], 0
    for part in parts:
        total += part.documents
        counts.append(total)
    exponent = _exponent(counts, [part.size for part in parts])
    whole, times = parts[-1].size, documents / total
    bent = max(_LEAST_EXPONENT, 2 * exponent - 1)
    low, value, high = sorted(whole * times**power for power in (bent, exponent, 1.0))
    return Estimate(value, low * max(0.0, 1 - 2 * spread), high * (1 + 2 * spread))


def spread(sizes: Sequence[int]) -> float:
    """Standard error of a mean as a share of it."""
    if len(sizes) < 2 or not any(sizes):
        return 1.0
    return statistics.stdev(sizes) / math.sqrt(len(sizes)) / statistics.fmean(sizes)


def share(count: int, of: int) -> Estimate:
    """A share by Wilson's 95 % interval (Wilson 1927), which holds near 0 and 1 too."""
    if not of:
        return Estimate(0.0, 0.0, 1.0)
    z, part = 1.96, count / of
    middle = (part + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * math.sqrt(part * (1 - part) / of + z * z / (4 * of * of))
    return Estimate(part, max(0.0, min(part, middle - half)), min(1.0, max(part, middle + half)))


def _mean(values: Sequence[float]) -> tuple[float, float]:
    """With half of its interval; one value alone says little."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, mean / 2
    student = _STUDENT[min(len(values) - 1, len(_STUDENT)) - 1]
    return mean, student * statistics.stdev(values) / math.sqrt(len(values))


def _exponent(counts: Sequence[int], sizes: Sequence[int]) -> float:
    """Of the power law through (documents, bytes), the later points counting more."""
    points = [(math.log(n), math.log(bytes_), n) for n, bytes_ in zip(counts, sizes, strict=True) if bytes_ > 0]
    if len(points) < 2:
        return 1.0
    weight = sum(n for _, _, n in points)
    x0, y0 = (sum(point[axis] * point[2] for point in points) / weight for axis in (0, 1))
    slope = sum(n * (x - x0) * (y - y0) for x, y, n in points) / sum(n * (x - x0) ** 2 for x, _, n in points)
    return min(1.0, max(_LEAST_EXPONENT, slope))
