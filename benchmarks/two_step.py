"""Latency of one step and of two over an index: BM25, inference-free and siamese questions, one at a time.

    osplade ingest corpus.jsonl.gz --index debian --bundle splade-tiny --query-weights idf --force-merge
    python benchmarks/two_step.py --index debian --corpus corpus.jsonl.gz
    python benchmarks/two_step.py --index debian --corpus corpus.jsonl.gz --questions 1000 --json

Questions are the first ten words, of the first sentence at most, of every so many-th document. Every system is asked a
question before the next question is, in an order that rotates: what else the machine does falls on all alike. Times are
in milliseconds: ``build`` is encoding and the body, ``request`` what the client waits for ten hits with their text,
``took`` the server's word, ``least`` the request in its best round, which other load disturbs least. ``same`` is the
share of the first ten hits that the one-step of that query side has too.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from opensearch_splade.cli.wiring import QueryBundles, open_cluster, open_searchers
from opensearch_splade.evaluation.latency import percentile
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models.plan import processor
from opensearch_splade.query import QueryPruning, Searcher, in_two_steps, two_phase
from opensearch_splade.types import Document, Json

SIZE = 10
WARM_UP = 50
WORDS = 10
Build = Callable[[str], Json]


@click.command()
@click.option("--index", required=True)
@click.option("--corpus", required=True, help="The source that the index was made of.")
@click.option("--url", help="The cluster. [default: $OPENSEARCH_URL, else the running local node]")
@click.option("--questions", default=600, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--rules", default="top_k:4,top_k:8,top_k:16", show_default=True, help="Of the first steps.")
@click.option("--window", "windows", multiple=True, type=int, default=(200,), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(
    index: str,
    corpus: str,
    url: str | None,
    questions: int,
    rounds: int,
    rules: str,
    windows: tuple[int, ...],
    *,
    as_json: bool,
) -> None:
    """Asks every system all questions in turn and prints percentiles."""
    cluster = open_cluster(url)
    searchers = open_searchers(cluster, index, QueryBundles())
    systems = _systems(searchers, [QueryPruning.parse(rule) for rule in rules.split(",")], windows)
    texts = questions_of(corpus, questions + WARM_UP)
    for text in texts[:WARM_UP]:
        for build in systems.values():
            cluster.client.search(index=index, body=build(text))
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in systems}
    hits: dict[str, list[set[str]]] = {name: [] for name in systems}
    names = list(systems)
    for turn, text in enumerate(texts[WARM_UP:] * rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            body = systems[name](text)
            built = time.perf_counter()
            answer = cluster.client.search(index=index, body=body)
            end = time.perf_counter()
            times[name].append((1000 * (built - start), 1000 * (end - built), answer["took"]))
            hits[name].append({hit["_id"] for hit in answer["hits"]["hits"]})
    found = {
        "machine": f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "server": cluster.capabilities.version_text,
        "documents": cluster.client.count(index=index)["count"],
        "segments": len(cluster.client.cat.segments(index=index, format="json")),
        "questions": len(texts) - WARM_UP,
        "rounds": rounds,
        "systems": [_row(name, times[name], hits, len(texts) - WARM_UP) for name in systems],
    }
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)


def questions_of(corpus: str, count: int) -> list[str]:
    """First words of documents from all of the corpus, each once."""
    texts = [one.text for one in read_source(corpus) if isinstance(one, Document)]
    begun = dict.fromkeys(" ".join(re.split(r"(?<=[.!?])\s", text)[0].split()[:WORDS]) for text in texts)
    spread = [one for one in begun if len(one.split()) >= 3]
    return spread[:: max(1, len(spread) // count)][:count]


def _systems(searchers: dict[str, Searcher], rules: Sequence[QueryPruning], windows: Sequence[int]) -> dict[str, Build]:
    """Name to what makes a body of a question."""
    systems: dict[str, Build] = {"bm25": partial(next(iter(searchers.values())).body, mode="bm25", size=SIZE)}
    for side, searcher in searchers.items():
        one = partial(searcher.body, mode="neural-sparse", size=SIZE)
        systems[side] = one
        for rule in rules:
            for window in windows:
                systems[f"{side} two-step={rule} window={window}"] = _stepped(one, rule, window)
        for rule in (QueryPruning(max_ratio=0.4), rules[-1]):
            systems[f"{side} two-phase={rule} window={windows[-1]}"] = _phased(one, rule, windows[-1], searcher)
    return systems


def _stepped(one: Build, rule: QueryPruning, window: int) -> Build:
    return lambda text: in_two_steps(one(text), rule, window=window)


def _phased(one: Build, rule: QueryPruning, window: int, searcher: Searcher) -> Build:
    return lambda text: two_phase(one(text), rule, window=window, capabilities=searcher.target.capabilities)


def _row(
    name: str, times: Sequence[tuple[float, float, float]], hits: dict[str, list[set[str]]], questions: int
) -> dict[str, Any]:
    build, request, took = zip(*times, strict=True)
    least = [min(request[place::questions]) for place in range(questions)]
    pairs = list(zip(hits[name], hits[name.split(maxsplit=1)[0]], strict=True))
    return {
        "system": name,
        "build_p50": _rounded(build, 50),
        "build_p99": _rounded(build, 99),
        **{f"request_p{share}": _rounded(request, share) for share in (50, 95, 99)},
        **{f"least_p{share}": _rounded(least, share) for share in (50, 95, 99)},
        "took_p50": _rounded(took, 50),
        "same": round(sum(len(one & whole) for one, whole in pairs) / sum(len(whole) for _, whole in pairs), 4),
    }


def _rounded(values: Sequence[float], share: int) -> float:
    return round(percentile(values, share), 2)


def _print(found: dict[str, Any]) -> None:
    console = Console(width=160)
    said = {key: value for key, value in found.items() if key != "systems"}
    console.print(said, highlight=False)
    table = Table("", *[key.replace("_", " ") for key in found["systems"][0] if key != "system"], title="milliseconds")
    for row in found["systems"]:
        table.add_row(*map(str, row.values()))
    console.print(table)


if __name__ == "__main__":
    main()
