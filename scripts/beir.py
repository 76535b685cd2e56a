"""Every leg and hybrid of OpenSearch over all collections of a folder, in one table with means.

    python scripts/beir.py FOLDER                                      # the shipped bundles
    python scripts/beir.py FOLDER --bundle ./doc-v3-gte --dense-bundle ./bge --out runs

FOLDER holds collections in BEIR layout, a folder each (`scifact`, `nfcorpus`, …). Each is ingested into an index of its
own, `beir-…`, which stays; a second call encodes only what changed and asks only what is missing. Nothing is tuned:
equal weights, 200 candidates a leg.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

MEASURE = "nDCG@10"
Row = dict[str, float]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--bundle", default="splade-tiny", show_default=True)
@click.option("--dense-bundle", default="minilm-l6", show_default=True)
@click.option("--split", default="test", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("beir-runs"), show_default=True)
def main(folder: Path, bundle: str, dense_bundle: str, split: str, out: Path) -> None:
    """Ingests, asks and prints a table in Markdown."""
    from opensearch_splade.plugin.launcher import ensure_node

    url = ensure_node().url
    collections = sorted(path for path in folder.iterdir() if (path / "qrels" / f"{split}.tsv").is_file())
    if not collections:
        raise click.ClickException(f"{folder} holds no folder with qrels/{split}.tsv.")
    rows: dict[str, Row] = {}
    for path in collections:
        index, runs = f"beir-{path.name}", out / path.name
        runs.mkdir(parents=True, exist_ok=True)
        where = ["--index", index, "--url", url, "--bundle", bundle, "--dense-bundle", dense_bundle]
        _osplade(["ingest", str(path), *where, "--query-weights", "idf", "--dead-letters", str(runs / "dead.jsonl")])
        asked = ["eval", str(path), *where, "--split", split, "--out", str(runs), "--measure", MEASURE]
        told: dict[str, Any] = json.loads(_osplade([*asked, "--no-latency", "--json"]))
        rows[path.name] = {one["name"]: one["measures"][MEASURE] for one in told["systems"]}
    _print(rows)


def _osplade(arguments: Sequence[str]) -> str:
    command = [sys.executable, "-c", "from opensearch_splade.cli.main import main; main()", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"osplade {' '.join(arguments)} ended with {done.returncode}.")
    return done.stdout


def _print(rows: dict[str, Row]) -> None:
    systems = list(dict.fromkeys(name for row in rows.values() for name in row))
    click.echo(f"| {MEASURE} | {' | '.join(rows)} | mean |\n|---|{'---|' * (len(rows) + 1)}")
    for name in systems:
        values = [row.get(name) for row in rows.values()]
        shown = ["" if value is None else f"{value:.4f}" for value in values]
        known = [value for value in values if value is not None]
        mean = f"{statistics.mean(known):.4f}" if len(known) == len(values) else ""
        click.echo(f"| {name} | {' | '.join(shown)} | {mean} |")


if __name__ == "__main__":
    main()
