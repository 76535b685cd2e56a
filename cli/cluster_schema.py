"""``osplade cluster schema``."""

from __future__ import annotations

import click
import orjson

from opensearch_splade.provisioning.spec_file import json_schema


@click.command()
def schema() -> None:
    """Print the JSON schema of the file, for editors and checks before it is applied.

    \b
    Example:
      osplade cluster schema > cluster.schema.json
    """
    click.echo(orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2))
