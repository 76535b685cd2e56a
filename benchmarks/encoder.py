"""Documents per second: our encoder against its peers, in one run.

    make bench                                              # splade-tiny
    python benchmarks/encoder.py --model minilm --model bert-base --documents 64 --json

Same weights, same texts, same cores, 256 tokens. Every system runs in a process of its own; they take turns within each
round and a ratio is taken within its round, so that what else the machine does hits all alike. Printed are medians over
the rounds and the spread of the ratio, which is the noise of this benchmark. MFU is the share of the matrix product's
peak (2,048 cubed, in float32 or int8, measured in the same run) that the model's operations amount to, padding not
counted. Texts and splade-tiny's weights: ../shared beside the checkout, or OPENSEARCH_SPLADE_SHARED.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from corpora import SHARED, texts_of
from quality import ndcg
from rich.console import Console
from rich.table import Table
from shapes import SHAPES, checkpoint
from systems import MAX_LENGTH, PEER, SYSTEMS

from opensearch_splade.onnx_models import SparseEncoder
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.onnx_models.plan import processor, usable_cores

BUNDLES = {
    "fp32": ExportOptions(precision="fp32", max_length=MAX_LENGTH, activation="log1p"),
    "tiled": ExportOptions(precision="fp32", max_length=MAX_LENGTH, activation="log1p", head="tiled"),
    "int8": ExportOptions(precision="int8", max_length=MAX_LENGTH, activation="log1p"),
    "fp16": ExportOptions(precision="fp16", max_length=MAX_LENGTH, activation="log1p"),
}


@click.command()
@click.option("--model", "models", multiple=True, type=click.Choice(list(SHAPES)), default=["splade-tiny"])
@click.option("--corpus", type=click.Choice(["scifact", "debian"]), default="scifact", show_default=True)
@click.option("--system", "systems", multiple=True, type=click.Choice(list(SYSTEMS)), help="[default: all]")
@click.option("--documents", default=200, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--quality", is_flag=True, help="Also nDCG@10 on SciFact's test split, fp32 and int8.")
@click.option("--json", "as_json", is_flag=True)
def main(
    models: Sequence[str],
    corpus: str,
    systems: Sequence[str],
    documents: int,
    rounds: int,
    *,
    quality: bool,
    as_json: bool,
) -> None:
    """Runs all systems in turn and prints documents per second, ratios, memory and MFU."""
    texts = texts_of(corpus, documents)
    found: dict[str, Any] = {
        "machine": f"{processor()}, {usable_cores()} cores",
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("onnxruntime", "torch", "sentence-transformers", "transformers")},
        "texts": f"{len(texts)} of {corpus}, {MAX_LENGTH} tokens",
        "peak_gflops": {precision: round(_peak(precision) / 1e9) for precision in ("fp32", "int8")},
        "rounds": rounds,
        "models": {},
    }
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            row = _compare(model, Path(folder), texts, [PEER, *(systems or SYSTEMS)], rounds, found["peak_gflops"])
            if quality and model == "splade-tiny":
                row["ndcg@10"] = {name: ndcg(SHARED / "data" / "scifact", Path(folder) / name) for name in BUNDLES}
        found["models"][model] = row
        if not as_json:
            _print(found, model)
    if as_json:
        click.echo(json.dumps(found))


def _compare(
    model: str, folder: Path, texts: list[str], systems: Sequence[str], rounds: int, peaks: dict[str, int]
) -> dict[str, Any]:
    # In a process of its own: what exporting takes must not be missing when the systems run.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as exporting:
        weights = exporting.submit(_export, model, folder, texts, systems).result()
    encoder = SparseEncoder.load(folder / "int8")
    tokens = [len(ids) for ids in encoder.tokenizer.encode(texts)]
    active = statistics.mean(len(ids) for ids, _ in encoder.stream(texts[:50]))
    runs = _rounds(folder, texts, list(dict.fromkeys(systems)), rounds)
    flops = sum(SHAPES[model].flops(count) for count in tokens)
    return {
        "weights": weights,
        "tokens_per_document": round(statistics.mean(tokens)),
        "active_features": round(active),
        "systems": [_row(name, runs, len(texts), sum(tokens), flops, peaks) for name in runs],
    }


def _export(model: str, folder: Path, texts: list[str], systems: Sequence[str]) -> str:
    """Everything that the systems load; gives what the weights are."""
    weights = checkpoint(model, folder / "checkpoint", texts)
    for name, options in BUNDLES.items():
        export_bundle(str(folder / "checkpoint"), folder / name, options)
    if any("logits out" in system for system in systems):
        _export_logits(folder)
    if any("transformers onnx" in system for system in systems):
        _export_peer(folder)
    return weights


def _rounds(folder: Path, texts: list[str], systems: list[str], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Seconds and peak memory of every system in every round."""
    short, whole = folder / "short.json", folder / "texts.json"
    short.write_text(json.dumps(texts[:16]), encoding="utf-8")
    whole.write_text(json.dumps(texts), encoding="utf-8")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(_worker(name, folder)) for name in systems}
        for worker in workers.values():
            _ask(worker, short)
        for _ in range(rounds):
            for name, worker in workers.items():
                runs[name].append(_ask(worker, whole))
    return runs


@contextlib.contextmanager
def _worker(name: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("systems.py")), name, str(folder), str(usable_cores())]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "true", "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        yield process
        process.stdin.close()  # type: ignore[union-attr]


def _ask(worker: subprocess.Popen[str], texts: Path) -> dict[str, float]:
    worker.stdin.write(f"{texts}\n")  # type: ignore[union-attr]
    worker.stdin.flush()  # type: ignore[union-attr]
    answer = worker.stdout.readline()  # type: ignore[union-attr]
    if not answer:
        raise click.ClickException(f"{' '.join(map(str, worker.args[1:3]))} stopped; run it by hand to see why.")  # type: ignore[index]
    found: dict[str, float] = json.loads(answer)
    return found


def _row(
    name: str, runs: dict[str, list[dict[str, float]]], documents: int, tokens: int, flops: int, peaks: dict[str, int]
) -> dict[str, Any]:
    seconds = [run["seconds"] for run in runs[name]]
    ratios = [theirs["seconds"] / ours for ours, theirs in zip(seconds, runs[PEER], strict=True)]
    median = statistics.median(seconds)
    return {
        "system": name,
        "documents_per_second": round(documents / median, 1),
        "tokens_per_second": round(tokens / median),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "mfu": round(flops / median / 1e9 / peaks["int8" if "int8" in name else "fp32"], 3),
        "peak_mib": round(max(run["peak"] for run in runs[name]) / 2**20),
    }


def _peak(precision: str) -> float:
    """Operations per second of a square matrix product in ONNX Runtime on all cores, the best of some runs."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    size = 2048
    int8 = precision == "int8"
    kinds = (TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32) if int8 else (TensorProto.FLOAT,) * 3
    first, second, out = (
        helper.make_tensor_value_info(name, kind, [size, size]) for name, kind in zip("abc", kinds, strict=True)
    )
    node = helper.make_node("MatMulInteger" if int8 else "MatMul", ["a", "b"], ["c"])
    model = helper.make_model(
        helper.make_graph([node], "peak", [first, second], [out]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    left = random.integers(0, 255, (size, size)).astype(np.uint8 if int8 else np.float32)
    right = random.integers(-127, 127, (size, size)).astype(np.int8 if int8 else np.float32)
    times = []
    for _ in range(12):
        start = time.perf_counter()
        session.run(None, {"a": left, "b": right})
        times.append(time.perf_counter() - start)
    return 2 * size**3 / min(times)


def _export_logits(folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from optimum.exporters.onnx import main_export

    main_export(str(folder / "checkpoint"), folder / "stock", task="fill-mask", opset=17, do_validation=False)
    (folder / "stock" / "model.onnx").rename(folder / "logits-fp32.onnx")
    quantize_dynamic(folder / "logits-fp32.onnx", folder / "logits-int8.onnx", weight_type=QuantType.QInt8)


def _export_peer(folder: Path) -> None:
    """As the peer's own page on speeding up inference says."""
    from sentence_transformers import SparseEncoder, export_dynamic_quantized_onnx_model

    out = str(folder / "peer-onnx")
    model = SparseEncoder(str(folder / "checkpoint"), device="cpu", backend="onnx")
    model.save_pretrained(out)
    export_dynamic_quantized_onnx_model(model, "avx512_vnni", out)


def _print(found: dict[str, Any], model: str) -> None:
    console = Console(width=130)
    row = found["models"][model]
    console.print(
        f"{model}: {row['weights']}; {row['active_features']} active features, {row['tokens_per_document']} tokens a "
        f"document; {found['texts']}; {found['machine']}; peak {found['peak_gflops']} GFLOP/s; {found['versions']}",
        highlight=False,
    )
    table = Table("system", "documents/s", "tokens/s", "ratio", "over the rounds", "MFU", "peak MiB")
    for one in row["systems"]:
        low, high = one["ratio_range"]
        table.add_row(
            one["system"],
            f"{one['documents_per_second']:.1f}",
            f"{one['tokens_per_second']:,}",
            f"{one['ratio']:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{one['mfu']:.0%}",
            f"{one['peak_mib']:,}",
        )
    console.print(table)
    for name, value in row.get("ndcg@10", {}).items():
        console.print(f"nDCG@10 on SciFact's test split, {name}: {value:.4f}")


if __name__ == "__main__":
    main()
