"""What ``osplade eval`` prints and writes, and what lets a pipeline fail."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import click
import orjson
from rich.console import Console

from opensearch_splade.cli.evaluation_options import Gates, Outputs
from opensearch_splade.cli.rendering import evaluation_table, printer
from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.drill_down import Ask
from opensearch_splade.evaluation.drill_down import asking as way_to_ask
from opensearch_splade.evaluation.evaluation_file import evaluation_to_json, write_evaluation
from opensearch_splade.evaluation.prune_curve import Curve
from opensearch_splade.evaluation.results import Evaluation
from opensearch_splade.evaluation.systems import System
from opensearch_splade.evaluation.thresholds import below, no_regression

LEFT_OUT = "left out: "


def put_out(
    evaluation: Evaluation,
    systems: Sequence[System],
    score_errors: Mapping[str, float],
    outputs: Outputs,
    console: Console,
) -> None:
    """Files first, so that they are there even where nobody reads what is printed.

    Raises:
        SourceError: A file cannot be written.
    """
    if outputs.save:
        write_evaluation(outputs.save, evaluation)
    if outputs.report:
        _write(outputs.report, _html(evaluation, systems, outputs.curves, console))
    if outputs.as_json:
        told = orjson.loads(evaluation_to_json(evaluation, runs=False))
        click.echo(orjson.dumps({**told, "score_error": dict(score_errors)}))
    elif outputs.as_markdown:
        from opensearch_splade.evaluation.report_markdown import render_markdown

        click.echo(render_markdown(evaluation), nl=False)
    else:
        _print(evaluation, score_errors)


def _print(evaluation: Evaluation, score_errors: Mapping[str, float]) -> None:
    index = f", index {evaluation.index}" if evaluation.index else ""
    title = f"{evaluation.collection}, {len(evaluation.queries)} questions{index}"
    printer().print(evaluation_table(evaluation, title))
    for leg, error in score_errors.items():
        click.echo(f"{leg}: the server's scores equal the exact dot products within {error:.1e}")
    for note in evaluation.notes:
        if not note.startswith(LEFT_OUT):  # told last
            click.echo(f"note: {note}", err=True)


def _html(evaluation: Evaluation, systems: Sequence[System], curves: Sequence[Curve], console: Console) -> str:
    from opensearch_splade.evaluation.drill_down import drill_down
    from opensearch_splade.evaluation.report import render_html

    with console.status("asking again what made the difference ..."):
        drill_downs = drill_down(evaluation, _ways(systems))
    return render_html(evaluation, drill_downs, curves, date=f"{date.today():%Y-%m-%d}")


def _ways(systems: Sequence[System]) -> dict[str, Ask]:
    """How each system is asked again. One that is not a plain mode is told from its ranking."""
    return {
        system.name: way_to_ask(system.searcher, system.spec.mode, system.spec.weights or None)
        for system in systems
        if system.searcher
        and system.spec.mode
        and not (system.spec.has_stages or system.spec.filter or system.spec.feedback)
    }


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SourceError(f"{path} cannot be written ({error}); name another file") from error


def gate_failures(evaluation: Evaluation, gates: Gates) -> list[str]:
    """A sentence for each threshold that is not met and for each regression.

    Raises:
        MeasureError: A threshold is for a system that is not there, or the baseline is of other questions.
        SourceError: The baseline cannot be read.
    """
    worse = no_regression(evaluation, gates.no_regression) if gates.no_regression else []
    return [*below(evaluation, gates.fail_under), *worse]
