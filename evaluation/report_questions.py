"""Report: every question by every system."""

from __future__ import annotations

from collections.abc import Sequence

from opensearch_splade.evaluation.drill_down import DrillDown
from opensearch_splade.evaluation.markup import Html, joined, raw, tag
from opensearch_splade.evaluation.report_drill_downs import anchor
from opensearch_splade.evaluation.results import Evaluation, SystemResult
from opensearch_splade.evaluation.summary import baseline_of, best_system, primary_measure, signed

MOST = 1000
"""Rows of the table of questions: more make a page that browsers scroll badly. Those with small differences go."""


def questions_table(evaluation: Evaluation, drill_downs: Sequence[DrillDown]) -> Html:
    """One row a question: the baseline's value, and each other system's difference from it."""
    measure, base = primary_measure(evaluation), baseline_of(evaluation)
    others = [system for system in evaluation.systems if system is not base and measure in system.per_question]
    shown = _shown(evaluation, base, others, measure)
    anchors: dict[str, str] = {}
    for number, each in enumerate(drill_downs):
        anchors.setdefault(each.query, anchor(number))
    names = ("Question", "Relevant", base.name, *(system.name for system in others))
    head = tag("tr", *(tag("th", _breaking(name), scope="col") for name in names))
    rows = [_question_row(evaluation, query, base, others, measure, anchors.get(query)) for query in shown]
    left_out = len(evaluation.queries) - len(shown)
    caption = f"{measure} of {base.name}, and what each other system has more or less."
    if left_out > 0:
        caption += f" The {left_out} questions with the smallest differences are left out."
    table = tag(
        "table", tag("caption", caption), tag("thead", head), tag("tbody", *rows), class_="figures sortable heat"
    )
    return tag(
        "div", table, class_="wide tall", id_="questions-table", tabindex="0", role="region", aria_label="Questions"
    )


def _breaking(name: str) -> Html:
    """A name that may go on in the next line after each plus."""
    first, *others = name.split("+")
    return joined([first, *(part for other in others for part in ("+", raw("<wbr>"), other))])


def _shown(evaluation: Evaluation, base: SystemResult, others: Sequence[SystemResult], measure: str) -> list[str]:
    """Ids: at most ``MOST``, those with the largest differences; ordered by what the best system gains."""
    values = base.per_question.get(measure, {})

    def spread(query: str) -> float:
        return max((abs(_difference(system, base, measure, query)) for system in others), default=0.0)

    kept = sorted(evaluation.queries, key=lambda query: -spread(query))[:MOST]
    best = best_system(evaluation)
    best = best if best is not base else others[0] if others else base
    return sorted(kept, key=lambda query: (-_difference(best, base, measure, query), -values.get(query, 0.0)))


def _difference(system: SystemResult, base: SystemResult, measure: str, query: str) -> float:
    return system.per_question[measure].get(query, 0.0) - base.per_question.get(measure, {}).get(query, 0.0)


def _question_row(
    evaluation: Evaluation,
    query: str,
    base: SystemResult,
    others: Sequence[SystemResult],
    measure: str,
    link: str | None,
) -> Html:
    text = evaluation.queries[query]
    shown: object = tag("a", text, href=f"#{link}") if link else text
    name = tag(
        "th", tag("span", query, class_="id"), " ", tag("span", shown, dir_="auto"), scope="row", data_value=text
    )
    relevant = sum(grade > 0 for grade in evaluation.qrels.get(query, {}).values())
    value = base.per_question.get(measure, {}).get(query, 0.0)
    cells = [tag("td", relevant, data_value=relevant), tag("td", f"{value:.3f}", data_value=value)]
    for system in others:
        difference = _difference(system, base, measure, query)
        title = f"{system.name}: {value + difference:.4f}"
        cells.append(
            tag("td", signed(difference, 3), data_value=round(difference, 6), class_=heat(difference), title=title)
        )
    return tag("tr", name, *cells)


def heat(difference: float) -> str:
    """A class of the style sheet: better or worse, in three steps."""
    if abs(difference) < 0.0005:
        return "even"
    step = 1 + (abs(difference) >= 0.1) + (abs(difference) >= 0.35)
    return f"{'up' if difference > 0 else 'down'}{step}"
