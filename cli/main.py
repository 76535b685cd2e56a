"""``osplade``: one command a file, loaded when it is called."""

from __future__ import annotations

from importlib import import_module, metadata

import click

from opensearch_splade.cli.malloc import settle_malloc
from opensearch_splade.errors import OspladeError

_COMMANDS = (
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
_MODULES = {"eval": "evaluate"}  # a file that cannot be called like its command


class _Commands(click.Group):
    """Finds commands by name and turns our errors into one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        module = _MODULES.get(cmd_name, cmd_name.replace("-", "_"))
        command: click.Command = getattr(import_module(f"opensearch_splade.cli.{module}"), module)
        return command

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
