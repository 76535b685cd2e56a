"""``osplade prune-curve``."""

from __future__ import annotations

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from opensearch_splade.cli import options
from opensearch_splade.cli.rendering import printer
from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation import prune_curve as curve
from opensearch_splade.evaluation.collection import Collection, load_collection
from opensearch_splade.evaluation.prune_curve import CurvePoint, recommend
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.ingest.term_budget import Budget, PruningRule, parse_rule
from opensearch_splade.onnx_models import Device, SparseEncoder
from opensearch_splade.types import Document


@click.command("prune-curve")
@click.argument("collection")
@click.option("--bundle", required=True, type=options.BUNDLE, help="Sparse bundle: a folder or a shipped one.")
@click.option("--split", default="test", show_default=True, help="Which judgements of a BEIR folder.")
@click.option(
    "--prune", "prunes", metavar="KIND:VALUE", multiple=True, help="Only this rule; may be given several times."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, 1),
    default=0.002,
    show_default=True,
    help="How much nDCG@10 the recommended pruning may lose.",
)
@options.device
@options.as_json
def prune_curve(
    collection: str,
    *,
    bundle: str,
    split: str,
    prunes: tuple[str, ...],
    tolerance: float,
    device: Device,
    as_json: bool,
) -> None:
    """Measure what pruning saves and costs over the judged questions of COLLECTION, and recommend one.

    COLLECTION is what `osplade eval` takes. Its documents are encoded once and compared by exact dot product, so no
    node is needed. The size is what a document's features take in the index, estimated. Rules are those of --prune of
    osplade ingest, and budgets of the corpus, which osplade prune-table makes a table of.

    \b
    Example:
      osplade prune-curve ./scifact --bundle splade-tiny
      osplade prune-curve python-docs --bundle splade-tiny-idf --tolerance 0.005 --json
    """
    rules = [Budget.parse(text) if text.startswith("budget") else parse_rule(text) for text in prunes]
    loaded = load_collection(collection, split)
    points = _measured(loaded, SparseEncoder.load(bundle, device), rules)
    best = recommend(points, tolerance)
    if as_json:
        click.echo(
            orjson.dumps(
                {
                    "collection": loaded.name,
                    "split": split,
                    "questions": len(loaded.queries),
                    "tolerance": tolerance,
                    "points": [_plain(point) for point in points],
                    "recommended": _plain(best),
                }
            )
        )
        return
    printer().print(_table(points, best, f"{loaded.name}, {len(loaded.queries)} questions, bundle {bundle}"))
    if best.pruning is None:
        click.echo(f"recommended: no pruning; every rule that saves loses more than {tolerance:g}")
        return
    saved = 1 - best.bytes / points[0].bytes
    how = f"--prune {best.pruning}"
    if isinstance(best.pruning, Budget):
        how = f"--prune table:FILE, made by osplade prune-table --budget {best.pruning}"
    click.echo(f"recommended: {how} ({saved:.0%} smaller, {best.ndcg - points[0].ndcg:+.4f} nDCG@10)")


def _measured(collection: Collection, encoder: SparseEncoder, rules: list[PruningRule | Budget]) -> list[CurvePoint]:
    console = Console(stderr=True)
    with console.status("encoding ..."):
        documents = [record for record in read_source(collection.source) if isinstance(record, Document)]
        if not documents:
            raise SourceError(f"{collection.source} holds no documents, so there is nothing to measure.")
        vectors = encoder.encode_documents(document.passage for document in documents)
        questions = encoder.encode_queries(list(collection.queries.values()))
    tried = rules or curve.default_rules(vectors)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=len(tried) + 1)
        ids = [document.id for document in documents]
        names = encoder.vocabulary.features
        return curve.prune_curve(collection, ids, vectors, questions, names, tried, lambda: progress.advance(task))


def _plain(point: CurvePoint) -> dict[str, object]:
    return {
        "prune": point.pruning and str(point.pruning),
        "features": round(point.features, 1),
        "bytes": round(point.bytes, 1),
        **point.measures,
    }


def _table(points: list[CurvePoint], best: CurvePoint, title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=SIMPLE_HEAD)
    table.add_column("pruning", no_wrap=True)
    for name in ("features", "bytes", "of all", "nDCG@10", "change", "R@100"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    whole = points[0]
    for point in sorted(points, key=lambda point: -point.bytes):
        table.add_row(
            str(point.pruning or "none"),
            f"{point.features:.0f}",
            f"{point.bytes:.0f}",
            f"{point.bytes / max(1e-9, whole.bytes):.0%}",
            f"{point.ndcg:.4f}",
            f"{point.ndcg - whole.ndcg:+.4f}",
            f"{point.measures['R@100']:.4f}",
            "recommended" if point is best else "",
            style="bold green" if point is best else "",
        )
    return table
