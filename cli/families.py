"""``osplade families``."""

from __future__ import annotations

import click
import orjson
from rich.table import Table

from opensearch_splade.cli import options
from opensearch_splade.cli.rendering import printer
from opensearch_splade.onnx_models.families import FAMILIES, REFUSALS

_FIELDS = (
    "name",
    "examples",
    "recognised",
    "head",
    "pooling",
    "activation",
    "special_tokens",
    "query_side",
    "max_length",
    "paper",
)


@click.command()
@options.as_json
def families(*, as_json: bool) -> None:
    """Show which checkpoints `osplade export` takes and how it reads them, and which it refuses.

    A folder belongs to the first family that matches.

    \b
    Example:
      osplade families
      osplade families --json
    """
    rows = [{field: getattr(family, field) for field in _FIELDS} for family in FAMILIES]
    if as_json:
        refused = [{"name": refusal.name, "remedy": refusal.remedy} for refusal in REFUSALS]
        click.echo(orjson.dumps({"families": rows, "refused": refused}))
        return
    table = Table("family", "recognised by", "pooling; activation", "special tokens", "arXiv", show_lines=True)
    for row in rows:
        recognised = f"{row['recognised']} ({row['examples']})"
        how = f"{row['pooling']}; {row['activation']}"
        table.add_row(row["name"], recognised, how, row["special_tokens"], row["paper"])
    console = printer()
    console.print(table, markup=False)
    for refusal in REFUSALS:
        console.print(f"Refused: {refusal.name}; {refusal.remedy}.", markup=False, highlight=False)
