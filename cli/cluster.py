"""``osplade cluster``: what an application needs on a cluster, from a file; each command in a file of its own."""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = ("apply", "diff", "status", "remove", "schema")


class _Commands(click.Group):
    """Finds commands by name, in the order in which they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"opensearch_splade.cli.cluster_{cmd_name}"), cmd_name)
        return command


@click.group(cls=_Commands)
def cluster() -> None:
    """Sparse search inside OpenSearch, without Python in the application: models, pipelines and indices from a file.

    The file says what should be there; apply shows what differs, makes it so, and proves that the cluster encodes as
    the bundles do. Only what the file's name owns is ever changed. ML Commons must be installed on the cluster.

    \b
    Example:
      osplade serve splade-tiny --port 9229
      osplade cluster diff examples/sparse.yaml
      osplade cluster apply examples/sparse.yaml --allow-settings
      osplade cluster status examples/sparse.yaml
      osplade cluster remove examples/sparse.yaml
    """
