"""``osplade prune-table``."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import track

from opensearch_splade.cli import options
from opensearch_splade.errors import SourceError
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.ingest.term_budget import TABLE, Budget
from opensearch_splade.onnx_models import Device, SparseEncoder
from opensearch_splade.onnx_models.sparse_rows import stack
from opensearch_splade.types import Document


@click.command("prune-table")
@click.argument("source")
@click.option("--bundle", required=True, type=options.BUNDLE, help="Sparse bundle: a folder or a shipped one.")
@click.option(
    "--budget",
    required=True,
    metavar="budget:FEATURES[:SHARE]",
    help="Features a document on average, and the share of documents that one feature may stand in.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("prune-table.json"),
    show_default=True,
    help="The table: a file of JSON.",
)
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=5_000,
    show_default=True,
    help="Documents from the beginning of SOURCE that the thresholds are taken of.",
)
@options.fields
@options.device
@options.as_json
def prune_table(
    source: str, *, bundle: str, budget: str, out: Path, sample: int, fields: FieldMap, device: Device, as_json: bool
) -> None:
    """Learn corpus-wide pruning thresholds from documents of SOURCE, for `osplade ingest --prune table:FILE`.

    A rule for each document alone keeps a common feature's weak weights as readily as a rare one's; a budget of the
    corpus takes them where they are worth least. `osplade prune-curve` shows what each budget costs and saves.

    \b
    Example:
      osplade prune-table corpus.jsonl --bundle splade-tiny-idf --budget budget:96:0.05
      osplade prune-table ./scifact --bundle splade-tiny --budget budget:128 --out scifact-table.json --sample 2000
    """
    wanted = Budget.parse(budget)
    encoder = SparseEncoder.load(bundle, device)
    texts = [one.passage for one in islice(read_source(source, fields), sample) if isinstance(one, Document)]
    if not texts:
        raise SourceError(f"{source} holds no documents, so there is nothing to learn from.")
    rows = encoder.stream(texts)
    vectors = stack(track(rows, "encoding", total=len(texts), console=Console(stderr=True), transient=True))
    learned = wanted.learn(vectors, len(encoder.vocabulary))
    learned.save(out)
    pruned = learned.apply(vectors)
    found = {
        "table": str(out),
        "documents": len(vectors),
        "features": round(len(vectors.weights) / len(vectors), 1),
        "features_kept": round(len(pruned.weights) / len(vectors), 1),
        "terms_limited": int((learned.of_term > 0).sum()),
    }
    if as_json:
        click.echo(orjson.dumps(found))
        return
    click.echo(f"{found['features_kept']} of {found['features']} features a document stay; ", nl=False)
    click.echo(f"{found['terms_limited']:,} features have a threshold of their own. Use it: --prune {TABLE}{out}")
