"""The host's side alone: tokenise, batch, post-process, codec, with a model that does nothing.

    python benchmarks/host.py
    python benchmarks/host.py --corpus debian --rounds 7 --json

The measure is the bare tokenizer: Hugging Face's ``encode_batch_fast`` on all cores, in the same rounds. The stand-in
for the graph answers each batch at once with a ready-made sparse output of 120 features a document, as a device of
infinite speed would; everything else is `SparseEncoder.stream` and the codec, up to weights ready for the bulk request.
Batches are as large as on a GPU (where the host could be the limit) and as on a CPU (where the model takes a hundred
times longer); the word cache is cold (a run begins without a word) or warm (as after the first thousands of documents).
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np
from corpora import texts_of
from rich.console import Console
from rich.table import Table

from opensearch_splade.ingest.codec import encode_weights
from opensearch_splade.onnx_models import Device, SparseEncoder
from opensearch_splade.onnx_models.plan import default_plan, processor, usable_cores
from opensearch_splade.onnx_models.sparse_rows import stack

FEATURES = 120  # of a SPLADE document (arXiv 2404.18812, table 1: 119)
GPU, CPU = (default_plan(kind, 1).token_budget for kind in ("cuda", "cpu"))
BLOCK = 256  # documents to a codec call, as ingest does


class NoModel:
    """Answers at once, with the shapes of a real graph."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self._ids = np.argsort(random.random((64, 30_522)), axis=1)[:, :512].astype(np.int32)
        self._weights = -np.sort(-random.random((64, 512)).astype(np.float32), axis=1)

    def run(self, _: list[str], feeds: dict[str, Any]) -> list[Any]:
        """Outputs ``token_ids``, ``token_weights`` and ``count``."""
        batch = len(feeds["input_ids"])
        places = np.arange(batch) % 64
        return [self._ids[places], self._weights[places], np.full(batch, FEATURES, np.int32)]


def bare_tokenizer(encoder: SparseEncoder) -> Callable[[Sequence[str]], object]:
    """Hugging Face's own, as fast as it gets."""
    import tokenizers

    tokenizer = tokenizers.Tokenizer.from_file(str(encoder.bundle.tokenizer))
    tokenizer.no_padding()
    tokenizer.enable_truncation(encoder.bundle.manifest.max_length)
    return lambda texts: tokenizer.encode_batch_fast(list(texts))


def host_side(budget: int, *, warm: bool) -> Callable[[Sequence[str]], object]:
    """Texts to weights as they are stored; ``warm`` keeps the word cache between runs, as within a long ingest."""
    device = Device()
    plan = device.default_plan.model_copy(update={"token_budget": budget})
    kept = SparseEncoder.load("splade-tiny", device, plan=plan)

    def run(texts: Sequence[str]) -> int:
        fresh = kept if warm else SparseEncoder.load("splade-tiny", device, plan=plan)
        fresh._session._session = NoModel()
        rows, stored = [], 0
        for row in fresh.stream(texts):
            rows.append(row)
            if len(rows) == BLOCK:
                stored += len(encode_weights(stack(rows)).weights)
                rows = []
        return stored + len(encode_weights(stack(rows)).weights)

    return run


@click.command()
@click.option("--corpus", type=click.Choice(["scifact", "debian"]), default="scifact", show_default=True)
@click.option("--documents", default=5000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(corpus: str, documents: int, rounds: int, *, as_json: bool) -> None:
    """Runs all in turn and prints documents per second and ratios."""
    texts = texts_of(corpus, documents)
    encoder = SparseEncoder.load("splade-tiny")
    systems = {
        "bare tokenizer": bare_tokenizer(encoder),
        "a GPU's batches, cold": host_side(GPU, warm=False),
        "a GPU's batches, warm": host_side(GPU, warm=True),
        "a CPU's batches, cold": host_side(CPU, warm=False),
        "a CPU's batches, warm": host_side(CPU, warm=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in systems}
    for encode in systems.values():
        encode(texts)
    for _ in range(rounds):
        for name, encode in systems.items():
            start = time.perf_counter()
            encode(texts)
            rates[name].append(len(texts) / (time.perf_counter() - start))
    rows = []
    for name, found in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(found, rates["bare tokenizer"], strict=True)]
        rows.append((name, statistics.median(found), statistics.median(ratios), min(ratios), max(ratios)))
    if as_json:
        names = ("system", "documents_per_second", "ratio", "lowest", "highest")
        click.echo(json.dumps({"corpus": corpus, "systems": [dict(zip(names, row, strict=True)) for row in rows]}))
        return
    console = Console()
    console.print(f"{len(texts)} of {corpus}; {processor()}, {usable_cores()} cores", highlight=False)
    table = Table("", "documents/s", "ratio", "over the rounds")
    for name, rate, ratio, low, high in rows:
        table.add_row(name, f"{rate:,.0f}", f"{ratio:.2f}", f"{low:.2f} to {high:.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
