"""Winners and losers: the questions where a system differs most from the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opensearch_splade.evaluation.measures import measure_key
from opensearch_splade.evaluation.results import SystemResult
from opensearch_splade.evaluation.significance import system_named


@dataclass(frozen=True, slots=True)
class QuestionDifference:
    """One question under two systems.

    Attributes:
        question: Its id.
        system: The system's value.
        baseline: The baseline's.
    """

    question: str
    system: float
    baseline: float

    @property
    def difference(self) -> float:
        """System minus baseline."""
        return self.system - self.baseline


@dataclass(frozen=True, slots=True)
class Winners:
    """The questions that decide.

    Attributes:
        winners: Where the system is better, by most first.
        losers: Where it is worse, by most first.
    """

    winners: Sequence[QuestionDifference]
    losers: Sequence[QuestionDifference]


def winners(results: Sequence[SystemResult], system: str, baseline: str, measure: str, count: int) -> Winners:
    """The ``count`` questions that a system wins by most against the baseline, and those that it loses by most.

    Of equal differences the smaller id comes first. Questions that only one of them was asked are left out.

    Raises:
        MeasureError: There is no such system, or the measure was not computed.
    """
    one, other = system_named(results, system), system_named(results, baseline)
    values = one.per_question[measure_key(measure, one.per_question)]
    others = other.per_question[measure_key(measure, other.per_question)]
    found = [
        QuestionDifference(question, values[question], others[question]) for question in values if question in others
    ]
    found.sort(key=lambda each: (-abs(each.difference), each.question))
    return Winners(
        [each for each in found if each.difference > 0][:count],
        [each for each in found if each.difference < 0][:count],
    )
