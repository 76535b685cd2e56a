"""``osplade cluster apply``."""

from __future__ import annotations

from pathlib import Path

import click

from opensearch_splade.cli import cluster_options, options
from opensearch_splade.provisioning import apply as bringing
from opensearch_splade.provisioning.examine import examine
from opensearch_splade.provisioning.findings import are_as_declared


@click.command()
@cluster_options.file
@cluster_options.dry_run
@cluster_options.yes
@click.option("--allow-settings", is_flag=True, help="Also set the cluster settings that are needed; they are shown.")
@click.option("--renew-token", is_flag=True, help="Make connectors anew, with the tokens of the environment.")
@options.cluster
@options.as_json
def apply(
    file: Path,
    url: str | None,
    *,
    insecure: bool,
    dry_run: bool,
    yes: bool,
    allow_settings: bool,
    renew_token: bool,
    as_json: bool,
) -> None:
    """Bring a cluster to what FILE says: show what differs, make it so, deploy, and prove it with real texts.

    Run it again and it changes nothing; interrupted or killed, run it again and it completes. If a step fails, what
    this run began is undone. Objects of the same name that others made are never touched.

    \b
    Example:
      osplade cluster apply examples/sparse.yaml --dry-run
      osplade cluster apply examples/sparse.yaml --allow-settings --yes
    """
    with cluster_options.progress():
        declared = cluster_options.open_declared(file, url, insecure=insecure)
        examined = examine(declared, renew=renew_token)
    if not as_json:
        cluster_options.show(examined.findings)
    elif dry_run:
        cluster_options.echo_json(examined.findings, done=[])
    if dry_run:
        return
    bringing.require_possible(examined, allow_settings=allow_settings)
    if not are_as_declared(examined.findings):
        cluster_options.confirm("Make it so?", yes=yes)
    with cluster_options.progress() as tell:
        done = bringing.apply(declared, examined, tell)
    if as_json:
        cluster_options.echo_json(examined.findings, done=done)
    else:
        click.echo(f"{len(done)} changes; {len(declared.models)} models give what their bundles give")
