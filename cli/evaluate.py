"""``osplade eval``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.console import Console

from opensearch_splade.cli.evaluated_systems import Asking
from opensearch_splade.cli.evaluating import DEPTH, Found, Plan, compare, look
from opensearch_splade.cli.evaluation_options import Gates, Outputs, asked, gated, written
from opensearch_splade.cli.evaluation_output import LEFT_OUT, gate_failures, put_out
from opensearch_splade.errors import ClusterError, QueryError
from opensearch_splade.evaluation.collection import Collection, load_collection, load_questions
from opensearch_splade.evaluation.kept_runs import KeptRuns
from opensearch_splade.evaluation.measures import MEASURES, measure_each, measure_names
from opensearch_splade.evaluation.results import Evaluation, SystemResult
from opensearch_splade.evaluation.run_files import read_run
from opensearch_splade.evaluation.significance import compare_all
from opensearch_splade.evaluation.systems import System, score_error
from opensearch_splade.query.body import MAX_RESULT_WINDOW
from opensearch_splade.query.mode import SPARSE_LEGS

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command("eval")
@click.argument("collection", required=False)
@click.option(
    "--queries", metavar="FILE", type=_FILE, help="In place of COLLECTION, with --qrels: CSV, TSV, TREC or BEIR files."
)
@click.option("--qrels", metavar="FILE", type=_FILE, help="Judgements of --queries.")
@click.option("--split", default="test", show_default=True, help="Which judgements of a folder.")
@asked
@click.option(
    "--measure",
    "measures",
    metavar="NAME",
    multiple=True,
    help=f"As ir-measures writes it; repeatable. The first one decides. [default: {', '.join(MEASURES)}]",
)
@click.option("--baseline", metavar="NAME", help="What the others are compared with. [default: bm25, else the first]")
@click.option(
    "--depth",
    type=click.IntRange(1, MAX_RESULT_WINDOW),
    default=DEPTH,
    show_default=True,
    help="Hits of each ranking.",
)
@click.option(
    "--latency/--no-latency", default=True, show_default=True, help="Time single searches, of 100 questions at most."
)
@click.option(
    "--out",
    metavar="FOLDER",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep each ranking there, as a TREC run file; a second call asks only what is missing or has changed.",
)
@click.option("--again", is_flag=True, help="Ask everything, whatever --out holds.")
@click.option("--dry-run", is_flag=True, help="List what would be asked, and ask nothing.")
@gated
@written
def evaluate(
    collection: str | None,
    *,
    queries: Path | None,
    qrels: Path | None,
    split: str,
    asking: Asking,
    runs: Mapping[str, Path],
    measures: tuple[str, ...],
    baseline: str | None,
    depth: int,
    latency: bool,
    out: Path | None,
    again: bool,
    dry_run: bool,
    gates: Gates,
    outputs: Outputs,
) -> None:
    """Measure ways of asking over the judged questions of COLLECTION, and tell chance from difference.

    COLLECTION is a BEIR folder (queries.jsonl, qrels/SPLIT.tsv), a folder of your own (queries.csv with qrels.csv or
    clicks.csv, or TREC files), one of `osplade make-questions`, python-docs, or an ir_datasets id. Its documents must
    be in the index already (`osplade ingest`). Without --system, --systems and --mode each ranking and fusion that
    the index can answer is asked.

    \b
    Example:
      osplade eval ./scifact --index scifact
      osplade eval ./scifact --index scifact --mode bm25 --mode bm25+knn --json
      osplade eval ./scifact --index scifact --out runs --systems systems.yaml --report report.html
      osplade eval ./scifact --index scifact --system bm25=bm25 \\
          --system "fast=neural-sparse query-side=siamese two-step=top_k:8 window=200"
      osplade eval ./scifact --run lucene=bm25.trec --run dense=dense.trec --fail-under nDCG@10=.70

    \b
    A SPEC is a MODE (bm25+knn:rrf) or template=FILE.json, and any of
      weights=1,2            of the rankings that are fused
      query-side=siamese     or inference-free
      query-prune=top_k:16   as --query-prune
      seismic=top_n:40       as --seismic
      feedback=rm3:3:100:0.7 its sparse rankings expanded by features of the best hits, which takes a second search
      two-step=top_k:8       candidates by the strongest features, scores by all of them
      rescore=neural-sparse  the best hits of the mode scored again by this ranking; with weights=1,2 by both
      window=200             how many hits of a shard are scored again
      filter='{"term":{…}}'  a query that hits must match
      index= bundle= dense-bundle=   where this one asks, and with what
      tuned-on=scifact/train what its numbers were chosen on, for the report

    \b
    The same in a file:
      systems:
        bm25: bm25
        fused: {mode: bm25+neural-sparse+knn, weights: [1, 2, 1]}
        fast: {mode: neural-sparse, query-side: siamese, two-step: {top_k: 8}}
        rescored: {mode: bm25, rescore: neural-sparse, window: 100}
        ours: {template: our_query.json}    # beside this file

    A template is a search body. {{query}} may stand within any of its strings; "{{sparse}}" becomes the query of the
    weighted features, and "{{vector}}" the numbers of the dense vector. Its hits are known by the field id, or by _id.
    """
    loaded = _load(collection, queries, qrels, split)
    console = Console(stderr=True)
    imported = {name: read_run(path) for name, path in runs.items()}
    systems = asking.open()
    _check_names([system.name for system in systems], list(imported), baseline)
    wanted = measure_names([*(measures or MEASURES), *(each.measure for each in gates.fail_under)])
    plan = Plan(split, depth, latency, wanted, KeptRuns(out) if out else None, again)
    if dry_run:
        _list(asking, loaded, systems, runs, plan)
        return
    found, index, server, errors = Found([], [], []), "", "", dict[str, float]()
    if systems:
        found = compare(asking.cluster, loaded, systems, console, plan)
        index, server = _indices(systems), asking.cluster.capabilities.version_text
        errors = _score_errors(systems, loaded)
    found.results += [
        SystemResult(name, str(runs[name]), run, measure_each(run, loaded.qrels, wanted))
        for name, run in imported.items()
    ]
    if not found.results:
        raise ClusterError(f"nothing to compare, since no system answered every question: {'; '.join(found.failures)}")
    notes = [*found.notes, *_doubts(found.results, loaded, index), *(LEFT_OUT + one for one in found.failures)]
    base = baseline or next((one.name for one in found.results if one.name == "bm25"), found.results[0].name)
    qualities = [name for name in wanted if not name.startswith("Judged")]
    comparisons = compare_all(found.results, base, qualities) if len(found.results) > 1 else []
    evaluation = Evaluation(
        loaded.name,
        loaded.split,
        loaded.judged_by,
        index,
        server,
        loaded.queries,
        loaded.qrels,
        found.results,
        comparisons,
        notes,
    )
    put_out(evaluation, systems, errors, outputs, console)
    failed = [*found.failures, *gate_failures(evaluation, gates)]
    for sentence in failed:
        click.echo(f"failed: {sentence}", err=True)
    if failed:
        raise SystemExit(1)


def _load(collection: str | None, queries: Path | None, qrels: Path | None, split: str) -> Collection:
    if (queries is None) != (qrels is None) or (collection is None) == (queries is None):
        raise click.UsageError("give a COLLECTION, or --queries and --qrels.")
    if queries is not None and qrels is not None:
        return load_questions(queries, qrels, split=split)
    return load_collection(collection or "", split)


def _check_names(systems: Sequence[str], imported: Sequence[str], baseline: str | None) -> None:
    names = [*systems, *imported]
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise click.UsageError(f"two systems are called {twice[0]!r}: names are what tells them apart.")
    if baseline is not None and baseline not in names:
        raise QueryError(f"--baseline {baseline}: there is no such system; choose one of {', '.join(names)}")


def _list(
    asking: Asking, collection: Collection, systems: Sequence[System], runs: Mapping[str, Path], plan: Plan
) -> None:
    timed = ", then single searches for latency" if plan.times else ""
    click.echo(f"{len(collection.queries)} questions of {collection.name} to depth {plan.depth}{timed}:")
    for system in systems:
        system.ranking_body(next(iter(collection.queries.values())), plan.depth)  # refuses what cannot be asked
        _, _, said = look(asking.cluster, collection, system, plan)
        click.echo(f"  {system.name}: {system.spec}  (index {system.index}{said and ', '}{said})")
    for name, path in runs.items():
        click.echo(f"  {name}: read from {path}")


def _indices(systems: Sequence[System]) -> str:
    return ", ".join(dict.fromkeys(system.index for system in systems))


def _score_errors(systems: Sequence[System], collection: Collection) -> dict[str, float]:
    """How far the server's scores are from exact dot products, for each sparse ranking that takes part."""
    found: dict[str, float] = {}
    for system in systems:
        legs = system.spec.mode.legs if system.spec.mode else ()
        for leg in SPARSE_LEGS:
            if leg in legs and leg not in found and system.searcher:
                found[leg] = score_error(system.searcher, leg, collection)
    return found


def _doubts(results: Sequence[SystemResult], collection: Collection, index: str) -> list[str]:
    """What makes figures meaningless: rankings without any judged document."""
    doubts = []
    for result in results:
        if not any(collection.qrels[query].keys() & result.run.get(query, {}).keys() for query in collection.qrels):
            where = f" (are the documents of {collection.name} in {index!r}?)" if result.latency or index else ""
            doubts.append(f"{result.name} found no judged document{where}")
    return doubts
