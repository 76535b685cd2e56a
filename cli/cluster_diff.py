"""``osplade cluster diff``."""

from __future__ import annotations

from pathlib import Path

import click

from opensearch_splade.cli import cluster_options, options
from opensearch_splade.provisioning.examine import examine
from opensearch_splade.provisioning.findings import are_as_declared


@click.command()
@cluster_options.file
@options.cluster
@options.as_json
def diff(file: Path, url: str | None, *, insecure: bool, as_json: bool) -> None:
    """Show what apply would do; change nothing and ask no model. Exit code 0: nothing differs. Exit code 3: something.

    \b
    Example:
      osplade cluster diff examples/sparse.yaml
    """
    with cluster_options.progress():
        findings = examine(cluster_options.open_declared(file, url, insecure=insecure)).findings
    if as_json:
        cluster_options.echo_json(findings)
    else:
        cluster_options.show(findings)
    if not are_as_declared(findings):
        raise click.exceptions.Exit(cluster_options.DIFFERENT)
    if not as_json:
        click.echo(f"nothing differs: {len(findings)} objects are as declared")
