"""``osplade migrate clean``."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import orjson

from opensearch_splade.cli import migration_options, options
from opensearch_splade.migration.clean import clean as carry_out
from opensearch_splade.migration.clean import cleaning
from opensearch_splade.migration.job import client_of_source
from opensearch_splade.plugin.client import connect


@click.command()
@migration_options.state
@migration_options.dry_run
@click.option("--target", is_flag=True, help="Delete the new index, before cutover or after rollback.")
@click.option("--confirm", metavar="NAME", help="The name of the index that is deleted; asked for in a terminal.")
@options.cluster
@options.as_json
def clean(
    url: str | None,
    *,
    insecure: bool,
    folder: Path | None,
    dry_run: bool,
    target: bool,
    confirm: str | None,
    as_json: bool,
) -> None:
    """Delete the old index and the state folder for good. There is no way back after this.

    \b
    Example:
      osplade migrate clean --dry-run
      osplade migrate clean --confirm products-v1
      osplade migrate clean --target --confirm products-sparse
    """
    state, client = migration_options.opened(folder), connect(url, insecure=insecure)
    what = cleaning(state, client, client_of_source(state.record.spec, client), target=target)
    told = (
        f"index {what.index} ({what.documents:,} documents)" if what.uuid else f"(index {what.index} is gone already)"
    )
    if dry_run:
        found = {"index": what.index, "documents": what.documents, "folder": str(state.folder)}
        click.echo(orjson.dumps(found) if as_json else f"would be deleted: {told}, folder {state.folder}")
        return
    if confirm is None:
        if not sys.stdin.isatty():
            raise click.UsageError(f"Nobody can be asked here: say --confirm {what.index}, or --dry-run to look only.")
        confirm = click.prompt(f"To be deleted for good: {told}, folder {state.folder}. Type {what.index}", err=True)
    carry_out(state, what, confirm)
    if as_json:
        click.echo(orjson.dumps({"deleted": what.index, "folder": str(state.folder)}))
    else:
        click.echo(f"deleted: {told}, folder {state.folder}")
