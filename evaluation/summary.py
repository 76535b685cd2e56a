"""Summaries: what every report of an evaluation says, whatever it is written in."""

from __future__ import annotations

from opensearch_splade.evaluation.results import Comparison, Evaluation, SystemResult

LEVEL = 0.05
"""Of adjusted p-values, below which a difference counts as real."""

WORTH = {
    "people": "people",
    "clicks": "clicks: they favour what was shown first",
    "known items": "known items: each question has one document that must be found; others may be as good",
    "pseudo-queries": "pseudo-queries made of the documents: they rank systems roughly, and favour matching words",
}
"""What judgements are worth, by where they come from."""


def baseline_of(evaluation: Evaluation) -> SystemResult:
    """That of the comparisons, else the first system."""
    names = [comparison.baseline for comparison in evaluation.comparisons[:1]]
    return next((system for system in evaluation.systems if system.name in names), evaluation.systems[0])


def primary_measure(evaluation: Evaluation) -> str:
    """What is compared first, else the first measure."""
    compared = [comparison.measure for comparison in evaluation.comparisons[:1]]
    return compared[0] if compared else next(iter(evaluation.systems[0].per_question))


def highest(evaluation: Evaluation) -> dict[str, float]:
    """The best mean of each measure that any system has, the primary measure first."""
    means = [system.measures for system in evaluation.systems]
    first = primary_measure(evaluation)
    names = dict.fromkeys([first, *(name for each in means for name in each)])
    return {name: max(each.get(name, 0.0) for each in means) for name in names}


def comparison_of(evaluation: Evaluation, system: str, measure: str) -> Comparison | None:
    """Of a system by a measure, if there is one."""
    wanted = (each for each in evaluation.comparisons if (each.system, each.measure) == (system, measure))
    return next(wanted, None)


def is_significant(comparison: Comparison) -> bool:
    """Whether the difference would rarely be chance, after correction for all that were compared."""
    return comparison.p_adjusted < LEVEL


def mark(comparison: Comparison | None) -> str:
    """▲ or ▼ for a difference that is real, else nothing."""
    if comparison is None or not is_significant(comparison):
        return ""
    return "▲" if comparison.difference > 0 else "▼"


def best_system(evaluation: Evaluation) -> SystemResult:
    """By the primary measure; the earlier one of equals."""
    measure = primary_measure(evaluation)
    return max(evaluation.systems, key=lambda system: system.measures.get(measure, 0.0))


def legend(evaluation: Evaluation) -> str:
    """What the marks mean."""
    return (
        f"▲ better, ▼ worse than {baseline_of(evaluation).name}: p < {LEVEL:g} by the paired randomisation test, "
        "after Holm's correction for all systems compared"
    )


def verdict(evaluation: Evaluation) -> str:
    """One sentence: which system is best, and whether that is more than chance."""
    measure, best, base = primary_measure(evaluation), best_system(evaluation), baseline_of(evaluation)
    value = f"{best.measures.get(measure, 0.0):.4f}"
    if len(evaluation.systems) == 1:
        return f"{best.name} has {measure} {value}."
    if best.name == base.name:
        return f"No system has a higher {measure} than {base.name}, the baseline: {value}."
    found = comparison_of(evaluation, best.name, measure)
    if found is None:
        return f"{best.name} has the highest {measure}: {value}. Whether that is chance was not tested."
    sure = f"95 % interval {signed(found.low)} to {signed(found.high)}, p {p_value(found.p_adjusted)} by Holm"
    against = f"{found.difference:.4f} above {base.name} ({sure})"
    honest = "" if is_significant(found) else " That may be chance."
    return f"{best.name} has the highest {measure}: {value}, {against}.{honest}"


def signed(value: float, decimals: int = 4) -> str:
    """With its sign, a real minus; what rounds to nothing has none."""
    text = f"{value:+.{decimals}f}".replace("-", "−")
    return text if any(digit in "123456789" for digit in text) else f"{0:.{decimals}f}"


def p_value(p: float) -> str:
    """As a relation: ``= 0.0312``, or ``< 0.0001``."""
    return "< 0.0001" if p < 0.0001 else f"= {p:.4f}"


def caveats(evaluation: Evaluation) -> list[str]:
    """What a reader must know before the figures: what was tuned on what, what judgements are worth, other notes."""
    found = [f"{system.name} was tuned on {system.tuned_on}." for system in evaluation.systems if system.tuned_on]
    if evaluation.judged_by != "people":
        found.append(f"Judged by {WORTH.get(evaluation.judged_by, evaluation.judged_by)}.")
    return [*found, *(note for note in evaluation.notes if note not in found)]
