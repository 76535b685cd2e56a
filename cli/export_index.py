"""``osplade export-index``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import Progress, TaskID

from opensearch_splade.cli import options
from opensearch_splade.cli.wiring import QUERY_SIDES, Cluster, QueryBundles, open_cluster, open_searchers
from opensearch_splade.errors import SourceError, TargetError
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.exchange import FIELDS, SCALE, Vector, named, vectors_of, write_topics
from opensearch_splade.evaluation.exchange_anserini import write_anserini
from opensearch_splade.evaluation.exchange_bmp import write_bmp, write_bmp_queries
from opensearch_splade.evaluation.exchange_ciff import write_ciff
from opensearch_splade.evaluation.exchange_seismic import write_seismic
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.plugin.scan import scan_sources
from opensearch_splade.query import QueryPruning, SeismicSearch
from opensearch_splade.transport import asking

_FILES = {
    "anserini": ("vectors.jsonl", "topics.tsv"),
    "ciff": ("index.ciff", "topics.tsv"),
    "bmp": ("index.ciff", "queries.txt"),
    "seismic": ("documents.jsonl", "queries.jsonl"),
}
"""Of each format, the file of documents and that of questions."""


@click.command("export-index")
@click.argument("index")
@click.option("--format", "format_", required=True, type=click.Choice(list(_FILES)), help="Which engine reads it.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the files; made if need be.")
@click.option("--questions", "collection", help="Judged questions to encode, as `osplade eval` takes them.")
@click.option("--split", default="test", show_default=True, help="Which judgements of a BEIR folder.")
@click.option(
    "--scale",
    type=click.FloatRange(0, min_open=True),
    help=f"Whole weights are round(SCALE * weight). [default: {SCALE:g}; bmp: what makes the largest one 255]",
)
@click.option("--query-side", type=click.Choice(QUERY_SIDES), default="auto", show_default=True)
@click.option("--dry-run", is_flag=True, help="Say what would be written; passages are not counted.")
@options.query_encoders
@options.cluster
@options.as_json
def export_index(
    *,
    index: str,
    format_: str,
    out: Path,
    collection: str | None,
    split: str,
    scale: float | None,
    query_side: str,
    dry_run: bool,
    bundle: str | None,
    dense_bundle: str | None,
    query_prune: QueryPruning | None,
    seismic: SeismicSearch | None,
    url: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Write the sparse vectors of INDEX, and encoded questions, as files that another engine reads.

    Weights become whole numbers, except for seismic, which takes them as they are. A document of several passages
    gives a vector for each. ciff and bmp hold 16 bytes a feature in memory until all are read. No file is overwritten.

    \b
    Example:
      osplade export-index scifact --format anserini --out ./anserini --questions ./scifact
      osplade export-index papers --format bmp --out ./bmp --dry-run --json
    """
    cluster = open_cluster(url, insecure=insecure)
    meta = IndexMeta.read(cluster.client, index)
    if not meta.sparse:
        raise TargetError(f"index {index!r} holds no sparse vectors; name one made by osplade ingest --bundle.")
    bundles = QueryBundles(bundle, dense_bundle, query_prune, seismic)
    documents, topics = (out / name for name in _FILES[format_])
    for path in (documents, *([topics] if collection else [])):
        if path.exists():
            raise SourceError(f"{path} exists, and nothing is overwritten. Name another folder.")
    with asking(index):
        total = int(cluster.client.count(index=index)["count"])
    asked = _questions(cluster, index, bundles, query_side, collection, split) if collection else []
    told: dict[str, object] = {"index": index, "format": format_, "documents": str(documents), "vectors": total}
    told |= {"questions": str(topics) if collection else None, "asked": len(asked), "written": not dry_run}
    if not dry_run:
        names = _names(cluster, index, bundles) if meta.sparse.seismic else {}
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("exporting", total=total)
            told["vectors"] = _write(_read(cluster, index, names, progress, task), documents, format_, scale)
        if collection:
            told["asked"] = _write_questions(asked, topics, format_, scale)
    if as_json:
        click.echo(orjson.dumps(told))
        return
    verb = "would be" if dry_run else "are"
    click.echo(f"{told['vectors']:,} vectors {verb} in {documents}")
    if collection:
        click.echo(f"{told['asked']:,} questions {verb} in {topics}")


def _read(cluster: Cluster, index: str, names: Mapping[str, str], progress: Progress, task: TaskID) -> Iterator[Vector]:
    for page in scan_sources(cluster.client, index, cluster.capabilities, FIELDS):
        for hit in page:
            yield from vectors_of(hit, names)
        progress.advance(task, len(page))


def _names(cluster: Cluster, index: str, bundles: QueryBundles) -> dict[str, str]:
    """The feature of each key of a ``sparse_vector`` field."""
    for searcher in open_searchers(cluster, index, QueryBundles(bundles.sparse, bundles.dense)).values():
        if isinstance(searcher.target.sparse, SparseEncoder):
            return {str(token): name for name, token in searcher.target.sparse.vocabulary.ids.items()}
    raise TargetError(f"index {index!r} keeps its features by number; give --bundle, which names them.")


def _questions(
    cluster: Cluster, index: str, bundles: QueryBundles, side: str, collection: str, split: str
) -> list[Vector]:
    encoder = next(iter(open_searchers(cluster, index, bundles, side).values())).target.sparse
    if not encoder:
        raise TargetError(f"no query encoder for index {index!r} is at hand; give --bundle.")
    loaded = load_collection(collection, split)
    return [(id_, named(encoder.encode_query(text), {})) for id_, text in loaded.queries.items()]


def _write(vectors: Iterator[Vector], path: Path, format_: str, scale: float | None) -> int:
    match format_:
        case "anserini":
            return write_anserini(vectors, path, scale or SCALE)
        case "ciff":
            return write_ciff(vectors, path, scale or SCALE)
        case "bmp":
            return write_bmp(vectors, path, scale)
        case _:
            return write_seismic(vectors, path)


def _write_questions(questions: list[Vector], path: Path, format_: str, scale: float | None) -> int:
    match format_:
        case "bmp":
            return write_bmp_queries(questions, path)
        case "seismic":
            return write_seismic(questions, path)
        case _:
            return write_topics(questions, path, scale or SCALE)
