"""Significance: what scipy says, and what the textbook says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from opensearch_splade.errors import MeasureError
from opensearch_splade.evaluation.results import SystemResult
from opensearch_splade.evaluation.significance import (
    EXACT,
    SAMPLES,
    compare_all,
    confidence_intervals,
    holm,
    randomisation_test,
    t_test,
)

grades = st.sampled_from([-0.5, -0.25, -0.1, 0.0, 0.0, 0.1, 1 / 3, 0.25, 0.5, 1.0])


@given(st.lists(grades, min_size=2, max_size=9))
def test_the_exact_test_is_that_of_scipy(differences: list[float]) -> None:
    """All assignments of signs, equal sums counted as equal; questions without difference change nothing."""
    in_sixtieths = np.round(60 * np.array(differences))  # whole numbers, whose sums scipy compares exactly
    expected = stats.permutation_test((in_sixtieths,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert randomisation_test(differences) == pytest.approx(expected)
    assert randomisation_test([*differences, 0.0]) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2])
def test_the_sampled_test_comes_near_the_exact_one(shift: float) -> None:
    """Within four standard errors of scipy's enumeration, whatever the seed; with a seed it is always the same."""
    differences = np.random.default_rng(3).normal(shift, 0.3, EXACT + 2)
    expected = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=True
    ).pvalue
    error = 4 * np.sqrt(expected * (1 - expected) / SAMPLES)
    for seed in range(3):
        assert randomisation_test(differences, seed) == pytest.approx(expected, abs=error + 1 / SAMPLES)
    assert randomisation_test(differences) == randomisation_test(differences)
    assert len({randomisation_test(differences, seed) for seed in range(5)}) > 1


def test_what_cannot_be_chance_is_never_certain() -> None:
    """The smallest p-value of samples is that of the assignment which was found, as of 2^n it is two of them."""
    assert randomisation_test(np.full(200, 0.5)) == 1 / (SAMPLES + 1)
    assert randomisation_test(np.full(EXACT, 0.5)) == 2 / 2**EXACT
    assert randomisation_test([]) == randomisation_test([0.0, 0.0]) == 1.0


@pytest.mark.parametrize("questions", [10, 60])
def test_equal_systems_differ_as_rarely_as_said(questions: int) -> None:
    """Where there is no difference, p is below .05 about one time in twenty (below .2: one in five)."""
    dice = np.random.default_rng(11)
    p_values = np.array([randomisation_test(dice.normal(0, 1, questions), seed) for seed in range(200)])
    assert 1 <= (p_values < 0.05).sum() <= 23  # binomial with 200 and .05: less than 1e-4 each way
    assert 20 <= (p_values < 0.2).sum() <= 64


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=30))
def test_the_t_test_is_that_of_scipy(pairs: list[tuple[float, float]]) -> None:
    """Paired, two-sided."""
    one, other = np.array(pairs).T
    differences = one - other
    if np.std(differences) > 1e-6:
        assert t_test(differences) == pytest.approx(stats.ttest_rel(one, other).pvalue)


def test_the_t_test_knows_differences_without_spread() -> None:
    """No difference is no evidence; always the same difference leaves no doubt."""
    assert t_test([0.0, 0.0, 0.0]) == t_test([0.5]) == t_test([]) == 1.0
    assert t_test([0.5, 0.5, 0.5]) == 0.0


def test_intervals_are_those_of_scipys_bootstrap() -> None:
    """By percentiles, to a twentieth of their width; each column has its own."""
    dice = np.random.default_rng(5)
    columns = np.stack([dice.normal(0.1, 0.3, 80), dice.exponential(1, 80) - 1, np.zeros(80)], axis=1)
    found = confidence_intervals(columns)
    for (low, high), column in zip(found[:2], columns.T, strict=False):
        expected = stats.bootstrap(
            (column,), np.mean, method="percentile", n_resamples=20_000, random_state=np.random.default_rng(1)
        ).confidence_interval
        width = expected.high - expected.low
        assert (low, high) == pytest.approx((expected.low, expected.high), abs=width / 20)
    assert found[2] == (0.0, 0.0)
    assert confidence_intervals(columns) == found
    assert confidence_intervals(np.zeros((0, 2))) == [(0.0, 0.0)] * 2


def test_a_higher_level_gives_a_wider_interval() -> None:
    """And 90 % a narrower one."""
    column = np.random.default_rng(2).normal(0, 1, (50, 1))
    ((low, high),) = confidence_intervals(column)
    ((lower, higher),) = confidence_intervals(column, level=0.99)
    assert lower < low < 0.3
    assert low < high < higher


def test_holms_correction_is_that_of_the_textbook() -> None:
    """The smallest times n, the next times n - 1 …, never less than the one before and never more than 1."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


def test_each_system_is_compared_with_the_baseline() -> None:
    """Differences, wins and losses by question, p-values adjusted for the systems of one measure."""
    base = {str(number): 0.5 for number in range(8)}
    better = dict.fromkeys(base, 0.75) | {"0": 0.5, "7": 0.25}
    worse = dict.fromkeys(base, 0.25)
    results = [system("worse", worse), system("base", base), system("better", better)]
    found = compare_all(results, "base", ["AP", "R@5"])
    assert [(one.system, one.measure) for one in found] == [
        (name, measure) for name in ("worse", "better") for measure in ("AP", "R@5")
    ]
    first, _, second, _ = found
    assert (first.baseline, first.difference, first.wins, first.losses) == ("base", -0.25, 0, 8)
    assert (first.low, first.high) == (-0.25, -0.25)
    assert (first.p, first.p_adjusted) == (2 / 2**8, 4 / 2**8)
    assert (second.difference, second.wins, second.losses) == (pytest.approx(5 / 32), 6, 1)
    assert (second.p, second.p_adjusted) == (16 / 2**7, 16 / 2**7)  # at most one of seven signs is the odd one
    assert second.low < second.difference < second.high
    assert found == compare_all(results, "base", ["AP", "R@5"])


@given(st.lists(st.tuples(grades, grades), min_size=1, max_size=40))
def test_a_comparison_the_other_way_round_is_the_same(pairs: list[tuple[float, float]]) -> None:
    """With the sign, the wins and the losses exchanged."""
    one, other = ({str(place): pair[side] for place, pair in enumerate(pairs)} for side in (0, 1))
    (forth,) = compare_all([system("one", one), system("other", other)], "other", ["AP"])
    (back,) = compare_all([system("one", one), system("other", other)], "one", ["AP"])
    assert forth.difference == pytest.approx(-back.difference)
    assert (forth.p, forth.wins, forth.losses) == (back.p, back.losses, back.wins)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))


def test_measures_are_found_by_any_of_their_names() -> None:
    """MAP is AP."""
    results = [system("one", {"1": 1.0}), system("base", {"1": 0.0})]
    assert [one.measure for one in compare_all(results, "base", ["MAP"])] == ["AP"]
    assert compare_all(results[1:], "base", ["AP"]) == []


def test_what_cannot_be_compared_is_named() -> None:
    """A baseline that is not there, a measure that was not computed, questions that differ."""
    results = [system("one", {"1": 1.0, "3": 1.0}), system("base", {"1": 0.0, "2": 0.0})]
    with pytest.raises(MeasureError, match="no system 'bm25', only one, base"):
        compare_all(results, "bm25", ["AP"])
    with pytest.raises(MeasureError, match="P@5 was not measured, only AP, R@5"):
        compare_all(results, "base", ["P@5"])
    with pytest.raises(MeasureError, match=r"one and base .* different questions \(2, such as 2\)"):
        compare_all(results, "base", ["AP"])


def system(name: str, values: dict[str, float]) -> SystemResult:
    """One with these values of AP and of R@5."""
    return SystemResult(name, name, {}, {"AP": values, "R@5": values})
