"""Microseconds per question: our query encoders against sentence-transformers' ``encode_query``, in one run.

    python benchmarks/queries.py
    python benchmarks/queries.py --questions 300 --rounds 5 --json

One question at a time, as a search does it. The systems take turns within each round and a ratio is taken within its
round; printed are the median and the 99th percentile over all questions and rounds, and the spread of the ratio. The
first pass meets most words for the first time and stands apart. Ours gives features by name, the peer a sparse tensor.
"search" is the whole of ``Searcher.search`` with the cluster taken out: encoding, building, and reading ten hits.

Weights: the shipped bundles, and ../shared/models/splade-tiny for what needs the checkpoint (left out where it is
missing, like the peer without the [export] extra). Questions: SciFact's test questions if they lie there, else those of
the shipped collection python-docs.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from opensearch_splade.evaluation.collection import load_collection
from opensearch_splade.index_meta import IndexMeta, SparseMeta
from opensearch_splade.onnx_models import Bundle, Device, SparseEncoder
from opensearch_splade.onnx_models.bundle import QUERY_WEIGHTS
from opensearch_splade.onnx_models.plan import processor
from opensearch_splade.onnx_models.query_weights import read_table
from opensearch_splade.query import Searcher
from opensearch_splade.types import Capabilities

SHARED = Path(os.environ.get("OPENSEARCH_SPLADE_SHARED", Path(__file__).parents[2] / "shared"))
CHECKPOINT = SHARED / "models" / "splade-tiny"
PEER = "sentence-transformers"
Ask = Callable[[str], Any]


@click.command()
@click.option("--questions", default=300, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(questions: int, rounds: int, *, as_json: bool) -> None:
    """Runs all systems in turn and prints microseconds per question and ratios."""
    texts, collection = _questions(questions)
    with tempfile.TemporaryDirectory() as folder:
        systems = _look_ups(Path(folder)) | _models(Path(folder))
        for ask in systems.values():
            ask("a")
        first = {name: _times(ask, texts) for name, ask in systems.items()}
        times: dict[str, list[list[float]]] = {name: [] for name in systems}
        for _ in range(rounds):
            for name, ask in systems.items():
                gc.collect()
                times[name].append(_times(ask, texts))
    packages = ["onnxruntime", "tokenizers", *(["torch", PEER] if _has_peer() else [])]
    found = {
        "machine": f"{processor()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "versions": {name: version(name) for name in packages},
        "questions": f"{len(texts)} of {collection}",
        "rounds": rounds,
        "systems": [_row(name, times, first[name]) for name in systems],
    }
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)


def _look_ups(work: Path) -> dict[str, Ask]:
    """Inference-free: a tokenizer and a table, the same one on both sides."""
    systems: dict[str, Ask] = {}
    if _has_peer():
        systems[f"look-up {PEER}"] = _static_peer(work)
    encoder = SparseEncoder.load("splade-tiny-idf")
    systems["look-up ours"] = encoder.encode_query
    searcher = _searcher(encoder)
    for mode in ("bm25", "neural-sparse", "bm25+neural-sparse"):
        systems[f"search {mode}, server taken out"] = partial(searcher.search, mode=mode)
    return systems


class _Canned:
    """A client whose answers are there already: ten hits with a text of some length."""

    def __init__(self, fingerprint: str) -> None:
        self.indices = self
        self._meta = IndexMeta(SparseMeta(fingerprint, "splade-tiny", "inference-free")).to_json()
        source = {"id": "1", "text": "a text of some words " * 60, "encoded": [fingerprint], "metadata": {"lang": "en"}}
        hits = [
            {"_index": "i", "_id": str(key), "_score": 1.0, "_source": source | {"id": str(key)}} for key in range(10)
        ]
        self._documents = {"docs": [{**hit, "found": True} for hit in hits]}
        shards = {"total": 1, "failed": 0}
        self._answer = {"took": 1, "timed_out": False, "_shards": shards, "hits": {"hits": hits}}

    def get_mapping(self, *, index: str) -> Any:
        return {index: {"mappings": {"_meta": self._meta}}}

    def search(self, **_: Any) -> Any:
        return self._answer

    def mget(self, **_: Any) -> Any:
        return self._documents


def _searcher(encoder: SparseEncoder) -> Searcher:
    plugins = frozenset({"opensearch-neural-search", "opensearch-knn", "mapper-extras"})
    client: Any = _Canned(encoder.fingerprint)
    return Searcher(client, "i", capabilities=Capabilities((3, 6, 0), plugins), sparse=encoder)


def _models(work: Path) -> dict[str, Ask]:
    """Siamese: the same weights on both sides; int8 with one thread too, since a short text may not be worth two."""
    systems: dict[str, Ask] = {}
    if _has_peer() and CHECKPOINT.is_dir():
        from sentence_transformers import SparseEncoder as Peer

        from opensearch_splade.onnx_models.export import ExportOptions, export_bundle

        peer = Peer(str(CHECKPOINT), device="cpu")
        peer.max_seq_length = 256
        export_bundle(str(CHECKPOINT), work / "fp32", ExportOptions(max_length=256, activation="log1p"))
        systems[f"siamese {PEER} fp32"] = lambda text: peer.encode_query(text, show_progress_bar=False)
        systems["siamese ours fp32"] = SparseEncoder.load(work / "fp32").encode_query
    systems["siamese ours int8"] = SparseEncoder.load("splade-tiny").encode_query
    one = SparseEncoder.load("splade-tiny", Device(threads=1))
    systems["siamese ours int8, 1 thread"] = one.encode_query
    return systems


def _static_peer(work: Path) -> Ask:
    from sentence_transformers import SparseEncoder as Peer
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding
    from transformers import BertTokenizerFast

    bundle = Bundle.open("splade-tiny-idf")
    table = {
        feature.replace("<dot>", "."): weight for feature, weight in read_table(bundle.folder / QUERY_WEIGHTS).items()
    }
    (work / "idf.json").write_text(json.dumps(table), encoding="utf-8")
    tokenizer = BertTokenizerFast(tokenizer_file=str(bundle.tokenizer), model_max_length=256)
    static = SparseStaticEmbedding.from_json(str(work / "idf.json"), tokenizer=tokenizer)
    # The document route is never asked.
    peer = Peer(modules=[Router.for_query_document(query_modules=[static], document_modules=[static])], device="cpu")
    return lambda text: peer.encode_query(text, show_progress_bar=False)


def _questions(count: int) -> tuple[list[str], str]:
    scifact = SHARED / "data" / "scifact"
    loaded = load_collection(str(scifact) if scifact.is_dir() else "python-docs")
    return list(islice(loaded.queries.values(), count)), loaded.name


def _times(ask: Ask, texts: Sequence[str]) -> list[float]:
    """Microseconds of each question."""
    times = []
    for text in texts:
        start = time.perf_counter_ns()
        ask(text)
        times.append((time.perf_counter_ns() - start) / 1000)
    return times


def _row(name: str, times: dict[str, list[list[float]]], first: list[float]) -> dict[str, Any]:
    every = sorted(one for round_ in times[name] for one in round_)
    row: dict[str, Any] = {
        "system": name,
        "median_us": round(statistics.median(every), 1),
        "p99_us": round(every[math.ceil(0.99 * len(every)) - 1], 1),
        "first_pass_median_us": round(statistics.median(first), 1),
    }
    peers = [other for other in times if PEER in other and other.split(maxsplit=1)[0] == name.split(maxsplit=1)[0]]
    if peers:
        rounds = zip(times[peers[0]], times[name], strict=True)
        ratios = [statistics.median(theirs) / statistics.median(ours) for theirs, ours in rounds]
        row |= {"ratio": round(statistics.median(ratios), 2), "ratio_range": [round(f(ratios), 2) for f in (min, max)]}
    return row


def _print(found: dict[str, Any]) -> None:
    console = Console()
    console.print(f"{found['machine']}; {found['questions']}; {found['versions']}", highlight=False)
    table = Table("system", "median", "p99", "first pass", "ratio", "over the rounds", title="microseconds a question")
    for row in found["systems"]:
        low, high = row.get("ratio_range", (math.nan, math.nan))
        cells = [f"{row[key]:,.1f}" for key in ("median_us", "p99_us", "first_pass_median_us")]
        table.add_row(row["system"], *cells, f"{row.get('ratio', math.nan):.2f}", f"{low:.2f} to {high:.2f}")
    console.print(table)


def _has_peer() -> bool:
    return all(importlib.util.find_spec(name) for name in ("sentence_transformers", "optimum"))


if __name__ == "__main__":
    main()
