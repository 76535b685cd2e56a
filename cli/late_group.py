"""A group of commands, each in a file of its own that is loaded when it is called."""

from __future__ import annotations

from importlib import import_module
from typing import ClassVar

import click


class LateGroup(click.Group):
    """Finds commands by name, in the order in which they are listed.

    Attributes:
        names: Of its commands.
        prefix: Of their files' names.
        modules: A command's file that cannot be called like it; its function then cannot either.
    """

    names: ClassVar[tuple[str, ...]]
    prefix: ClassVar[str] = ""
    modules: ClassVar[dict[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """As they are listed."""
        return list(self.names)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Loads one; ``None`` for a name that is not listed."""
        if cmd_name not in self.names:
            return None
        name = self.modules.get(cmd_name, cmd_name.replace("-", "_"))
        module = import_module(f"opensearch_splade.cli.{self.prefix}{name}")
        command: click.Command = getattr(module, name)
        return command
