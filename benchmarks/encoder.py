"""Documents per second: our encoder against sentence-transformers' SparseEncoder, in one run.

    make bench
    python benchmarks/encoder.py --documents 400 --rounds 5 --json

Same weights, same texts, same cores, 256 tokens. The systems take turns within each round and a ratio is taken within
its round, so that what else the machine does hits all alike; printed are medians over the rounds and the spread of the
ratio. Weights: ../shared/models/splade-tiny if it lies beside the checkout, else random weights of the same shape (the
speed does not depend on them). Texts: SciFact's abstracts if they lie there, else Python's documentation.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.types import Document

SHARED = Path(os.environ.get("OPENSEARCH_SPLADE_SHARED", Path(__file__).parents[2] / "shared"))
MAX_LENGTH = 256
PEER = "sentence-transformers fp32"


@click.command()
@click.option("--documents", default=200, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(documents: int, rounds: int, *, as_json: bool) -> None:
    """Runs all systems in turn and prints documents per second and ratios."""
    texts, corpus = _texts(documents)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint, weights = _checkpoint(Path(folder))
        systems = _systems(checkpoint, Path(folder))
        rates: dict[str, list[float]] = {name: [] for name in systems}
        for encode in systems.values():
            encode(texts[:16])
        for _ in range(rounds):
            for name, encode in systems.items():
                gc.collect()
                start = time.perf_counter()
                encode(texts)
                rates[name].append(len(texts) / (time.perf_counter() - start))
    found = {
        "machine": f"{_processor()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("onnxruntime", "torch", "sentence-transformers")},
        "weights": weights,
        "texts": f"{len(texts)} of {corpus}, {MAX_LENGTH} tokens",
        "rounds": rounds,
        "systems": [_row(name, rates) for name in rates],
    }
    if as_json:
        click.echo(json.dumps(found))
    else:
        _print(found)


def _systems(checkpoint: Path, work: Path) -> dict[str, Callable[[Sequence[str]], Any]]:
    from sentence_transformers import SparseEncoder as Peer

    peer = Peer(str(checkpoint), device="cpu")
    peer.max_seq_length = MAX_LENGTH
    systems: dict[str, Callable[[Sequence[str]], Any]] = {PEER: lambda texts: peer.encode_document(list(texts))}
    for precision in ("fp32", "int8"):
        options = ExportOptions(precision=precision, max_length=MAX_LENGTH, activation="log1p")
        export_bundle(str(checkpoint), work / precision, options)
        systems[f"opensearch-splade {precision}"] = SparseEncoder.load(work / precision).encode_documents
    return systems


def _checkpoint(work: Path) -> tuple[Path, str]:
    real = SHARED / "models" / "splade-tiny"
    if real.is_dir():
        return real, "splade-tiny (4.4 M parameters)"
    import shutil

    import torch
    from transformers import BertConfig, BertForMaskedLM

    from opensearch_splade.onnx_models import Bundle

    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=2, intermediate_size=512, vocab_size=30522
    )
    folder = work / "random"
    BertForMaskedLM(config).save_pretrained(folder)
    shutil.copy(Bundle.open("splade-tiny").tokenizer, folder)
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "model_max_length": 512}'
    )
    return folder, "random weights of splade-tiny's shape (../shared/models/splade-tiny is missing)"


def _texts(count: int) -> tuple[list[str], str]:
    scifact = SHARED / "data" / "scifact"
    source, name = (str(scifact), "SciFact") if scifact.is_dir() else ("pydoc:", "Python's documentation")
    documents = (record for record in read_source(source) if isinstance(record, Document))
    return [document.passage for document in islice(documents, count)], name


def _row(name: str, rates: dict[str, list[float]]) -> dict[str, Any]:
    ratios = [ours / theirs for ours, theirs in zip(rates[name], rates[PEER], strict=True)]
    return {
        "system": name,
        "documents_per_second": round(statistics.median(rates[name]), 1),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
    }


def _print(found: dict[str, Any]) -> None:
    console = Console()
    console.print(f"{found['machine']}; {found['weights']}; {found['texts']}; {found['versions']}", highlight=False)
    table = Table("system", "documents/s", "ratio", "over the rounds")
    for row in found["systems"]:
        low, high = row["ratio_range"]
        rate, ratio = f"{row['documents_per_second']:.1f}", f"{row['ratio']:.2f}"
        table.add_row(row["system"], rate, ratio, f"{low:.2f} to {high:.2f}")
    console.print(table)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return models[0] if models else platform.processor()


if __name__ == "__main__":
    main()
