"""Thresholds: what an evaluation must reach, by number or by an earlier evaluation, so that a pipeline can fail."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opensearch_splade.errors import MeasureError
from opensearch_splade.evaluation.evaluation_file import read_evaluation
from opensearch_splade.evaluation.measures import measure_key, measure_names
from opensearch_splade.evaluation.results import Evaluation, SystemResult
from opensearch_splade.evaluation.significance import randomisation_test, system_named

ALPHA = 0.05
"""A mean that is lower counts as a regression where the paired test gives a smaller p."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a mean must reach.

    Attributes:
        measure: Its name.
        least: The mean, four decimals, must not be lower.
        system: Whose; empty: the best one's.
    """

    measure: str
    least: float
    system: str = ""

    @classmethod
    def parse(cls, text: str) -> Threshold:
        """Reads ``nDCG@10=.70`` or ``bm25+knn:rrf:nDCG@10=.70``.

        Raises:
            MeasureError: It is neither, or the measure is not known.
        """
        asked, _, number = text.rpartition("=")
        try:
            least = float(number)
        except ValueError:
            least = math.nan
        if not asked or not math.isfinite(least):
            raise MeasureError(
                f"{text!r} is not a threshold: write MEASURE=NUMBER or SYSTEM:MEASURE=NUMBER, e.g. nDCG@10=.70."
            )
        system, measure = _named(asked)
        return cls(measure, least, system)


def _named(asked: str) -> tuple[str, str]:
    """System and measure. Names of systems hold colons too, so the longest measure at the end is taken."""
    parts = asked.split(":")
    for place in range(len(parts)):
        try:
            (measure,) = measure_names([":".join(parts[place:]).strip()])
        except MeasureError:
            if place == len(parts) - 1:
                raise
        else:
            return ":".join(parts[:place]).strip(), measure
    raise AssertionError  # the last part is either returned or raised


def below(evaluation: Evaluation, thresholds: Sequence[Threshold]) -> list[str]:
    """A sentence for each threshold that is not reached.

    Raises:
        MeasureError: A system is not there, or a measure was not computed.
    """
    found = []
    for threshold in thresholds:
        systems = [system_named(evaluation.systems, threshold.system)] if threshold.system else evaluation.systems
        if not systems:
            raise MeasureError("there is no system, so no threshold can be reached.")
        name, mean = max(((one.name, _mean(one, threshold.measure)) for one in systems), key=lambda pair: pair[1])
        if mean < threshold.least:
            best = "" if threshold.system or len(systems) == 1 else ", the best,"
            found.append(f"{name}{best} has {threshold.measure} {mean:.4f}, below the {threshold.least:g} asked for.")
    return found


def _mean(system: SystemResult, measure: str) -> float:
    means = system.measures
    return means[measure_key(measure, means)]


def no_regression(current: Evaluation, baseline_file: Path, tolerance: float | None = None) -> list[str]:
    """A sentence for each system and measure that became worse, and for each that is no longer there.

    Systems are matched by name, and compared on the questions of both whose judgements are the same. Worse is a lower
    mean, with p < ``ALPHA`` by the paired randomisation test. ``Judged@k`` is not compared: it is no quality.

    Args:
        current: What was measured now.
        baseline_file: What ``write_evaluation`` wrote earlier.
        tolerance: Instead of the test, how much lower a mean may be.

    Raises:
        SourceError: The file cannot be read or is not an evaluation.
        MeasureError: It is of another collection or split, or has no question in common.
    """
    earlier = read_evaluation(baseline_file)
    if (earlier.collection, earlier.split) != (current.collection, current.split):
        raise MeasureError(
            f"{baseline_file} is of {earlier.collection} ({earlier.split}), and this is {current.collection}"
            f" ({current.split}); name the evaluation of the same questions."
        )
    common = [
        question for question, grades in current.qrels.items() if grades and earlier.qrels.get(question) == grades
    ]
    if not common:
        raise MeasureError(f"{baseline_file} has no question in common with this evaluation; write a new baseline.")
    now = {system.name: system for system in current.systems}
    return [sentence for system in earlier.systems for sentence in _worse(system, now, common, tolerance)]


def _worse(
    before: SystemResult, now: Mapping[str, SystemResult], common: Sequence[str], tolerance: float | None
) -> Iterator[str]:
    if before.name not in now:
        yield f"{before.name} is in the baseline and was not measured now; measure it, or write a new baseline."
        return
    current = now[before.name].per_question
    for measure, earlier in before.per_question.items():
        if measure.startswith("Judged"):
            continue
        if measure not in current:
            yield f"{measure} of {before.name} is in the baseline and was not measured now; add it to the measures."
            continue
        yield from _lower(f"{measure} of {before.name}", current[measure], earlier, common, tolerance)


def _lower(
    what: str, now: Mapping[str, float], before: Mapping[str, float], common: Sequence[str], tolerance: float | None
) -> Iterator[str]:
    asked = [question for question in common if question in now and question in before]
    differences = [now[question] - before[question] for question in asked]
    loss = -sum(differences) / max(1, len(asked))
    p = randomisation_test(differences) if tolerance is None and loss > 0 else 1.0
    if not (p < ALPHA if tolerance is None else loss > tolerance + 1e-9):
        return
    means = [sum(values[question] for question in asked) / len(asked) for values in (before, now)]
    reason = f"p = {p:.2g}" if tolerance is None else f"more than {tolerance:g}"
    yield f"{what} fell from {means[0]:.4f} to {means[1]:.4f} on {len(asked)} questions ({reason})."
