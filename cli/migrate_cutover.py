"""``osplade migrate cutover``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from opensearch_splade.cli import migration_options, options
from opensearch_splade.migration.cutover import CutOver, cut_over, finished
from opensearch_splade.migration.cutover_plan import Choices, CutoverPlan, cutover_plan
from opensearch_splade.plugin.client import connect


@click.command()
@migration_options.state
@migration_options.dry_run
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--take-name", is_flag=True, help="The old index' own name is to lead to the new one; it becomes an alias."
)
@click.option("--aliases", metavar="A,B", help="To be made for the new index, if the old one is on another cluster.")
@click.option("--without-verify", is_flag=True, help="Even if nothing proves that both hold the same.")
@click.option("--accept-dead-letters", is_flag=True, help="Even if the new index refused some documents.")
@options.cluster
@options.as_json
def cutover(
    url: str | None,
    *,
    insecure: bool,
    folder: Path | None,
    dry_run: bool,
    yes: bool,
    take_name: bool,
    aliases: str | None,
    without_verify: bool,
    accept_dead_letters: bool,
    as_json: bool,
) -> None:
    """Bring the last changes over and let all aliases lead to the new index, in one call.

    Readers never see an error. Writes are refused for some seconds, while the last changes are brought over (not with
    last_round dual-write). If anything fails before the call, it is taken back; killed, take the step again. The old
    index stays as it is, read-only.

    \b
    Example:
      osplade migrate cutover --dry-run
      osplade migrate cutover
      osplade migrate cutover --take-name --yes
    """
    state = migration_options.opened(folder)
    if not dry_run and (done := finished(state, connect(url, insecure=insecure))):
        _tell(done, as_json=as_json)
        return
    job = migration_options.open_job(url, insecure=insecure, folder=state.folder)
    names = tuple(name.strip() for name in (aliases or "").split(",") if name.strip())
    choices = Choices(take_name, names, without_verify, accept_dead_letters)
    last = state.last("cut-over", "rolled-back")
    if not (last and last.step == "cut-over" and not last.found["quiet"]):  # else its end is left only
        plan = cutover_plan(job, choices)
        if dry_run and as_json:
            click.echo(orjson.dumps(plan.to_json()))
        else:
            _show(plan)
        if dry_run:
            return
        confirm(plan.switch.new, yes=yes)
    _tell(cut_over(job, choices, lambda said: click.echo(said, err=True)), as_json=as_json)


def _show(plan: CutoverPlan) -> None:
    click.echo(numbered(plan.steps), err=True)
    for told in plan.told:
        click.echo(f"note: {told}", err=True)


def numbered(steps: list[str]) -> str:
    """A line each."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def confirm(name: str, *, yes: bool) -> None:
    """Asks for the name of the index that takes over in a terminal; elsewhere ``--yes`` must have been said."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: say --yes, or --dry-run to look only.")
    if click.prompt(f"Type {name} to go on", err=True) != name:
        raise click.Abort


def _tell(done: CutOver, *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(done.to_json()))
        return
    blocked = f"; writes were refused for {done.blocked_seconds:.1f} s" if done.blocked_seconds else ""
    click.echo(f"{', '.join(done.names)} lead to {done.new} ({done.documents:,} documents){blocked}")
    if done.without_vectors:
        click.echo(
            f"{done.without_vectors:,} documents have no vectors, since applications wrote them: osplade migrate run "
            f"--way in-place --source {done.new} --target {done.new} --state {done.new}-in-place"
        )
    click.echo(f"{done.kept} stays; back: osplade migrate rollback; for good: osplade migrate clean")
