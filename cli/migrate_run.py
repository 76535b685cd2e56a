"""``osplade migrate run``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from opensearch_splade.cli import migration_options, options
from opensearch_splade.migration.copying import Copied, Copier, begin
from opensearch_splade.migration.pacing import pacer
from opensearch_splade.migration.running import catch_up


@click.command()
@migration_options.spec
@click.option("--again", is_flag=True, help="Read everything again; what is there unchanged is not encoded again.")
@click.option("--follow", is_flag=True, help="Go on bringing changes over until you interrupt it.")
@options.cluster
@options.as_json
def run(url: str | None, *, insecure: bool, again: bool, follow: bool, as_json: bool, **given: Any) -> None:
    """Bring the old index over to the new one, and what changes meanwhile, until little is left.

    Run it again to go on, or to catch up: it begins where it was. Started several times, in several terminals, the
    shards of the old index are shared among them.

    \b
    Example:
      osplade migrate run --source products --target products-sparse
      osplade migrate run --config migration.toml --max-docs-per-second 200
      osplade migrate run --follow
      osplade migrate run --max-docs-per-second 50   (goes on with the only migration here, more slowly)
    """
    job = migration_options.open_job(url, insecure=insecure, **given)
    console = Console(stderr=True)
    start = time.monotonic()
    made = begin(job)
    pace = pacer(job.source_client, job.source.name, job.spec.max_docs_per_second, job.spec.max_slowdown)
    with _bar(console) as tell, Copier(job, pace=pace, tell=tell) as copier:
        if made and not job.in_place:
            console.print(f"made the index {job.spec.target}", highlight=False)
        if again:
            copier.again()
        copied = catch_up(copier, follow=follow)
    seconds = time.monotonic() - start
    if as_json:
        click.echo(orjson.dumps({**asdict(copied), "seconds": round(seconds, 2), "state": str(job.folder)}))
    else:
        click.echo(told(copied, seconds))
    if copied.dead:
        click.echo(f"{copied.dead:,} documents were refused: see {job.state.dead_letters}", err=True)
        raise SystemExit(3)


def told(copied: Copied, seconds: float) -> str:
    """What was done, in two lines."""
    parts = [f"{copied.indexed:,} encoded", f"{copied.unchanged:,} there already", f"{copied.deleted:,} deleted"]
    left = f"{copied.gap:,} writes are not brought over yet" if copied.gap else "caught up"
    return (
        f"{copied.read:,} documents read in {seconds:.0f} s: {', '.join(parts)}\n{left}; "
        "next: osplade migrate verify, then osplade migrate cutover"
    )


@contextmanager
def _bar(console: Console) -> Iterator[Callable[[Copied], None]]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=console, speed_estimate_period=30.0) as bar:
        task = bar.add_task("migrating", total=None, said="")

        def tell(copied: Copied) -> None:
            speed = bar.tasks[0].speed or 0
            parts = [f"{speed:.0f}/s"] + ([f"by the {copied.slowest}'s pace"] if copied.slowest else [])
            parts += [copied.slowed] if copied.slowed else []
            parts += [f"{copied.dead:,} dead"] if copied.dead else []
            bar.update(task, total=max(copied.total, copied.read), completed=copied.read, said=" ".join(parts))

        yield tell
