"""``osplade tune-search``."""

from __future__ import annotations

from collections.abc import Collection as Some
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from opensearch_splade.cli import options
from opensearch_splade.cli.evaluated_systems import Asking
from opensearch_splade.cli.rendering import printer
from opensearch_splade.cli.wiring import QueryBundles
from opensearch_splade.errors import QueryError
from opensearch_splade.evaluation.asking import ask
from opensearch_splade.evaluation.collection import Collection, load_collection
from opensearch_splade.evaluation.evaluation_file import write_evaluation
from opensearch_splade.evaluation.leakage import overlapping, refuse_overlap, refuse_test_split
from opensearch_splade.evaluation.results import Evaluation, Run
from opensearch_splade.evaluation.search_tuners import leg_specs, tuners, untuned, variants
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.tuning_report import Tuned, evaluated, p_value, tune_and_judge
from opensearch_splade.query import LearnedRescorer, QueryPruning, SeismicSearch
from opensearch_splade.query.fusion import CANDIDATES


@click.command("tune-search")
@click.argument("collection")
@options.index
@click.option("--split", default="train", show_default=True, help="Whose judgements parameters are chosen by.")
@click.option("--judge", default="test", show_default=True, help="Whose judgements say how good they are.")
@click.option(
    "--cross-validate",
    is_flag=True,
    help="For a collection of one split: each question is judged by parameters chosen without its fold.",
)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="Of a cross-validation.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the folds and the tests.")
@click.option("--leave-out-overlap", is_flag=True, help="Tune without the questions that are judged too.")
@click.option("--allow-test", is_flag=True, help="Tune on what is measured: for demonstrations of how that misleads.")
@click.option(
    "--all-fusions", is_flag=True, help="Also what the server fuses by a pipeline of one's own (l2, z_score…)."
)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the evaluation there, as JSON.")
@click.option(
    "--save-rescorer",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the learned rescorer there, for osplade search --rescorer.",
)
@options.query_encoders
@options.cluster
@options.as_json
def tune_search(
    collection: str,
    *,
    index: str,
    split: str,
    judge: str,
    cross_validate: bool,
    folds: int,
    seed: int,
    leave_out_overlap: bool,
    allow_test: bool,
    all_fusions: bool,
    save: Path | None,
    save_rescorer: Path | None,
    bundle: str | None,
    dense_bundle: str | None,
    query_prune: QueryPruning | None,
    seismic: SeismicSearch | None,
    url: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Choose fusion weights, query pruning and rescoring for an index on the training questions of COLLECTION.

    Each leg is asked once; fusions are computed from the rankings as the server would. Refuses to tune on a test split
    and where a training question is among those that are judged.

    \b
    Example:
      osplade tune-search ./scifact --index scifact --split train --leave-out-overlap
      osplade tune-search ./cacm --index cacm --split test --cross-validate
    """
    training = load_collection(collection, split)
    judged, left_out = training, 0
    if not cross_validate:
        refuse_test_split(split, judge, allow_test=allow_test)
        judged = load_collection(collection, judge)
        if leave_out_overlap:
            both = overlapping(training.queries, judged.queries)
            training, left_out = _without(training, both), len(both)
        refuse_overlap(training.queries, judged.queries, allow_test=allow_test)
    asking = Asking(index, {}, (), "auto", QueryBundles(bundle, dense_bundle, query_prune, seismic), url, insecure)
    runs = _asked(asking, {**training.queries, **judged.queries})
    # Of a question on both sides (--allow-test) either judgements are right for one side only.
    qrels = {**judged.qrels, **training.qrels}
    found = tune_and_judge(
        tuners(runs, qrels, all_fusions=all_fusions),
        training.queries,
        judged.queries,
        training.qrels,
        tuned_on=f"{training.name}/{split}" + (f" without {left_out} that are judged too" if left_out else ""),
        folds=folds if cross_validate else 0,
        seed=seed,
    )
    legs = {spec: runs[spec] for spec in leg_specs(runs)}
    server = asking.cluster.capabilities.version_text
    evaluation = evaluated(judged, split if cross_validate else judge, index, server, legs, found, untuned(runs), seed)
    if save:
        write_evaluation(save, evaluation)
    if save_rescorer:
        _write_rescorer(save_rescorer, found)
    if as_json:
        click.echo(orjson.dumps(_plain(evaluation, found)))
        return
    _show(evaluation, found)


def _without(collection: Collection, left_out: Some[str]) -> Collection:
    queries = {query: text for query, text in collection.queries.items() if query not in left_out}
    return replace(collection, queries=queries, qrels={query: collection.qrels[query] for query in queries})


def _asked(asking: Asking, queries: Mapping[str, str]) -> dict[str, Run]:
    """Every leg and variant, once for all questions."""
    lines = variants([system.spec for system in asking.open()])
    systems = replace(asking, specs={line: SystemSpec.parse(line) for line in lines}).open()
    found: dict[str, Run] = {}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("asking", total=len(systems) * len(queries))
        for system in systems:
            progress.update(task, description=system.name)
            asked = ask(asking.cluster.client, system, queries, CANDIDATES, lambda by: progress.advance(task, by))
            found[system.name] = asked.run
    return found


def _write_rescorer(path: Path, found: list[Tuned]) -> None:
    for one in found:
        if coefficients := one.final.parameters.get("coefficients"):
            return LearnedRescorer(coefficients, one.tuned_on).write(path)
    raise QueryError("there is no learned rescorer to save: it takes an index of two rankings at least")


def _plain(evaluation: Evaluation, found: list[Tuned]) -> dict[str, Any]:
    return {
        "collection": evaluation.collection,
        "index": evaluation.index,
        "split": evaluation.split,
        "tuned": [
            {
                "name": one.name,
                "tuned_on": one.tuned_on,
                "spec": one.final.spec,
                "parameters": one.final.parameters,
                "training": one.training,
                "folds": [fold.spec or fold.parameters for fold in one.folds],
            }
            for one in found
        ],
        "measures": {system.name: system.measures for system in evaluation.systems},
        "baseline": evaluation.comparisons[0].baseline if evaluation.comparisons else "",
        "comparisons": [
            {"system": one.system, "measure": one.measure, "difference": one.difference, "p": one.p}
            | {"p_adjusted": one.p_adjusted}
            for one in evaluation.comparisons
        ],
        "notes": evaluation.notes,
    }


def _show(evaluation: Evaluation, found: list[Tuned]) -> None:
    table = Table(box=SIMPLE_HEAD, title=f"{evaluation.collection}/{evaluation.split}", title_justify="left")
    for name in ("system", "nDCG@10", "AP", "p of nDCG@10", "p of AP", "Holm"):
        table.add_column(name, justify="left" if name == "system" else "right", overflow="fold")
    tests = {(one.system, one.measure): one for one in evaluation.comparisons}
    for system in evaluation.systems:
        ndcg, ap = tests.get((system.name, "nDCG@10")), tests.get((system.name, "AP"))
        sure = ["baseline", "", ""]
        if ndcg and ap:
            sure = [p_value(one) for one in (ndcg.p, ap.p, ndcg.p_adjusted)]
        measures = [f"{system.measures[name]:.4f}" for name in ("nDCG@10", "AP")]
        table.add_row(system.name, *measures, *sure)
    printer().print(table, markup=False)
    for note in evaluation.notes:
        click.echo(note)
    for one in found:
        click.echo(f"\n{one.name}: nDCG@10 {one.training:.4f} where it was tuned")
        click.echo(f'  --system "tuned={one.final.spec}"' if one.final.spec else "  no option of a search; as JSON:")
        if options_of(one.final.spec):
            click.echo(f"  osplade search … {options_of(one.final.spec)}")
        click.echo("  " + orjson.dumps(one.final.parameters).decode())


def options_of(spec: str) -> str:
    """A spec as options of ``osplade search``; empty where it has none."""
    if not spec:
        return ""
    mode, *rest = spec.replace(" weights=", " rescore-weights=" if " rescore=" in spec else " weights=").split()
    return " ".join([f"--mode {mode}", *(f"--{one.replace('=', ' ', 1)}" for one in rest)])
