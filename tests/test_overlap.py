"""Overlap of rankings: published figures, figures by hand, and what must hold of any two rankings."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.migration.overlap import overlap, rank_biased_overlap

RANKINGS = st.lists(st.sampled_from("abcdefghijklmnop"), unique=True, max_size=14)
PERSISTENCES = st.floats(0.05, 0.97)


def _by_definition(one: list[str], other: list[str], p: float) -> float:
    """Equation 32, sums as they are printed, without any state: slow and plain."""
    short, long = sorted((one, other), key=len)
    s, l = len(short), len(long)  # noqa: E741 - the paper's names
    x = {d: len(set(short[:d]) & set(long[:d])) for d in range(1, l + 1)}
    first = sum(x[d] / d * p**d for d in range(1, l + 1))
    second = sum(x[s] * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    return (1 - p) / p * (first + second) + ((x[l] - x[s]) / l + x[s] / s) * p**l


@pytest.mark.parametrize(
    ("one", "other", "p", "value"),
    [
        # R. Agarwal's measures and rankmeasures (GitHub), which implement the same equation, print .828.
        ("abcde", "bcdae", 0.9, 0.828),
        # By hand: agreement is 0, 0, 2/3, 1/2, 2/5, 1/3, 2/7 (the paper's table of average overlap has these).
        (
            "abcdefg",
            "zcavwxy",
            0.5,
            float(sum(Fraction(2, d) * Fraction(1, 2) ** d for d in range(3, 8)) + Fraction(2, 7 * 2**7)),
        ),
        # By hand: the first hit is shared and the second is not, and goes on as 1/2.
        ("ab", "ac", 0.5, 0.5 * 1 + 0.25 * 0.5 + 0.25 * 0.5),
        # A prefix agrees wholly as far as anybody can see.
        ("ab", "abcd", 0.9, 1.0),
    ],
)
def test_published_figures_and_figures_by_hand(one: str, other: str, p: float, value: float) -> None:
    """Rank-biased overlap, extrapolated, is what others and paper and pencil find."""
    assert rank_biased_overlap(one, other, p) == pytest.approx(value, abs=5e-5)


@given(RANKINGS, RANKINGS, PERSISTENCES)
def test_it_is_the_equation(one: list[str], other: list[str], p: float) -> None:
    """Counting as it goes gives what the printed sums give."""
    if one and other:
        assert rank_biased_overlap(one, other, p) == pytest.approx(_by_definition(one, other, p), abs=1e-9)


@given(RANKINGS, RANKINGS, PERSISTENCES)
def test_it_is_a_symmetric_share(one: list[str], other: list[str], p: float) -> None:
    """Between 0 and 1, the same both ways, 1 of a ranking and itself, 0 of rankings that share nothing."""
    found = rank_biased_overlap(one, other, p)
    assert -1e-9 <= found <= 1 + 1e-9
    assert found == pytest.approx(rank_biased_overlap(other, one, p))
    assert rank_biased_overlap(one, one, p) == pytest.approx(1.0)
    assert (found < 1e-12) == (not set(one) & set(other) and bool(one or other))


def test_a_change_at_the_top_weighs_more() -> None:
    """Swapping neighbours costs the less the further down they stand."""
    ranking = list("abcdefgh")
    swapped = [[*ranking[:i], ranking[i + 1], ranking[i], *ranking[i + 2 :]] for i in range(len(ranking) - 1)]
    values = [rank_biased_overlap(ranking, other) for other in swapped]
    assert all(one < other for one, other in pairwise(values))


def test_overlap_counts_what_both_have() -> None:
    """Of as many as the longer one has, at most the depth; two empty rankings are alike."""
    assert overlap("abcd", "badx", 2) == 1.0
    assert overlap("abcd", "badx", 4) == 0.75
    assert overlap("ab", "abcd", 10) == 0.5
    assert overlap("", "a", 10) == 0.0
    assert overlap("", "", 10) == 1.0
