"""Feedback: parameters of RM3 by a grid, and simulated rounds of relevance feedback.

    python benchmarks/feedback.py choose ../shared/data/scifact --index scifact --split train --leave-out test
    python benchmarks/feedback.py rounds ../shared/data/cacm --index cacm

What is chosen is measured by ``osplade eval --system "neural-sparse feedback=rm3:10:20:0.5"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import click

from opensearch_splade.cli.wiring import QueryBundles, open_cluster, open_searchers
from opensearch_splade.evaluation.asking import ask
from opensearch_splade.evaluation.collection import Collection, load_collection
from opensearch_splade.evaluation.feedback_rounds import MOVED, PLAIN, feedback_rounds
from opensearch_splade.evaluation.measures import measure_each
from opensearch_splade.evaluation.results import SystemResult
from opensearch_splade.evaluation.significance import compare_all
from opensearch_splade.evaluation.system_spec import SystemSpec
from opensearch_splade.evaluation.systems import System
from opensearch_splade.query import Rocchio

MEASURES = ("nDCG@10", "R@100")


@click.group()
def main() -> None:
    """Feedback, chosen and measured."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--index", required=True)
@click.option("--split", default="train", show_default=True)
@click.option("--leave-out", help="Questions of this split take no part.")
@click.option("--mode", default="neural-sparse", show_default=True)
@click.option("--query-side", default="auto", show_default=True)
@click.option("--grid", default="3,5,10,20:10,20,50:0.5,0.7,0.8,0.9", show_default=True)
@click.option("--url")
def choose(
    folder: Path,
    *,
    index: str,
    split: str,
    leave_out: str | None,
    mode: str,
    query_side: str,
    grid: str,
    url: str | None,
) -> None:
    """RM3 with each combination of parameters."""
    collection = load_collection(str(folder), split)
    taken = collection.overlap(load_collection(str(folder), leave_out)) if leave_out else frozenset[str]()
    kept = [query for query in collection.queries if query not in taken]
    collection = replace(
        collection,
        queries={query: collection.queries[query] for query in kept},
        qrels={query: collection.qrels[query] for query in kept},
    )
    cluster = open_cluster(url)
    searcher = next(iter(open_searchers(cluster, index, QueryBundles(), query_side).values()))
    lines = [mode]
    values = [each.split(",") for each in grid.split(":")]
    lines += [f"{mode} feedback=rm3:{':'.join(each)}" for each in product(*values)]
    results = []
    for line in lines:
        system = System(line, SystemSpec.parse(line), index, searcher)
        run = ask(cluster.client, system, collection.queries, 100).run
        results.append(SystemResult(line, line, run, measure_each(run, collection.qrels, MEASURES)))
        click.echo(f"{line}  {_figures(results[-1].measures)}")
    _compare(results, lines[0])


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--index", required=True)
@click.option("--split", default="test", show_default=True)
@click.option("--mode", default="neural-sparse", show_default=True)
@click.option("--query-side", default="auto", show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--rocchio", default="0.75:0.15:50", show_default=True, help="beta, gamma and terms.")
@click.option("--url")
def rounds(
    folder: Path,
    *,
    index: str,
    split: str,
    mode: str,
    query_side: str,
    rounds: int,
    rocchio: str,
    url: str | None,
) -> None:
    """Rocchio, the first ten hits of each round judged by the qrels, measured on what was not judged."""
    collection: Collection = load_collection(str(folder), split)
    searcher = next(iter(open_searchers(open_cluster(url), index, QueryBundles(), query_side).values()))
    beta, gamma, terms = rocchio.split(":")
    judge = partial(Rocchio, beta=float(beta), gamma=float(gamma), terms=int(terms))
    found = feedback_rounds(searcher, mode, collection, rounds=rounds, judge=judge, measures=MEASURES)
    for number, one in enumerate(found, start=1):
        questions = len(one.plain.per_question[MEASURES[0]])
        click.echo(f"round {number}: {one.judged} judged, {one.relevant} relevant; {questions} questions left")
        click.echo(f"  {PLAIN:10} {_figures(one.plain.measures)}\n  {MOVED:10} {_figures(one.moved.measures)}")
        _compare([one.plain, one.moved], PLAIN)


def _figures(measures: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in measures.items())


def _compare(results: Iterable[SystemResult], baseline: str) -> None:
    for one in compare_all(list(results), baseline, MEASURES):
        click.echo(
            f"  {one.system}: {one.measure} {one.difference:+.4f} [{one.low:+.4f}, {one.high:+.4f}] p {one.p:.4f}, "
            f"Holm {one.p_adjusted:.4f}"
        )


if __name__ == "__main__":
    main()
