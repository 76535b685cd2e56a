"""``osplade eval``."""

from __future__ import annotations

from dataclasses import asdict

import click
import orjson
from rich.console import Console

from opensearch_splade.cli import options
from opensearch_splade.cli.evaluating import compare
from opensearch_splade.cli.rendering import outcomes_table, printer
from opensearch_splade.cli.wiring import QUERY_SIDES, QueryBundles, open_cluster, open_searchers
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.systems import score_error
from opensearch_splade.query import Mode, QueryPruning, SeismicSearch
from opensearch_splade.query.mode import SPARSE_LEGS


@click.command("eval")
@click.argument("collection")
@options.index
@click.option("--split", default="test", show_default=True, help="Which judgements of a BEIR folder.")
@click.option("--mode", "modes", multiple=True, help="Only this way of asking; may be given several times.")
@click.option("--query-side", type=click.Choice(QUERY_SIDES), default="auto", show_default=True)
@options.query_encoders
@options.cluster
@options.as_json
def evaluate(
    collection: str,
    *,
    index: str,
    split: str,
    modes: tuple[str, ...],
    query_side: str,
    bundle: str | None,
    dense_bundle: str | None,
    query_prune: QueryPruning | None,
    seismic: SeismicSearch | None,
    url: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Measure every way of asking an index over the judged questions of COLLECTION.

    COLLECTION is a BEIR folder (queries.jsonl, qrels/SPLIT.tsv), python-docs, or an ir_datasets id. Its documents
    must be in the index already (`osplade ingest`).

    \b
    Example:
      osplade eval ./scifact --index scifact
      osplade eval ./scifact --index scifact --mode bm25 --mode bm25+knn --json
    """
    loaded = load_collection(collection, split)
    cluster = open_cluster(url, insecure=insecure)
    searchers = open_searchers(cluster, index, QueryBundles(bundle, dense_bundle, query_prune, seismic), query_side)
    outcomes = compare(loaded, searchers, modes, Console(stderr=True))
    first = next(iter(searchers.values()))
    asked = {leg for outcome in outcomes for leg in Mode.parse(outcome.mode).legs}
    checked = [mode for mode in SPARSE_LEGS if mode in asked]
    errors = {mode: score_error(first, mode, loaded) for mode in checked}
    if as_json:
        found = {"collection": loaded.name, "split": split, "index": index, "questions": len(loaded.queries)}
        found |= {
            "server": cluster.capabilities.version_text,
            "systems": list(map(asdict, outcomes)),
            "score_error": errors,
        }
        click.echo(orjson.dumps(found))
        return
    title = f"{loaded.name}, {len(loaded.queries)} questions, index {index}"
    if not any(outcome.measures["R@100"] for outcome in outcomes):
        click.echo(f"note: no judged document was found; are the documents of {loaded.name} in {index!r}?", err=True)
    printer().print(outcomes_table(outcomes, title))
    for mode, error in errors.items():
        click.echo(f"{mode}: the server's scores equal the exact dot products within {error:.1e}")
