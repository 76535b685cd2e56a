"""The report as Markdown: for terminals, and for the comments of a pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from opensearch_splade.evaluation.results import Evaluation, SystemResult
from opensearch_splade.evaluation.summary import (
    baseline_of,
    best_system,
    caveats,
    comparison_of,
    highest,
    legend,
    mark,
    p_value,
    signed,
    verdict,
)


def render_markdown(evaluation: Evaluation) -> str:
    """A GitHub table of the systems, one of the differences, and the notes. Cells are padded, so that it reads as text.

    Names and notes are escaped: they cannot open a table cell, a link or HTML.
    """
    judged = sum(map(len, evaluation.qrels.values()))
    counts = f"{len(evaluation.queries)} questions, {judged} judgements"
    where = f", index {evaluation.index} on OpenSearch {evaluation.server}" if evaluation.index else ""
    parts = [
        f"## {escape(evaluation.collection)}, {escape(evaluation.split)}: {counts}{escape(where)}",
        escape(verdict(evaluation)),
        _systems(evaluation),
    ]
    if evaluation.comparisons:
        parts += [escape(legend(evaluation)) + ".", _differences(evaluation)]
    if notes := caveats(evaluation):
        parts.append("\n".join(f"- {escape(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """On one line, and nothing in it means anything to Markdown."""
    return re.sub(r"(^[-#+=]|[\\`*\[\]|~&]|<(?! )|(?<! )>)", r"\\\1", " ".join(text.split()))


def _systems(evaluation: Evaluation) -> str:
    base, best, top = baseline_of(evaluation), best_system(evaluation), highest(evaluation)
    timed = any(system.latency for system in evaluation.systems)
    head = ["system", *top, *(("p50 ms", "p95 ms", "server ms") if timed else ())]
    rows = []
    for system in evaluation.systems:
        name = escape(system.name)
        name = f"**{name}**" if system is best else name
        name += " (baseline)" if system is base and len(evaluation.systems) > 1 else ""
        rows.append([name, *_values(evaluation, system, top), *(_times(system) if timed else ())])
    return _table(head, rows)


def _values(evaluation: Evaluation, system: SystemResult, top: Mapping[str, float]) -> list[str]:
    means, several = system.measures, len(evaluation.systems) > 1
    cells = []
    for measure, best in top.items():
        text = f"{means[measure]:.4f}" if measure in means else ""
        text = f"**{text}**" if several and means.get(measure) == best else text
        cells.append(f"{text} {mark(comparison_of(evaluation, system.name, measure))}".rstrip())
    return cells


def _times(system: SystemResult) -> list[str]:
    if system.latency is None:
        return ["", "", ""]
    return [f"{ms:.1f}" for ms in (system.latency.client_p50, system.latency.client_p95, system.latency.server_p50)]


def _differences(evaluation: Evaluation) -> str:
    head = ["against the baseline", "measure", "difference", "95 % interval", "p", "p by Holm", "better", "worse"]
    rows = [
        [
            escape(each.system),
            escape(each.measure),
            signed(each.difference),
            f"{signed(each.low)} to {signed(each.high)}",
            p_value(each.p).removeprefix("= "),
            p_value(each.p_adjusted).removeprefix("= "),
            str(each.wins),
            str(each.losses),
        ]
        for each in evaluation.comparisons
    ]
    return _table(head, rows, texts=2)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """The first columns, texts, to the left; the others to the right."""
    widths = [max(3, *(len(row[column]) for row in (head, *rows))) for column in range(len(head))]
    left = [column < texts for column in range(len(head))]
    rule = [
        f":{'-' * (width - 1)}" if is_left else f"{'-' * (width - 1)}:"
        for width, is_left in zip(widths, left, strict=True)
    ]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(cells, widths, left, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(head), line(rule), *map(line, rows)])
