"""``osplade cluster remove``."""

from __future__ import annotations

from pathlib import Path

import click
import orjson

from opensearch_splade.cli import cluster_options, options
from opensearch_splade.plugin.client import connect, server_info
from opensearch_splade.provisioning.remove import removal
from opensearch_splade.provisioning.remove import remove as take
from opensearch_splade.provisioning.spec_file import read_spec


@click.command()
@cluster_options.file
@cluster_options.dry_run
@cluster_options.yes
@click.option("--delete-indices", is_flag=True, help="Also indices that hold documents.")
@options.cluster
@options.as_json
def remove(
    file: Path, url: str | None, *, insecure: bool, dry_run: bool, yes: bool, delete_indices: bool, as_json: bool
) -> None:
    """Take from a cluster all that FILE's name owns, and give cluster settings back.

    An index that holds documents stays, without its pipelines, unless --delete-indices is given. A setting that
    somebody changed since stays as it is.

    \b
    Example:
      osplade cluster remove examples/sparse.yaml --dry-run
      osplade cluster remove examples/sparse.yaml --yes
    """
    owner = read_spec(file).name
    client = connect(url, insecure=insecure)
    with cluster_options.progress():
        server_info(client)
        found = removal(client, owner, delete_indices=delete_indices)
    if not as_json:
        click.echo("\n".join(found.lines) or f"nothing of {owner!r} is there")
    done: list[str] = []
    if found.lines and not dry_run:
        cluster_options.confirm("Remove it?", yes=yes)
        with cluster_options.progress() as tell:
            done = take(client, found, tell)
    if as_json:
        click.echo(orjson.dumps({"found": found.lines, "done": done}))
    elif not dry_run:
        click.echo("\n".join(line for line in done if line.startswith("cluster setting")) or "done")
