"""``osplade demo``: the main job from nothing to a table of measures, on real text that is on every machine."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.rule import Rule

from opensearch_splade.cli import options
from opensearch_splade.cli.evaluating import compare
from opensearch_splade.cli.ingesting import IngestJob, run_job
from opensearch_splade.cli.rendering import evaluation_table, printer, save_picture, side_by_side
from opensearch_splade.cli.wiring import Cluster, QueryBundles, open_cluster, open_searchers
from opensearch_splade.errors import SourceError, TargetError
from opensearch_splade.evaluation.collection import Collection, load_collection
from opensearch_splade.evaluation.results import Evaluation
from opensearch_splade.evaluation.systems import systems
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.target import check_index
from opensearch_splade.onnx_models import DenseEncoder, SparseEncoder
from opensearch_splade.plugin.client import redacted
from opensearch_splade.transport import asking

if TYPE_CHECKING:
    from opensearch_splade.plugin.launcher import RunningNode

INDEX = "osplade-demo"
WAYS = ("bm25", "weighted-terms", "neural-sparse", "knn", "hybrid")
QUESTIONS = (
    "read a csv file into dictionaries",
    "run a program and get what it printed",
    "wait until several threads have finished",
    "keep the results of expensive function calls",
)


@click.command()
@click.option("--collection", default="python-docs", show_default=True, help="A BEIR folder, or an ir_datasets id.")
@click.option("--docker", is_flag=True, help="Start the node in Docker rather than from zips.")
@click.option("--fresh", is_flag=True, help="Ingest again even where the demo's index is complete.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Keep the output as an SVG file too.")
@options.cluster
def demo(*, collection: str, docker: bool, fresh: bool, picture: Path | None, url: str | None, insecure: bool) -> None:
    """Start a node, ingest a collection, ask it in every way, and measure each.

    \b
    Example:
      osplade demo
      osplade demo --collection ./scifact
      osplade demo --collection beir/nfcorpus/test
    """
    from opensearch_splade.plugin.launcher import ensure_node

    if picture and not os.access(picture.parent, os.W_OK):
        raise SourceError(f"The picture cannot be written to {picture}; name another file.")
    console = printer(record=picture is not None)
    loaded = load_collection(collection)
    node = ensure_node(url, docker=docker, insecure=insecure, console=console)
    cluster = open_cluster(node.url, insecure=insecure)
    version = cluster.capabilities.version_text
    console.print(f"OpenSearch {version} at {redacted(node.url)} ({node.how})", highlight=False)
    index = index_name(loaded)
    _ingest(cluster, loaded, index, console, fresh=fresh)
    searchers = open_searchers(cluster, index, QueryBundles())
    first = next(iter(searchers.values()))
    shown = QUESTIONS if loaded.name == "python-docs" else tuple(islice(loaded.queries.values(), 3))
    for question in shown:
        answers = {way: first.search(question, mode=way, size=3, explain=True) for way in WAYS}
        console.print(Rule(), side_by_side(question, answers))
    results = compare(cluster, loaded, systems(searchers), console).results
    evaluation = Evaluation(loaded.name, "test", "people", index, version, loaded.queries, loaded.qrels, results)
    console.print(Rule(), evaluation_table(evaluation, f"{loaded.name}: {len(loaded.queries)} judged questions"))
    _farewell(console, node, index, "how do I merge two dictionaries" if shown is QUESTIONS else shown[0])
    if picture:
        save_picture(console, picture)


def index_name(collection: Collection) -> str:
    """The demo's own index for a collection; two folders of one name have different ones."""
    if collection.name == "python-docs":
        return INDEX
    place = Path(collection.source).resolve() if Path(collection.source).exists() else collection.source
    mark = hashlib.sha256(str(place).encode()).hexdigest()[:6]
    return f"{INDEX}-{re.sub(r'[^a-z0-9]+', '-', collection.name.lower()).strip('-')}-{mark}"


def _ingest(cluster: Cluster, collection: Collection, index: str, console: Console, *, fresh: bool) -> None:
    """Fills the demo's index, unless a finished run of the same bundles is there."""
    job = IngestJob(
        source=collection.source,
        index=index,
        sparse=SparseEncoder.load("splade-tiny"),
        dense=DenseEncoder.load("minilm-l6"),
        query_weights="idf",
    )
    if _is_complete(cluster, job, fresh=fresh):
        console.print(f"Index {index} is complete; nothing to ingest (--fresh does it again).", highlight=False)
        return
    report = run_job(cluster, job, console)
    console.print(
        f"{report.indexed:,} passages in {index}: text, {report.features / max(1, report.indexed):.0f} features and a "
        f"384-dimensional vector each, {report.rate:.0f} passages a second.",
        highlight=False,
    )
    if report.dead:
        console.print(f"[yellow]{report.dead:,} could not be written; see {job.dead_letters}.")


def _is_complete(cluster: Cluster, job: IngestJob, *, fresh: bool) -> bool:
    """Whether the query weights are there, which a run writes last.

    The demo's own index is deleted where other bundles made it or a fresh one is wanted; another's is refused.
    """
    with asking(job.index):
        if not cluster.client.indices.exists(index=job.index):
            return False
    found = IndexMeta.read(cluster.client, job.index)
    try:
        check_index(job.index, found, job.meta)
    except TargetError:
        fresh = True
    if fresh:
        with asking(job.index):
            cluster.client.indices.delete(index=job.index)
    return not fresh and found.query_weights is not None


def _farewell(console: Console, node: RunningNode, index: str, question: str) -> None:
    command = _own_name()
    ours = node.how in {"running", "local"}
    lines = [
        "",
        f"The node goes on at {node.url}. Next:" if ours else "Next:",
        f"  {command} search {shlex.quote(question)} --index {index} --explain",
        f"  {command} demo --collection FOLDER                a BEIR folder of your own",
        f"  {command} demo --collection beir/nfcorpus/test    any ir_datasets id, where there is internet",
    ]
    if ours:
        lines += [
            f"  curl '{node.url}/{index}/_search?size=1&pretty'",
            f"  {command} node stop --purge                       stops the node and deletes its data",
        ]
    console.print("\n".join(lines), highlight=False, markup=False)


def _own_name() -> str:
    """How this command can be called again from here."""
    own = Path(sys.executable).with_name("osplade")
    if shutil.which("osplade") or not own.exists():
        return "osplade"
    return str(own.relative_to(Path.cwd())) if own.is_relative_to(Path.cwd()) else str(own)
