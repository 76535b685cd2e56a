"""Options and output that the commands of ``osplade cluster`` share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console
from rich.text import Text

from opensearch_splade.plugin.client import connect
from opensearch_splade.provisioning.declared import Declared
from opensearch_splade.provisioning.findings import Finding
from opensearch_splade.provisioning.spec_file import SUFFIXES
from opensearch_splade.types import Json

DIFFERENT = 3
_SIGNS = {
    "as declared": ("=", "dim"),
    "missing": ("+", "green"),
    "changed": ("~", "yellow"),
    "not deployed": ("~", "yellow"),
    "left over": ("-", "red"),
    "incomplete": ("!", "yellow"),
    "fixed": ("!", "bold red"),
    "foreign": ("!", "bold red"),
    "failing": ("!", "bold red"),
}


class _FileType(click.Path):
    """A file of a kind that can be read (completed by tab)."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:  # noqa: ARG002
        from click.shell_completion import CompletionItem

        folder = Path(incomplete).parent if not incomplete.endswith("/") else Path(incomplete)
        found = [path for path in folder.glob("*") if path.suffix in SUFFIXES and str(path).startswith(incomplete)]
        return [*(CompletionItem(str(path)) for path in sorted(found)), CompletionItem(incomplete, type="file")]


file = click.argument("file", type=_FileType(exists=True, dir_okay=False, path_type=Path))
yes = click.option("--yes", is_flag=True, help="Do not ask before it is done.")
dry_run = click.option("--dry-run", is_flag=True, help="Show what would be done and change nothing.")


def open_declared(path: Path, url: str | None, *, insecure: bool) -> Declared:
    """A file and the cluster it is for."""
    return Declared.open(path, connect(url, insecure=insecure))


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line on the terminal that says what is being done."""
    with Console(stderr=True).status("looking ...") as status:
        yield lambda doing: status.update(f"{doing} ...")


def show(findings: Sequence[Finding], *, all_of_them: bool = False) -> None:
    """Findings for people: a sign, what it is, and each place that is otherwise."""
    console = Console(highlight=False, soft_wrap=True)
    for one in findings:
        if one.state == "as declared" and not all_of_them:
            continue
        sign, style = _SIGNS[one.state]
        reason = f": {one.reason}" if one.reason else ""
        console.print(Text(f"{sign} {one.kind} {one.name} ({one.state}){reason}", style=style))
        if one.state != "missing":
            for place in one.differences:
                console.print(Text(f"    {place}", style="yellow"))


def echo_json(findings: Sequence[Finding], **more: object) -> None:
    """Findings for machines."""
    body: Json = {"objects": [one.to_json() for one in findings], **more}
    click.echo(orjson.dumps(body))


def confirm(question: str, *, yes: bool) -> None:
    """Asks, unless ``--yes`` is given; where nobody can answer it is not done."""
    if not yes:
        click.confirm(question, abort=True, err=True)
