"""``osplade cluster status``."""

from __future__ import annotations

from pathlib import Path

import click

from opensearch_splade.cli import cluster_options, options
from opensearch_splade.provisioning.findings import are_as_declared
from opensearch_splade.provisioning.status import status as look


@click.command()
@cluster_options.file
@options.cluster
@options.as_json
def status(file: Path, url: str | None, *, insecure: bool, as_json: bool) -> None:
    """Say what a cluster has of what FILE declares, whether its models work, and how many documents lack vectors.

    Each object is as declared, missing, changed (with each place), not deployed, failing, somebody else's, or left
    over. Exit code 0: all is as declared. Exit code 3: something is not.

    \b
    Example:
      osplade cluster status examples/sparse.yaml
      osplade cluster status examples/sparse.yaml --json
    """
    with cluster_options.progress() as tell:
        findings = look(cluster_options.open_declared(file, url, insecure=insecure), tell)
    if as_json:
        cluster_options.echo_json(findings)
    else:
        cluster_options.show(findings, all_of_them=True)
    if not are_as_declared(findings):
        raise click.exceptions.Exit(cluster_options.DIFFERENT)
