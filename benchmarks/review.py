"""Simulated reviewers: how much they find and read where a stopping rule tells them when it is enough.

    python benchmarks/review.py vaswani --index vaswani
    python benchmarks/review.py scifact --split train --index scifact --mode bm25 --questions 300

Each question's ranking is read from the top (`Searcher.exhaust`) and judged by the collection's judgements; the rule is
asked after every batch. Recall is of all relevant documents that the collection has, also of those that the question
does not match.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import click
from corpora import SHARED
from rich.console import Console
from rich.table import Table

from opensearch_splade.cli.wiring import QueryBundles, open_cluster, open_searchers
from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.query import Estimate, Review
from opensearch_splade.types import Document

BATCH = 50
TARGETS = (0.7, 0.8, 0.9, 0.95)
RULES = ("knee", *(f"{target:g} at {confidence:g}" for confidence in (0.8, 0.95) for target in TARGETS))


def is_enough(rule: str, estimate: Estimate) -> bool:
    """Whether a rule stops here."""
    if rule == "knee":
        return estimate.is_past_knee
    return estimate.recall_at_least >= float(rule.split(" at ", maxsplit=1)[0])


def confidence_of(rule: str) -> float:
    """The knee has none."""
    return float(rule.partition(" at ")[2] or 0.95)


def stops(ranking: Sequence[str], relevant: frozenset[str], rules: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Documents read and relevant ones found, by rule; all where a rule never stops."""
    reviews = {confidence_of(rule): Review(len(ranking), confidence_of(rule)) for rule in rules}
    found: dict[str, tuple[int, int]] = {}
    for start in range(0, len(ranking), BATCH):
        for confidence, review in reviews.items():
            left = [rule for rule in rules if rule not in found and confidence_of(rule) == confidence]
            if not left:
                continue
            for document in islice(ranking, start, start + BATCH):
                review.judge(document in relevant)
            estimate = review.estimate()
            found |= {rule: (estimate.seen, estimate.found) for rule in left if is_enough(rule, estimate)}
    whole = (len(ranking), len(relevant.intersection(ranking)))
    return {rule: found.get(rule, whole) for rule in rules}


def rows(
    rankings: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, int]], rules: Sequence[str] = RULES
) -> Iterator[tuple[str, ...]]:
    """Rule, mean recall at the stop, questions that reached the target, documents read, share of the ranking."""
    relevant = {query: frozenset(one for one, grade in qrels[query].items() if grade > 0) for query in rankings}
    judged = [query for query, each in relevant.items() if each]
    made = {query: stops(rankings[query], relevant[query], rules) for query in judged}
    for rule in rules:
        recalls = [made[query][rule][1] / len(relevant[query]) for query in judged]
        read = [made[query][rule][0] for query in judged]
        share = [made[query][rule][0] / max(1, len(rankings[query])) for query in judged]
        target = 0.0 if rule == "knee" else float(rule.split(" at ")[0])
        reached = "" if rule == "knee" else f"{sum(recall >= target for recall in recalls) / len(recalls):.2f}"
        count = len(judged)
        yield rule, f"{sum(recalls) / count:.3f}", reached, f"{sum(read) / count:,.0f}", f"{sum(share) / count:.1%}"


@click.command()
@click.argument("name")
@click.option("--split", default="test", show_default=True)
@click.option("--index", required=True)
@click.option("--mode", default="hybrid", show_default=True)
@click.option("--questions", type=int, help="The first so many. [default: all]")
def main(name: str, split: str, index: str, mode: str, questions: int | None) -> None:
    """Reads and judges each question's ranking."""
    collection = load_collection(str(SHARED / "data" / name), split)
    searcher = next(iter(open_searchers(open_cluster(None), index, QueryBundles()).values()))
    asked = dict(islice(collection.queries.items(), questions))
    rankings = {
        query: [hit.id for page in searcher.exhaust(text, mode=mode, page=10_000, ids_only=True) for hit in page.hits]
        for query, text in asked.items()
    }
    table = Table("stops at recall, confidence", "recall", "reached", "read", "of the ranking", title=f"{name}, {mode}")
    ids = {one.id for one in read_source(collection.source) if isinstance(one, Document)}
    qrels = {
        query: {one: grade for one, grade in judged.items() if one in ids} for query, judged in collection.qrels.items()
    }
    for row in rows(rankings, qrels):
        table.add_row(*row)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
