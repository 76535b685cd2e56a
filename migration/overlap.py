"""Overlap: how alike two rankings are."""

from __future__ import annotations

from collections.abc import Sequence

PERSISTENCE = 0.9
"""Of rank-biased overlap: who looks at a hit looks at the next one with this probability; the first ten weigh 86 %."""


def overlap(one: Sequence[str], other: Sequence[str], depth: int) -> float:
    """The share of the first hits that both have; of two empty rankings 1.

    Args:
        one: Ids, best first, each once.
        other: The same of the other ranking.
        depth: How many count; fewer where both are shorter.
    """
    length = min(depth, max(len(one), len(other)))
    return len(set(one[:depth]) & set(other[:depth])) / length if length else 1.0


def rank_biased_overlap(one: Sequence[str], other: Sequence[str], p: float = PERSISTENCE) -> float:
    """RBO, extrapolated: what is not seen is taken to agree as the rest does (Webber, Moffat and Zobel, 2010, eq. 32).

    Args:
        one: Ids, best first, each once.
        other: The same; may be longer or shorter.
        p: Between 0 and 1, both excluded.

    Returns:
        1 for equal rankings, two empty ones included; 0 where they share nothing.
    """
    short, long = sorted((one, other), key=len)
    if not short:
        return 0.0 if long else 1.0
    common, seen_short, seen_long = 0, set[str](), set[str]()
    total, at_short = 0.0, 0
    for depth, id_ in enumerate(long, start=1):
        seen_long.add(id_)
        if depth <= len(short):
            other_id = short[depth - 1]
            seen_short.add(other_id)
            common += (other_id in seen_long) + (id_ in seen_short) - (id_ == other_id)
            at_short = common
        else:
            common += id_ in seen_short
            total += at_short * (depth - len(short)) / (len(short) * depth) * p**depth
        total += common / depth * p**depth
    unseen = (common - at_short) / len(long) + at_short / len(short)
    return (1 - p) / p * total + unseen * p ** len(long)
