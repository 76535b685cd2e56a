"""Significance: could the difference of two systems be chance? Paired by question.

The paired randomisation test asks what Smucker, Allan and Carterette (CIKM 2007) found best for measures of retrieval:
if both systems were the same, each question's difference could as well have the other sign.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import MeasureError, MissingExtraError
from opensearch_splade.evaluation.measures import measure_key
from opensearch_splade.evaluation.results import Comparison, SystemResult

SAMPLES = 20_000
"""Of signs in the randomisation test: its p-values are good to .003 where they are about .05."""
EXACT = 14
"""Up to so many questions that differ, all 2^n assignments of signs are tried instead."""
RESAMPLES = 10_000
"""Of questions, for intervals."""
_CELLS = 1_000_000  # of one chunk of signs or counts: 8 MB
_EQUAL = 1e-10  # sums that differ by less, relative to all differences, are equal: they are added in different orders

Differences = npt.NDArray[np.float64]


def compare_all(
    results: Sequence[SystemResult], baseline: str, measures: Sequence[str], *, seed: int = 0
) -> list[Comparison]:
    """Each other system with the baseline, by each measure; p-values adjusted for all systems of a measure.

    Args:
        results: Measured on the same questions.
        baseline: The name of one of them.
        measures: All of them measured.
        seed: The same gives the same p-values and intervals.

    Returns:
        By system in the order of ``results``, then by measure.

    Raises:
        MeasureError: There is no such system, a measure was not computed, or the questions are not the same.
    """
    base = system_named(results, baseline)
    others = [result for result in results if result is not base]
    table: dict[str, list[Comparison]] = {}
    for measure in measures:
        key = measure_key(measure, base.per_question)
        differences = [_differences(other, base, key) for other in others]
        table[key] = _compared(others, base, key, differences, seed)
    return [row[place] for place in range(len(others)) for row in table.values()]


def system_named(results: Sequence[SystemResult], name: str) -> SystemResult:
    """The system of that name.

    Raises:
        MeasureError: There is none.
    """
    for result in results:
        if result.name == name:
            return result
    raise MeasureError(f"there is no system {name!r}, only {', '.join(result.name for result in results) or 'none'}.")


def _differences(system: SystemResult, baseline: SystemResult, measure: str) -> Differences:
    values = system.per_question[measure_key(measure, system.per_question)]
    others = baseline.per_question[measure]
    if values.keys() != others.keys():
        odd = sorted(values.keys() ^ others.keys())
        raise MeasureError(
            f"{system.name} and {baseline.name} were measured on different questions ({len(odd)}, such as {odd[0]});"
            " measure both with the same judgements."
        )
    return np.array([value - others[question] for question, value in values.items()], np.float64)


def _compared(
    systems: Sequence[SystemResult], base: SystemResult, measure: str, differences: Sequence[Differences], seed: int
) -> list[Comparison]:
    if not systems:
        return []
    p_values = [randomisation_test(one, seed) for one in differences]
    bounds = confidence_intervals(np.stack(differences, axis=1), seed)
    rows = zip(systems, differences, bounds, p_values, holm(p_values), strict=True)
    return [
        Comparison(
            system=system.name,
            baseline=base.name,
            measure=measure,
            difference=float(one.mean()) if len(one) else 0.0,
            low=low,
            high=high,
            p=p,
            p_adjusted=adjusted,
            wins=int((one > 0).sum()),
            losses=int((one < 0).sum()),
        )
        for system, one, (low, high), p, adjusted in rows
    ]


def randomisation_test(differences: npt.ArrayLike, seed: int = 0) -> float:
    """Two-sided p-value: how often the mean is as far from 0 if each difference has a random sign.

    Exact where at most ``EXACT`` of them are not 0; otherwise of ``SAMPLES`` assignments and the one that was found.

    Args:
        differences: Of each question. Shape: (questions,).
        seed: Of the assignments.
    """
    found = np.asarray(differences, np.float64)
    found = found[found != 0]
    if not len(found):
        return 1.0
    least = abs(found.sum()) - _EQUAL * np.abs(found).sum()
    if len(found) <= EXACT:
        numbers = np.arange(2 ** len(found))[:, None]
        signs = (numbers >> np.arange(len(found)) & 1) * 2.0 - 1
        return float(np.mean(np.abs(signs @ found) >= least))
    random = np.random.default_rng(seed)
    extreme = 0
    for count in _chunks(SAMPLES, len(found)):
        flipped = random.integers(0, 2, (count, len(found)), np.int8)
        extreme += int((np.abs(found.sum() - 2 * (flipped @ found)) >= least).sum())
    return (extreme + 1) / (SAMPLES + 1)


def t_test(differences: npt.ArrayLike) -> float:
    """Two-sided p-value of the paired t-test; 1 where nothing differs, and 0 where all differences are the same.

    Args:
        differences: Of each question. Shape: (questions,).

    Raises:
        MissingExtraError: scipy is not installed.
    """
    found = np.asarray(differences, np.float64)
    if len(found) < 2 or not found.any():
        return 1.0
    if np.ptp(found) == 0:
        return 0.0  # no spread at all; scipy would warn
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError("scipy", "eval") from error
    return float(stats.ttest_1samp(found, 0.0).pvalue)


def confidence_intervals(
    differences: npt.NDArray[np.float64], seed: int = 0, level: float = 0.95
) -> list[tuple[float, float]]:
    """Of each column's mean, by the bootstrap over questions (percentiles).

    Args:
        differences: Shape: (questions, systems). All columns see the same samples of questions.
        seed: Of the samples.
        level: How sure.
    """
    questions, systems = differences.shape
    if not questions:
        return [(0.0, 0.0)] * systems
    random = np.random.default_rng(seed)
    means = []
    for count in _chunks(RESAMPLES, questions):
        drawn = random.integers(0, questions, (count, questions)) + np.arange(count)[:, None] * questions
        counts = np.bincount(drawn.ravel(), minlength=count * questions).reshape(count, questions)
        means.append(counts @ differences / questions)
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means), (tail, 1 - tail), axis=0)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for how many there are (Holm, 1979): the chance of any false alarm among them stays."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p_values, np.float64)[order] * factors))
    return [float(one) for one in adjusted]


def _chunks(total: int, width: int) -> list[int]:
    """How many rows of so many columns to make at a time."""
    size = max(1, min(total, _CELLS // width))
    return [min(size, total - start) for start in range(0, total, size)]
