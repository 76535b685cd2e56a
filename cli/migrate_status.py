"""``osplade migrate status``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.table import Table

from opensearch_splade.cli import migration_options, options
from opensearch_splade.migration.job import client_of_source
from opensearch_splade.migration.status import ShardStatus, Status
from opensearch_splade.migration.status import status as ask
from opensearch_splade.plugin.client import connect


@click.command()
@migration_options.state
@options.cluster
@options.as_json
def status(url: str | None, *, insecure: bool, folder: Path | None, as_json: bool) -> None:
    """Say how far a migration is and what to do next; also while it runs. Changes nothing.

    \b
    Example:
      osplade migrate status
      osplade migrate status --state osplade-migration-products-sparse --json
    """
    state = migration_options.opened(folder)
    client = connect(url, insecure=insecure)
    found = ask(client, client_of_source(state.record.spec, client), state)
    if as_json:
        click.echo(orjson.dumps(to_json(found, state.folder)))
    else:
        show(found, Console(highlight=False, soft_wrap=True))


def to_json(found: Status, folder: Path) -> dict[str, object]:
    """For machines."""
    shards = [{**asdict(shard), "gap": shard.gap} for shard in found.shards]
    steps = [step.model_dump(mode="json") for step in found.steps]
    more = {"gap": found.gap, "workers": found.workers, "next": found.next, "state": str(folder)}
    return {**asdict(found), "steps": steps, "shards": shards, **more}


def show(found: Status, console: Console) -> None:
    """For people."""
    console.print(f"{found.source} → {found.target} ({found.way})", markup=False)
    for step in found.steps:
        told = ", ".join(f"{name} {_told(value)}" for name, value in step.found.items() if _is_short(value))
        console.print(f"  {step.at:%Y-%m-%d %H:%M:%S} UTC  {step.step:<12} {told}", markup=False)
    refreshed = ", as of its last refresh" if found.target_documents != found.source_documents else ""
    counts = [_count(number) for number in (found.source_documents, found.target_documents)]
    console.print(f"documents: {counts[0]} in the old, {counts[1]} in the new{refreshed}")
    console.print(_table(found.shards)) if found.shards else None
    if found.dead:
        console.print(f"{found.dead:,} documents were refused: see dead-letters.jsonl of the state")
    if found.workers:
        console.print(f"at work: {', '.join(found.workers)}", markup=False)
    console.print(f"next: {found.next}", markup=False)


def _table(shards: tuple[ShardStatus, ...]) -> Table:
    table = Table("shard", "brought over to", "of", "gap", "noted", "worker", box=None, pad_edge=False, padding=(0, 2))
    for shard in shards:
        at = f"{shard.at:%H:%M:%S} UTC" if shard.at else "never"
        worker = "; ".join(filter(None, (shard.worker, shard.slowed)))
        places = (f"{shard.position + 1:,}", _count(None if shard.checkpoint is None else shard.checkpoint + 1))
        table.add_row(str(shard.shard), *places, _count(shard.gap), at, worker)
    return table


def _count(number: int | None) -> str:
    return "?" if number is None else f"{number:,}"


def _is_short(value: object) -> bool:
    return isinstance(value, str | int | float) and len(str(value)) <= 60


def _told(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
