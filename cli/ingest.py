"""``osplade ingest``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import get_args

import click
import orjson
from rich.console import Console

from opensearch_splade.cli import options
from opensearch_splade.cli.ingesting import (
    DEAD_LETTERS,
    IngestJob,
    RayOptions,
    default_ledger,
    forecast,
    retry,
    run_job,
)
from opensearch_splade.cli.sparse_field import field_options, merge_option
from opensearch_splade.cli.wiring import open_cluster
from opensearch_splade.index_meta import CountedWeights, PassageStore
from opensearch_splade.ingest.added_features import AddedFeatures, FeatureSource
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.passages import PassageRule
from opensearch_splade.ingest.quality_gate import QualityGate
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.ingest.request_compression import COMPRESSION_MODES, CompressionMode
from opensearch_splade.ingest.rules import Rules
from opensearch_splade.ingest.seismic import FieldOptions
from opensearch_splade.ingest.target import IndexOptions
from opensearch_splade.ingest.term_budget import parse_rule
from opensearch_splade.onnx_models import DenseEncoder, Device, SparseEncoder
from opensearch_splade.plugin.bm25 import Bm25

SOME_DEAD = 3


@click.command()
@click.argument("source", required=False)
@options.index
@click.option("--bundle", required=True, type=options.BUNDLE, help="Sparse bundle: a folder or a shipped one.")
@click.option("--dense-bundle", type=options.BUNDLE, help="Dense bundle for a kNN field beside it.")
@options.fields
@click.option(
    "--prune",
    metavar="KIND:VALUE",
    help="max_ratio:0.1, abs_value:0.05, top_k:200 or alpha_mass:0.95; or table:FILE of osplade prune-table.",
)
@click.option(
    "--passages",
    metavar="KIND:TOKENS",
    help="Cut long documents on sentence borders: windows:128 encodes each passage alone, late:128 reads the document "
    "at once and pools each passage; late:128:32+title overlaps by up to 32 tokens and repeats the title.",
)
@click.option(
    "--store-passages",
    type=click.Choice(get_args(PassageStore)),
    default="max",
    show_default=True,
    help="max: one vector a document, of its passages' maxima; nested: inside the document; documents: each passage a "
    "document of the index with the id of its whole.",
)
@click.option(
    "--gate",
    metavar="SCORER@LEAST",
    help="Passages that score less get no vector (BM25 still finds them): density@0.2, density@p25 for the lowest "
    "quarter, or module:function@LEAST of your own.",
)
@click.option(
    "--feature-field",
    "feature_fields",
    metavar="FIELD[*WEIGHT]",
    multiple=True,
    help="Metadata whose values become features FIELD=VALUE of the sparse field; or module:function. Repeatable.",
)
@click.option(
    "--static-field", "static_fields", metavar="FIELD", multiple=True, help="A number > 0 kept as a rank_feature."
)
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
@click.option(
    "--ledger",
    type=click.Path(path_type=Path),
    help="File that notes what is in the index, so that only new and changed documents are encoded. "
    "[default: osplade-ledger-INDEX.sqlite beside the dead letters]",
)
@click.option("--no-ledger", is_flag=True, help="Encode and write every document, and note nothing.")
@click.option("--again", is_flag=True, help="Forget the ledger first: encode and write every document, and note it.")
@click.option(
    "--retry-dead-letters",
    "retried",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Ingest the documents of a dead-letter file in place of SOURCE. What is indexed leaves the file; what fails "
    "again stays with its new reason.",
)
@click.option("--analyzer", default="english", show_default=True, help="Analyzer of title and text in a new index.")
@click.option("--bm25", metavar="K1,B", help="BM25 of title and text in a new index. [default: the server's, 1.2,0.75]")
@click.option("--shards", type=click.IntRange(1), default=1, show_default=True, help="Primary shards of a new index.")
@click.option("--replicas", type=click.IntRange(0), help="Copies of each shard. [default: one where a second node is]")
@field_options
@merge_option
@click.option(
    "--compress",
    type=click.Choice(COMPRESSION_MODES),
    default="auto",
    show_default=True,
    help="Send bulk requests gzipped; auto tries whether it saves time, and never does so to this machine.",
)
@click.option(
    "--metrics",
    metavar="[HOST:]PORT",
    callback=options.address,
    help="Serve metrics for Prometheus while it runs, on 127.0.0.1 unless a host is named.",
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="ray: several processes share the files, on this machine or on the Ray cluster that $RAY_ADDRESS names; they "
    "need the files and bundles under the same paths.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Processes of --engine ray. [default: one a GPU or, on CPUs, a machine]"
)
@click.option("--dry-run", is_flag=True, help="Read everything, encode a sample, write nothing.")
@options.device
@options.cluster
@options.as_json
def ingest(
    source: str | None,
    *,
    index: str,
    bundle: str,
    dense_bundle: str | None,
    fields: FieldMap,
    prune: str | None,
    passages: str | None,
    store_passages: PassageStore,
    gate: str | None,
    feature_fields: tuple[str, ...],
    static_fields: tuple[str, ...],
    query_weights: CountedWeights | None,
    dead_letters: Path,
    ledger: Path | None,
    no_ledger: bool,
    again: bool,
    retried: Path | None,
    analyzer: str,
    bm25: str | None,
    shards: int,
    replicas: int | None,
    sparse_field: FieldOptions,
    force_merge: int | None,
    compress: CompressionMode,
    metrics: tuple[str, int] | None,
    engine: str,
    workers: int | None,
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

    The index is made if there is none. Run again, also after an interruption, it encodes what is new or changed and
    doubles nothing: a ledger notes what the cluster acknowledged. What cannot be written goes to the dead letters with
    its reason, and the exit code is 3.

    \b
    Example:
      osplade ingest corpus.jsonl --index docs --bundle splade-tiny-idf
      osplade ingest ./scifact --index scifact --bundle splade-tiny --dense-bundle minilm-l6 --query-weights idf
      osplade ingest 's3://lake/papers/*.parquet' --index papers --bundle splade-tiny --id-field doi --text-field body
      osplade ingest books.jsonl --index books --bundle splade-tiny --passages late:128+title --store-passages nested
      osplade ingest corpus.jsonl --index large --bundle splade-tiny --sparse-field sparse_vector --force-merge
      osplade ingest index:papers --index papers-2 --bundle my-splade
      osplade ingest --retry-dead-letters dead-letters.jsonl --index docs --bundle splade-tiny-idf
    """
    if (source is None) == (retried is None):
        raise click.UsageError("Give SOURCE, or --retry-dead-letters FILE in its place.")
    if retried and (query_weights or dry_run or again):
        raise click.UsageError("--retry-dead-letters goes without --query-weights, --dry-run and --again.")
    if no_ledger and (ledger or again):
        raise click.UsageError("--no-ledger goes without --ledger and --again.")
    if workers and engine != "ray":
        raise click.UsageError("--workers goes with --engine ray.")
    if engine == "ray" and (no_ledger or retried):
        raise click.UsageError("--engine ray goes without --no-ledger and --retry-dead-letters.")
    if not (no_ledger or ledger):
        ledger = default_ledger(retried or dead_letters, index)
    job = IngestJob(
        source=source or str(retried),
        fields=fields,
        index=index,
        sparse=SparseEncoder.load(bundle, device),
        dense=DenseEncoder.load(dense_bundle, device) if dense_bundle else None,
        rules=Rules(
            pruning=parse_rule(prune) if prune else None,
            passages=PassageRule.parse(passages) if passages else None,
            store=store_passages,
            gate=QualityGate.parse(gate) if gate else None,
            added=AddedFeatures([FeatureSource.parse(text) for text in feature_fields], static_fields),
        ),
        query_weights=query_weights,
        dead_letters=dead_letters,
        options=IndexOptions(analyzer, shards, replicas, Bm25.parse(bm25) if bm25 else None),
        ledger=ledger,
        again=again,
        sparse_field=sparse_field,
        force_merge=force_merge,
        compress=compress,
        metrics=metrics,
        ray=RayOptions(url, insecure, workers) if engine == "ray" else None,
    )
    cluster = open_cluster(url, insecure=insecure)
    console = Console(stderr=True)
    if dry_run:
        found = forecast(cluster, job, console)
        click.echo(orjson.dumps(found, option=0 if as_json else orjson.OPT_INDENT_2))
        return
    if retried:
        report, dead_letters = retry(cluster, job, retried, console), retried
    else:
        report = run_job(cluster, job, console)
    if as_json:
        click.echo(orjson.dumps({**asdict(report), "documents_per_second": round(report.rate, 1)}))
    else:
        _tell(report, job)
    if report.dead:
        click.echo(f"{report.dead:,} could not be written; they are in {dead_letters} with their reasons.", err=True)
        raise click.exceptions.Exit(SOME_DEAD)


def _tell(report: IngestReport, job: IngestJob) -> None:
    parts = [f"{report.indexed + report.unchanged:,} documents in {job.index!r}"]
    if report.unchanged:
        parts.append(f"{report.unchanged:,} of them unchanged")
    if report.indexed:
        parts.append(f"{report.rate:.0f} a second, {report.features / report.indexed:.0f} features each")
    click.echo(", ".join(parts))
    if report.superseded:
        click.echo(f"{report.superseded:,} dead letters left out: a later version of their document is in the index")
    if report.gated:
        click.echo(f"{report.gated:,} of {report.passages:,} passages are below the gate: found by BM25 only.")
    if report.clipped:
        click.echo(
            f"{report.clipped:,} weights ({report.clipped / report.features:.2%}) are above the ceiling of the "
            "sparse_vector field and cut to it in large segments; a new index may have a higher "
            "--seismic-ceiling-ingest."
        )
    if report.truncated:
        limit = job.sparse.bundle.manifest.max_length
        click.echo(f"{report.truncated:,} reach the limit of {limit} tokens: what comes after is found by BM25 only.")
