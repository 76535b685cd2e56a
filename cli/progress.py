"""The progress of an ingest run on the terminal: rate, what is left, and what holds it up just now."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from opensearch_splade.ingest.report import IngestReport, Progress

_SPEED_SPAN = 30.0
"""Seconds over which the time that is left is reckoned."""


@contextmanager
def progress(total: int | None, console: Console) -> Iterator[Progress]:
    """Gives what is to be told of a report. ``total`` is the number of records, if it is known beforehand."""
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, speed_estimate_period=_SPEED_SPAN) as bar:
        task = bar.add_task("ingesting", total=total, said="")

        def show(report: IngestReport) -> None:
            done = report.indexed + report.unchanged + report.superseded + report.dead
            bar.update(task, completed=done, said=said(report, bar.tasks[0].speed))

        yield show


def said(report: IngestReport, speed: float | None = None) -> str:
    """A line about a run that goes on; ``speed`` is in documents per second of late."""
    sending = report.sending
    parts = [f"{speed or report.rate:.0f}/s by the {report.slowest}'s pace"] if report.indexed else []
    if report.unchanged:
        parts.append(f"{report.unchanged:,} unchanged")
    if report.dead:
        parts.append(f"{report.dead:,} dead")
    if waiting := [f"{name} {count}" for name, count in report.queues.items() if count]:
        parts.append(f"waiting: {' '.join(waiting)}")
    if sending.flying:
        parts.append(f"{sending.flying} of {sending.number} bulks of {sending.size / 1e6:.1f} MB on their way")
    if report.retries:
        parts.append(f"{report.retries:,} sent again")
    return ", ".join(parts)
