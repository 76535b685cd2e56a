"""``osplade ingest``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click
import orjson
from rich.console import Console

from opensearch_splade.cli import options
from opensearch_splade.cli.ingesting import DEAD_LETTERS, IngestJob, forecast, run_job
from opensearch_splade.cli.wiring import open_cluster
from opensearch_splade.index_meta import CountedWeights
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.pruning import Pruning
from opensearch_splade.ingest.target import IndexOptions
from opensearch_splade.onnx_models import DenseEncoder, Device, SparseEncoder

SOME_DEAD = 3


@click.command()
@click.argument("source")
@options.index
@click.option("--bundle", required=True, type=options.BUNDLE, help="Sparse bundle: a folder or a shipped one.")
@click.option("--dense-bundle", type=options.BUNDLE, help="Dense bundle for a kNN field beside it.")
@options.fields
@click.option("--prune", metavar="KIND:VALUE", help="max_ratio:0.1, abs_value:0.05, top_k:200 or alpha_mass:0.95.")
@click.option(
    "--query-weights",
    type=click.Choice(get_args(CountedWeights)),
    help="Count token idf over this source and keep it with the index, for inference-free questions in its own words; "
    "with bm25 a token that is repeated in a question weighs more.",
)
@click.option(
    "--dead-letters",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEAD_LETTERS,
    show_default=True,
    help="File for what cannot be written, with the reasons; an existing one is continued.",
)
@click.option("--analyzer", default="english", show_default=True, help="Analyzer of title and text in a new index.")
@click.option("--shards", type=click.IntRange(1), default=1, show_default=True, help="Primary shards of a new index.")
@click.option("--replicas", type=click.IntRange(0), help="Copies of each shard. [default: one where a second node is]")
@click.option("--dry-run", is_flag=True, help="Read everything, encode a sample, write nothing.")
@options.device
@options.cluster
@options.as_json
def ingest(
    source: str,
    *,
    index: str,
    bundle: str,
    dense_bundle: str | None,
    fields: FieldMap,
    prune: str | None,
    query_weights: CountedWeights | None,
    dead_letters: Path,
    analyzer: str,
    shards: int,
    replicas: int | None,
    dry_run: bool,
    device: Device,
    url: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Encode the documents of SOURCE and write them into an index.

    SOURCE is a file of JSON lines (.jsonl), a .csv, .tsv, .parquet, .arrow or .feather file, a folder or a quoted glob
    of such files, one of these behind a URL (s3://, gs://, az:// …), a BEIR folder, index:NAME or
    index:https://HOST:9200/NAME for the documents of an index, - for JSON lines on standard input, or pydoc: for
    Python's documentation. All but tables of Parquet and Arrow may be compressed (.gz, .zst).

    The index is made if there is none. The same document has the same id in every run, so running again after an
    interruption doubles nothing. What cannot be written goes to the dead letters with its reason, and the exit code is
    3.

    \b
    Example:
      osplade ingest corpus.jsonl --index docs --bundle splade-tiny-idf
      osplade ingest ./scifact --index scifact --bundle splade-tiny --dense-bundle minilm-l6 --query-weights idf
      osplade ingest 's3://lake/papers/*.parquet' --index papers --bundle splade-tiny --id-field doi --text-field body
      osplade ingest index:papers --index papers-2 --bundle my-splade
    """
    job = IngestJob(
        source=source,
        fields=fields,
        index=index,
        sparse=SparseEncoder.load(bundle, device),
        dense=DenseEncoder.load(dense_bundle, device) if dense_bundle else None,
        pruning=Pruning.parse(prune) if prune else None,
        query_weights=query_weights,
        dead_letters=dead_letters,
        options=IndexOptions(analyzer, shards, replicas),
    )
    cluster = open_cluster(url, insecure=insecure)
    console = Console(stderr=True)
    if dry_run:
        found = forecast(cluster, job, console)
        click.echo(orjson.dumps(found, option=0 if as_json else orjson.OPT_INDENT_2))
        return
    report = run_job(cluster, job, console)
    if as_json:
        click.echo(orjson.dumps({**asdict(report), "documents_per_second": round(report.rate, 1)}))
    else:
        click.echo(
            f"{report.indexed:,} documents in {index!r}, {report.rate:.0f} a second, "
            f"{report.features / max(1, report.indexed):.0f} features each"
        )
        if report.truncated:
            limit = job.sparse.bundle.manifest.max_length
            click.echo(
                f"{report.truncated:,} reach the limit of {limit} tokens: what comes after is found by BM25 only."
            )
    if report.dead:
        click.echo(f"{report.dead:,} could not be written; they are in {dead_letters} with their reasons.", err=True)
        raise click.exceptions.Exit(SOME_DEAD)
