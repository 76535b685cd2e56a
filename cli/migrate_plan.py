"""``osplade migrate plan``."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from opensearch_splade.cli import migration_options, options
from opensearch_splade.cli.migration_plan_report import show, to_json
from opensearch_splade.migration.plan import SAMPLE
from opensearch_splade.migration.plan import plan as make


@click.command()
@migration_options.spec
@click.option(
    "--sample", type=click.IntRange(min=1), default=SAMPLE, show_default=True, metavar="N", help="Documents to try."
)
@click.option("--no-scratch", is_flag=True, help="Only encode the sample; write it nowhere.")
@click.option("--hourly-price", type=click.FloatRange(min=0), metavar="MONEY", help="Of an hour of this machine.")
@click.option("--diff/--no-diff", "with_diff", default=True, help="The new mapping and settings against the old ones.")
@options.cluster
@options.as_json
def plan(
    url: str | None,
    *,
    insecure: bool,
    sample: int,
    no_scratch: bool,
    hourly_price: float | None,
    with_diff: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Say what a migration would make, take and need, and what speaks against it.

    A sample of the documents is really encoded and written, into an index osplade-scratch-… that is deleted again.
    Nothing else is written. Exit code 0: go; 3: something stops it.

    \b
    Example:
      osplade migrate plan --source products --target products-sparse
      osplade migrate plan --config migration.toml --sample 1000 --hourly-price 0.80 --json
    """
    job = migration_options.open_job(url, insecure=insecure, **given)
    columns = (TextColumn("trying documents"), BarColumn(bar_width=20), MofNCompleteColumn(), TimeElapsedColumn())
    with _ended_like_ctrl_c(), Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=sample)
        found = make(
            job,
            sample=sample,
            scratch=not no_scratch,
            hourly_price=hourly_price,
            tell=lambda done, of: bar.update(task, completed=done, total=of),
        )
    if as_json:
        click.echo(orjson.dumps(to_json(found)))
    else:
        show(found, Console(highlight=False), with_diff=with_diff)
    if not found.go:
        raise SystemExit(3)


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Whoever ends this process wants no scratch index left."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
