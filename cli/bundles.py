"""``osplade bundles``."""

from __future__ import annotations

import click
import orjson
from rich.table import Table

from opensearch_splade.cli import options
from opensearch_splade.cli.rendering import printer
from opensearch_splade.onnx_models import Bundle, shipped


@click.command()
@click.argument("folders", nargs=-1, metavar="[BUNDLE]...")
@options.as_json
def bundles(folders: tuple[str, ...], *, as_json: bool) -> None:
    """Check bundles and show what they are: the shipped ones, or those given.

    \b
    Example:
      osplade bundles
      osplade bundles my-bundle --json
    """
    found = {name: Bundle.open(name).manifest for name in folders or shipped()}
    if as_json:
        click.echo(orjson.dumps({name: manifest.model_dump() for name, manifest in found.items()}))
        return
    table = Table("bundle", "kind", "what", "tokens", "fingerprint", "licence")
    for name, one in found.items():
        what = (
            f"{one.precision}, {one.pooling}{', ' + one.activation if one.activation else ''}, {one.dimension:,} wide"
        )
        table.add_row(name, one.kind, what, str(one.max_length), one.fingerprint, one.origin.licence or "not stated")
    printer().print(table, markup=False)
