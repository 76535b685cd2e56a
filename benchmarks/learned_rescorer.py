"""A learned rescoring where it was not learned: quality and time against the hybrid of the same rankings.

    osplade tune-search ./scifact --index scifact --leave-out-overlap --save-rescorer learned.json
    python benchmarks/learned_rescorer.py learned.json ./cacm --index cacm

Asks one question after the other, by each in turn, for ten hits with their text, question encoding included. ``least``
is the better of two rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import orjson

from opensearch_splade.cli.wiring import QueryBundles, open_cluster, open_searchers
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.evaluation.latency import percentile
from opensearch_splade.evaluation.measures import measure
from opensearch_splade.query import LearnedRescorer, SearchResult, search_fused, search_learned

ROUNDS = 2


@click.command()
@click.argument("model", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("collection")
@click.option("--index", required=True)
@click.option("--split", default="test", show_default=True)
def main(model: Path, collection: str, index: str, split: str) -> None:
    """Prints one line of JSON for each system."""
    judged = load_collection(collection, split)
    searchers = open_searchers(open_cluster(None), index, QueryBundles())
    siamese, learned = searchers["siamese"], LearnedRescorer.read(model)
    systems: dict[str, Callable[[str], SearchResult]] = {
        "bm25": partial(siamese.search, mode="bm25"),
        "hybrid (siamese)": siamese.search,
        "hybrid (siamese), fused by the client": partial(search_fused, siamese),
        "learned rescorer": lambda text: search_learned(searchers, text, learned),
    }
    times: dict[str, dict[str, float]] = {name: {} for name in systems}
    runs: dict[str, dict[str, dict[str, float]]] = {name: {} for name in systems}
    for _ in range(ROUNDS):
        for query, text in judged.queries.items():
            for name, ask in systems.items():
                start = time.perf_counter()
                hits = ask(text).hits
                spent = 1000 * (time.perf_counter() - start)
                times[name][query] = min(spent, times[name].get(query, spent))
                runs[name][query] = {hit.id: hit.score for hit in hits}
    for name, run in runs.items():
        found = {"system": name, **measure(run, judged.qrels, ["nDCG@10"])}
        click.echo(orjson.dumps({**found, "least_p50_ms": round(percentile(list(times[name].values()), 50), 2)}))


if __name__ == "__main__":
    main()
