"""What cutting documents into passages does to relevance, by exact dot product: no node is needed.

    python benchmarks/passages.py                                       # SciFact test, splade-tiny, a few rules
    python benchmarks/passages.py --rule late:128:32+title --bundle my-splade --collection ./my-beir-folder

For each rule: nDCG@10 and recall@100 of one vector a document (``max``, the maxima of its passages) and of its best
passage (``nested`` and ``documents`` rank so). The rules are compared, not tuned: look before you choose by them.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, islice

import click
from corpora import SHARED
from rich.console import Console
from rich.table import Table

from opensearch_splade.evaluation.collection import Collection, load_collection
from opensearch_splade.evaluation.exact import ExactIndex
from opensearch_splade.evaluation.measures import measure
from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.ingest.passages import PassageRule
from opensearch_splade.ingest.rules import Rules
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.onnx_models.sparse_rows import SparseRow, maximum, stack
from opensearch_splade.types import Document, SparseVectors

RULES = ("windows:128", "windows:64", "late:128", "late:64", "late:128:32", "late:128+title", "late:64+title")
DEPTH = 100
_AT_ONCE = 256
_DEEPER = 10
"""Passages ranked for each document that is looked for."""


def encoded(encoder: SparseEncoder, documents: list[Document], rule: str) -> list[list[SparseRow]]:
    """The rows of each document's passages; one row where documents are whole."""
    rules = Rules(passages=PassageRule.parse(rule) if rule else None)
    made = rules.encoder(encoder, None, [])
    source = iter(documents)
    batches = iter(lambda: list(islice(source, _AT_ONCE)), [])
    tokenised = list(chain.from_iterable(map(made.tokenise, batches)))
    rows = made.sparse_rows(chain.from_iterable(one.pieces for one in tokenised))
    return [made.passage_rows(one.pieces, [next(rows) for _ in one.pieces]) for one in tokenised]


def measured(collection: Collection, ranked: Iterable[dict[str, float]]) -> str:
    """nDCG@10 and recall@100 as a cell."""
    found = measure(dict(zip(collection.queries, ranked, strict=True)), collection.qrels)
    return f"{found['nDCG@10']:.4f}  {found['R@100']:.4f}"


def best_passages(ids: list[str], rows: list[list[SparseRow]], questions: SparseVectors) -> list[dict[str, float]]:
    """Documents by their best passage."""
    owners = [id_ for id_, each in zip(ids, rows, strict=True) for _ in each]
    names = [f"{place}" for place in range(len(owners))]
    index = ExactIndex(names, encode_weights(stack(chain.from_iterable(rows))))
    found = list[dict[str, float]]()
    for ranked in index.rank(questions, DEPTH * _DEEPER):
        best: dict[str, float] = {}
        for name, score in ranked.items():
            best.setdefault(owners[int(name)], score)
        found.append(dict(islice(best.items(), DEPTH)))
    return found


@click.command()
@click.option("--collection", default=str(SHARED / "data" / "scifact"), show_default="SciFact")
@click.option("--split", default="test", show_default=True)
@click.option("--bundle", default="splade-tiny", show_default=True)
@click.option("--rule", "rules", multiple=True, default=RULES, help="As --passages of osplade ingest; repeatable.")
def main(collection: str, split: str, bundle: str, rules: tuple[str, ...]) -> None:
    """Measures each rule, and whole documents first."""
    loaded, encoder = load_collection(collection, split), SparseEncoder.load(bundle)
    documents = [one for one in read_source(loaded.source) if isinstance(one, Document)]
    ids = [one.id for one in documents]
    questions = encoder.encode_queries(list(loaded.queries.values()))
    table = Table("passages", "a document", "features", "max: nDCG@10  R@100", "best passage: nDCG@10  R@100")
    for rule in ("", *rules):
        rows = encoded(encoder, documents, rule)
        vectors = encode_weights(stack(map(maximum, rows)))
        table.add_row(
            rule or "whole (truncated)",
            f"{sum(map(len, rows)) / len(rows):.1f}",
            f"{len(vectors.weights) / len(rows):.0f}",
            measured(loaded, ExactIndex(ids, vectors).rank(questions, DEPTH)),
            measured(loaded, best_passages(ids, rows, questions)),
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
