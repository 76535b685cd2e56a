"""``osplade migrate``: the steps of a migration, each a command in a file of its own."""

from __future__ import annotations

from importlib import import_module

import click

_STEPS = ("plan", "run", "status", "verify", "compare", "cutover", "rollback", "clean")


class _Steps(click.Group):
    """Finds steps by name, in the order in which they are taken."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_STEPS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _STEPS:
            return None
        command: click.Command = getattr(import_module(f"opensearch_splade.cli.migrate_{cmd_name}"), cmd_name)
        return command


@click.group(cls=_Steps)
def migrate() -> None:
    """Move a live index to sparse and hybrid search: plan, run, verify, compare, cutover; rollback at any time.

    The old index is never written to (unless in place) and serves until cutover. Every step can be interrupted, killed,
    and taken again. What was done is kept in a folder, osplade-migration-TARGET by default, which may be moved to
    another machine.

    \b
    Example:
      osplade migrate plan --source products --target products-sparse
      osplade migrate run --source products --target products-sparse
      osplade migrate verify
      osplade migrate compare --queries queries.txt --html compare.html
      osplade migrate cutover
      osplade migrate rollback
    """
