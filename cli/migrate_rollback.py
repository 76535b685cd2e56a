"""``osplade migrate rollback``."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from opensearch_splade.cli import migration_options, options
from opensearch_splade.cli.migrate_cutover import confirm, numbered
from opensearch_splade.migration.job import client_of_source
from opensearch_splade.migration.rollback import RolledBack, roll_back, rollback_plan
from opensearch_splade.plugin.client import connect

_SHOWN = 10


@click.command()
@migration_options.state
@migration_options.dry_run
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--leave-writes", is_flag=True, help="What was written to the new index since stays there; at once.")
@options.cluster
@options.as_json
def rollback(
    url: str | None, *, insecure: bool, folder: Path | None, dry_run: bool, yes: bool, leave_writes: bool, as_json: bool
) -> None:
    """Let all aliases lead back to the old index, in one call, at any time after cutover.

    What applications wrote to the new index since is brought back first, without our fields; what somebody changed in
    the old index meanwhile is left alone and listed (exit code 3). A cutover that was killed is taken back. The new
    index stays, read-only.

    \b
    Example:
      osplade migrate rollback --dry-run
      osplade migrate rollback
      osplade migrate rollback --leave-writes
    """
    state, client = migration_options.opened(folder), connect(url, insecure=insecure)
    source_client = client_of_source(state.record.spec, client)
    steps = rollback_plan(state, client, source_client, leave_writes=leave_writes)
    if dry_run:
        click.echo(orjson.dumps({"steps": steps}) if as_json else numbered(steps))
        return
    click.echo(numbered(steps), err=True)
    confirm(state.record.source_index, yes=yes)
    done = roll_back(
        state, client, source_client, leave_writes=leave_writes, tell=lambda said: click.echo(said, err=True)
    )
    click.echo(orjson.dumps(done.to_json()) if as_json else _told(done))
    if done.conflicts:
        raise SystemExit(3)


def _told(done: RolledBack) -> str:
    lines = [f"{', '.join(done.names)} lead to {done.old}"]
    if done.written or done.deleted:
        lines.append(
            f"{done.written:,} documents were written to {done.new} since the cutover; {done.brought:,} were brought "
            f"back, {done.deleted:,} deleted"
        )
    if done.blocked_seconds:
        lines.append(f"writes were refused for {done.blocked_seconds:.1f} s")
    conflicts = list((done.conflicts or {}).items())
    lines += [f"left alone: {id_}: {why}" for id_, why in conflicts[:_SHOWN]]
    if len(conflicts) > _SHOWN:
        lines.append(f"and {len(conflicts) - _SHOWN:,} more: --json or migration.json list them")
    if done.others:
        lines.append(f"{', '.join(done.others)} lead to {done.new} still: they are younger than the cutover")
    return "\n".join(lines)
