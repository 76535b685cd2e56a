"""``osplade``: one command a file, loaded when it is called."""

from __future__ import annotations

from importlib import metadata
from typing import ClassVar

import click

from opensearch_splade.cli.late_group import LateGroup
from opensearch_splade.cli.malloc import settle_malloc
from opensearch_splade.errors import OspladeError


class _Commands(LateGroup):
    """Turns our errors into one line and exit code 1."""

    names = (
        "adapt",
        "audit",
        "bundle",
        "bundles",
        "cluster",
        "demo",
        "eval",
        "exhaust",
        "export",
        "export-index",
        "families",
        "imitate",
        "ingest",
        "inspect",
        "make-questions",
        "migrate",
        "node",
        "prune-curve",
        "prune-table",
        "search",
        "serve",
        "tune",
        "tune-search",
    )
    modules: ClassVar = {"eval": "evaluate"}

    def invoke(self, ctx: click.Context) -> object:
        settle_malloc()
        try:
            return super().invoke(ctx)
        except OspladeError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as error:
            raise click.ClickException(
                "Interrupted. Run the same command again to go on: nothing is doubled."
            ) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(metadata.version("opensearch-splade"), prog_name="osplade")
def main() -> None:
    """Learned sparse retrieval for OpenSearch.

    Exit codes: 0 done, 1 an error with its remedy, 2 a wrong call, 3 done but some documents are in the dead letters,
    or an audit found differences.

    Tab completion for bash: eval "$(_OSPLADE_COMPLETE=bash_source osplade)"
    """
