"""When to stop reading a ranking: how many relevant documents are still unseen, from those judged so far.

Two published rules of technology-assisted review. Both know only the documents of the ranking: what the question does
not match at all, no reading finds.

* The hypergeometric test of Callaghan and Müller-Hansen ("Statistical stopping criteria for automated screening in
  systematic reviews", Systematic Reviews 9:273, 2020): the documents judged last are taken for a random sample of all
  that come from there on. A ranking puts relevant ones first, so that errs to the safe side, where it is better than
  chance; of all places where the sample can begin the most telling one is taken, which errs to the other.
* The knee of Cormack and Lynam ("Engineering Quality and Reliability in Technology-Assisted Review", SIGIR 2016): stop
  where relevant documents have become ``156 - min(found, 150)`` times rarer than they were before the knee.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

_STEEPEST = 156
_ENOUGH = 150
"""Of the knee: with so many relevant documents a slope ratio of 6 is proof."""
_NOTHING = 1e-17
"""Relative: smaller terms do not change a sum."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What can be said after some judgements.

    Attributes:
        seen: Documents judged.
        found: Relevant ones among them.
        unseen_at_most: Relevant ones that are still to come in the ranking, at most, at the confidence asked for.
        slope_ratio: How many times rarer relevant documents are after the knee than before it; 1 where there is none.
    """

    seen: int
    found: int
    unseen_at_most: int
    slope_ratio: float

    @property
    def recall_at_least(self) -> float:
        """The share of the ranking's relevant documents that is found, at least; 0 while none is."""
        return self.found / (self.found + self.unseen_at_most) if self.found else 0.0

    @property
    def is_past_knee(self) -> bool:
        """Whether the knee method stops here."""
        return self.found > 0 and self.slope_ratio >= _STEEPEST - min(self.found, _ENOUGH)


class Review:
    """The judgements of one ranking, in its order.

    Args:
        total: Documents of the ranking.
        confidence: Of ``unseen_at_most``, in (0, 1).

    Raises:
        QueryError: Total or confidence is out of bounds.

    Example:
        >>> review = Review(1000)
        >>> for number in range(200):
        ...     review.judge(number < 5)
        >>> review.estimate()
        Estimate(seen=200, found=5, unseen_at_most=13, slope_ratio=195.0)
    """

    def __init__(self, total: int, confidence: float = 0.95) -> None:
        if total < 0 or not 0 < confidence < 1:
            raise QueryError(f"a review of {total} documents at {confidence}: the confidence lies between 0 and 1")
        self._total, self._doubt = total, 1 - confidence
        self._ranks: list[int] = []  # of relevant documents, from 1
        self._seen = 0

    def judge(self, is_relevant: bool) -> None:
        """The judgement of the next document of the ranking.

        Raises:
            QueryError: There are more judgements than documents.
        """
        if self._seen == self._total:
            raise QueryError(f"more judgements than the ranking has documents ({self._total:,})")
        self._seen += 1
        if is_relevant:
            self._ranks.append(self._seen)

    def estimate(self) -> Estimate:
        """What can be said now."""
        bound = unseen_at_most(self._ranks, self._seen, self._total, self._doubt)
        return Estimate(self._seen, len(self._ranks), bound, slope_ratio(self._ranks, self._seen))


def unseen_at_most(ranks: Sequence[int], seen: int, total: int, doubt: float = 0.05) -> int:
    """How many relevant documents are unseen, at most.

    Args:
        ranks: Of the relevant documents seen, from 1, in ascending order.
        seen: Documents judged.
        total: Documents of the ranking.
        doubt: The probability below which a larger number is ruled out.

    Returns:
        The largest number of unseen ones that no sample rules out: all documents judged since the beginning, or since
        any of the relevant ones. Elsewhere a sample is shorter and tells less.
    """
    most = total - seen
    for place, start in enumerate([0, *ranks]):
        inside = len(ranks) - place
        low, middle, high = 0, most, most
        while low < high:  # a number that is ruled out rules out all larger ones
            is_possible = at_most(inside, total - start, inside + middle, seen - start) >= doubt
            low, high = (middle, high) if is_possible else (low, middle - 1)
            middle = (low + high + 1) // 2
        most = low
    return most


def at_most(hits: int, population: int, marked: int, drawn: int) -> float:
    """The probability of at most so many marked ones in a sample without replacement (hypergeometric)."""
    low, high = max(0, drawn - (population - marked)), min(hits, marked, drawn)
    if high < low:
        return 0.0
    start = min(max(low, (drawn + 1) * (marked + 1) // (population + 2)), high)  # the largest term
    whole = _log_choose(population, drawn)
    largest = math.exp(_log_choose(marked, start) + _log_choose(population - marked, drawn - start) - whole)
    found, term = largest, largest
    for each in range(start, low, -1):  # each term by its neighbour
        term *= each * (population - marked - drawn + each) / ((marked - each + 1) * (drawn - each + 1))
        found += term
        if term < _NOTHING * found:
            break
    term = largest
    for each in range(start, high):
        term *= (marked - each) * (drawn - each) / ((each + 1) * (population - marked - drawn + each + 1))
        found += term
    return min(1.0, found)


def slope_ratio(ranks: Sequence[int], seen: int) -> float:
    """How many times steeper the gain curve is before its knee than after it.

    Args:
        ranks: Of the relevant documents seen, from 1, in ascending order.
        seen: Documents judged.

    Returns:
        Of the slopes ``found / rank`` before the knee, and ``(1 + found) / rank`` after it, so that none is 0.
    """
    if not ranks:
        return 1.0
    gains = [0, *ranks]
    place = knee(gains, range(len(gains)), seen)
    before, after = ranks[place - 1] if place else 0, seen - (ranks[place - 1] if place else 0)
    if not before or not after:
        return 1.0
    return (place / before) / ((1 + len(ranks) - place) / after)


def knee(across: Sequence[float], up: Sequence[float], end: float) -> int:
    """The place of a rising curve's point that lies farthest above the straight line to its end.

    Args:
        across: Of each point, ascending.
        up: Of each point, ascending.
        end: Where the curve ends, at the last height.
    """
    slope = (up[-1] - up[0]) / (end - across[0]) if end > across[0] else 0.0
    heights = [y - up[0] - slope * (x - across[0]) for x, y in zip(across, up, strict=True)]
    return max(range(len(heights)), key=heights.__getitem__)


def score_knee(scores: Sequence[float]) -> int:
    """The rank at which the scores of a ranking bend: a hint where nobody judges, and no estimate of anything.

    Scores say how well words fit, not how many documents are relevant: of two questions with one curve of scores, one
    may have three relevant documents and the other three hundred.

    Args:
        scores: Best first.

    Returns:
        The number of hits before the bend (the point farthest below the line from first to last score; Satopää et al.,
        "Finding a Kneedle in a Haystack", 2011).
    """
    if len(scores) < 3:
        return len(scores)
    return knee(range(len(scores)), [-score for score in scores], len(scores) - 1)


def _log_choose(of: int, chosen: int) -> float:
    return math.lgamma(of + 1) - math.lgamma(chosen + 1) - math.lgamma(of - chosen + 1)
