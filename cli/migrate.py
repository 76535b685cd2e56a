"""``osplade migrate``: the steps of a migration, each a command in a file of its own."""

from __future__ import annotations

import click

from opensearch_splade.cli.late_group import LateGroup


class _Steps(LateGroup):
    """Steps, in the order in which they are taken."""

    names = ("plan", "run", "status", "verify", "compare", "cutover", "rollback", "clean")
    prefix = "migrate_"


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
