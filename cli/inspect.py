"""``osplade inspect``."""

from __future__ import annotations

from collections.abc import Mapping

import click
import numpy as np
import orjson
from rich.console import Console
from rich.progress import Progress

from opensearch_splade.cli import options
from opensearch_splade.cli.inspect_tables import show
from opensearch_splade.cli.rendering import printer
from opensearch_splade.cli.wiring import QUERY_SIDES, QueryBundles, open_cluster, open_searchers
from opensearch_splade.evaluation.collection import Collection, load_collection
from opensearch_splade.evaluation.inspection import Asked, sections_json
from opensearch_splade.evaluation.inspection_all import SECTIONS, inspect_all
from opensearch_splade.evaluation.inspection_vectors import MOST, Reading, Words, numbered, read_vectors
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.query import QueryPruning, Searcher, SeismicSearch


@click.command()
@options.index
@click.option("--collection", help="Judged questions for it, as `osplade eval` takes them.")
@click.option("--split", default="test", show_default=True, help="Which judgements of a BEIR folder.")
@click.option(
    "--sample",
    type=click.IntRange(1),
    default=MOST,
    show_default=True,
    help="Read so many documents at most, chosen by --seed; 50,000 may take 1 GB. Posting lists are of what is read.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Chooses the sample and what is compared.")
@click.option("--only", type=click.Choice(SECTIONS), multiple=True, help="Only this part; repeatable.")
@click.option("--query-side", type=click.Choice(QUERY_SIDES), default="auto", show_default=True)
@options.query_encoders
@options.cluster
@options.as_json
def inspect(
    *,
    index: str,
    collection: str | None,
    split: str,
    sample: int,
    seed: int,
    only: tuple[str, ...],
    query_side: str,
    bundle: str | None,
    dense_bundle: str | None,
    query_prune: QueryPruning | None,
    seismic: SeismicSearch | None,
    url: str | None,
    insecure: bool,
    as_json: bool,
) -> None:
    """Show what an index is made of: weights, posting lists, expansion, dead features, what fewer bits would cost.

    Its vectors are read back; nothing is written. Each figure says what it means and what to do about it. With
    --collection, questions are ranked exactly, without the node, over what was read.

    \b
    Example:
      osplade inspect --index scifact --collection ./scifact
      osplade inspect --index papers --sample 20000 --seed 7 --only weights --only postings --json
    """
    cluster = open_cluster(url, insecure=insecure)
    meta = IndexMeta.read(cluster.client, index)
    loaded = load_collection(collection, split) if collection else None
    searchers = open_searchers(cluster, index, QueryBundles(bundle, dense_bundle, query_prune, seismic), query_side)
    # Unpruned, since only its tokenizer and vocabulary are asked
    plain = open_searchers(cluster, index, QueryBundles(bundle, dense_bundle))
    encoder = next((one.target.sparse for one in plain.values() if isinstance(one.target.sparse, SparseEncoder)), None)
    reading = Reading(
        index,
        store=meta.passages.store if meta.passages else "",
        sample=sample,
        seed=seed,
        named=sorted({id_ for grades in loaded.qrels.values() for id_ in grades}) if loaded else (),
        names=_names(encoder) if encoder and meta.sparse and meta.sparse.seismic else {},
        words=_words(encoder) if encoder else None,
    )
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        stored = read_vectors(
            cluster.client,
            cluster.capabilities,
            reading,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
        progress.update(task, description="encoding questions", total=None)
        asked = _asked(loaded, searchers, reading.words, stored.numbers) if loaded else None
        progress.update(task, completed=0, total=len(only or SECTIONS))
        vocabulary = encoder.vocabulary.ids.keys() if encoder else None

        def on_section(name: str) -> None:
            progress.update(task, description=name, advance=1)

        sections = inspect_all(stored, asked, vocabulary, seed=seed, only=only, on_section=on_section)
    about = {
        "index": index,
        "documents": stored.total,
        "inspected": stored.sampled,
        "vectors": len(stored.sample().sparse),
        "collection": loaded.name if loaded else None,
        "split": split if loaded else None,
        "questions": len(loaded.queries) if loaded else 0,
        "seed": seed,
    }
    if as_json:
        click.echo(orjson.dumps({**about, "sections": sections_json(sections)}))
        return
    show(printer(), about, sections)


def _names(encoder: SparseEncoder) -> dict[str, str]:
    """The feature of each key of a ``sparse_vector`` field."""
    return {str(token): name for name, token in encoder.vocabulary.ids.items()}


def _words(encoder: SparseEncoder) -> Words:
    """Splits whole texts as the encoder does, however long they are."""
    features, tokenizer = encoder.vocabulary.features, encoder.tokenizer
    prompt = encoder.bundle.manifest.prompt

    def words(texts: list[str]) -> list[list[str]]:
        if prompt and prompt.echo is not None:  # which has no windows: as much as the model reads
            found = tokenizer.encode(texts, special=False)
        else:
            found = [ids for ids, _ in tokenizer.offsets(texts)]
        return [[features[token] for token in ids if token < len(features) and features[token]] for ids in found]

    return lambda texts: words(list(texts))


def _asked(
    collection: Collection, searchers: Mapping[str, Searcher], words: Words | None, numbers: dict[str, int]
) -> Asked:
    texts = list(collection.queries.values())
    sparse = {
        side: numbered([searcher.target.sparse.encode_query(text) for text in texts], numbers)
        for side, searcher in searchers.items()
        if searcher.target.sparse
    }
    dense = next(iter(searchers.values())).target.dense
    return Asked(
        list(collection.queries),
        collection.qrels,
        sparse,
        numbered([dict.fromkeys(one, 1.0) for one in words(texts)], numbers) if words else None,
        np.array([dense.embed_query(text) for text in texts], np.float32) if dense else None,
    )
