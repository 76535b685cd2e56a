"""Feedback: parameters of RM3 by a grid, and simulated rounds of relevance feedback.

    python benchmarks/feedback.py choose ../shared/data/scifact --index scifact --split train --leave-out test
    python benchmarks/feedback.py rounds ../shared/data/cacm --index cacm

What is chosen is measured by ``osplade eval --system "neural-sparse feedback=rm3:3:100:0.7"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, product
from pathlib import Path

import click
import numpy as np

from opensearch_splade.cli.wiring import Cluster, QueryBundles, open_cluster, open_searchers
from opensearch_splade.evaluation.collection import Collection, load_collection
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.feedback_rounds import MOVED, PLAIN, feedback_rounds
from opensearch_splade.evaluation.measures import measure_each
from opensearch_splade.evaluation.results import SystemResult
from opensearch_splade.evaluation.significance import compare_all
from opensearch_splade.plugin.scan import scan_sources
from opensearch_splade.query import Evidence, Feedback, Rocchio, Searcher
from opensearch_splade.types import Features, SparseVectors

DEPTH = 100
MEASURES = ("nDCG@10", "R@100")


@click.group()
def main() -> None:
    """Feedback, chosen and measured."""


@main.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@click.option("--index", required=True)
@click.option("--split", default="train", show_default=True)
@click.option("--leave-out", help="Questions of this split take no part.")
@click.option("--query-side", default="auto", show_default=True)
@click.option("--grid", default="3,5,10,20:10,20,50,100,200:0.5,0.6,0.7,0.8,0.9", show_default=True)
@click.option("--url")
def choose(
    folder: Path,
    *,
    index: str,
    split: str,
    leave_out: str | None,
    query_side: str,
    grid: str,
    url: str | None,
) -> None:
    """RM3 with each combination of parameters, over the sparse ranking: exact, and here instead of on the server."""
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
    vectors = _vectors(cluster, index)
    numbers = {feature: place for place, feature in enumerate(dict.fromkeys(chain.from_iterable(vectors.values())))}
    exact = ExactIndex(list(vectors), _rows(vectors.values(), numbers))
    questions = {query: _encoded(searcher, text) for query, text in collection.queries.items()}

    def ranked(name: str, weights: Mapping[str, Features]) -> SystemResult:
        run = dict(zip(weights, exact.rank(_rows(weights.values(), numbers), DEPTH), strict=True))
        result = SystemResult(name, name, run, measure_each(run, collection.qrels, MEASURES))
        click.echo(f"{name:16} {_figures(result.measures)}")
        return result

    results = [ranked("question", questions)]
    for values in product(*(each.split(",") for each in grid.split(":"))):
        feedback = Feedback.parse(f"rm3:{':'.join(values)}")
        weights = {}
        for query, question in questions.items():
            hits = list(results[0].run[query].items())[: feedback.docs]
            weights[query] = feedback.apply(question, [Evidence(key, score, vectors[key]) for key, score in hits])
        results.append(ranked(str(feedback), weights))
    _compare(results, results[0].name)


def _vectors(cluster: Cluster, index: str) -> dict[str, Features]:
    """Of every document, as it is stored."""
    pages = scan_sources(cluster.client, index, cluster.capabilities, ["sparse"])
    return {hit["_id"]: hit["_source"].get("sparse", {}) for page in pages for hit in page}


def _encoded(searcher: Searcher, text: str) -> Features:
    return searcher.target.sparse.encode_query(text) if searcher.target.sparse else {}


def _rows(vectors: Iterable[Features], numbers: Mapping[str, int]) -> SparseVectors:
    """With the features that any document has, by their numbers."""
    rows = [sorted((numbers[name], weight) for name, weight in one.items() if name in numbers) for one in vectors]
    indptr = np.cumsum([0, *map(len, rows)])
    cells = list(chain.from_iterable(rows))
    token_ids = np.array([number for number, _ in cells], np.int32)
    return SparseVectors(indptr, token_ids, np.array([weight for _, weight in cells], np.float32))


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
