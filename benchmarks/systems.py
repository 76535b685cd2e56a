"""The systems that are compared, each in a process of its own, so that its memory is its own.

    python benchmarks/systems.py SYSTEM FOLDER THREADS      (called by encoder.py)

Reads the name of a JSON file of texts from each line of standard input, encodes them, and answers with one line of
JSON: seconds, and the process' peak memory in bytes so far.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

MAX_LENGTH = 256
BATCH = 32  # sentence-transformers' default
Encode = Callable[[Sequence[str]], Any]


def sentence_transformers(file: str | None = None) -> Callable[[Path, int], Encode]:
    """``SparseEncoder`` as its users call it: on torch, or on its own ONNX export."""

    def load(folder: Path, threads: int) -> Encode:
        import torch
        from sentence_transformers import SparseEncoder

        torch.set_num_threads(threads)
        if file is None:
            model = SparseEncoder(str(folder / "checkpoint"), device="cpu")
        else:
            how = {"file_name": file, "provider": "CPUExecutionProvider"}
            model = SparseEncoder(str(folder / "peer-onnx"), device="cpu", backend="onnx", model_kwargs=how)
        model.max_seq_length = MAX_LENGTH
        return lambda texts: model.encode_document(list(texts), batch_size=BATCH)

    return load


def torch_by_the_book(folder: Path, threads: int) -> Encode:
    """Masked LM, ``log1p(relu)``, mask, maximum: what a model card shows. Sorted by length, in batches of 32."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    torch.set_num_threads(threads)
    model = AutoModelForMaskedLM.from_pretrained(folder / "checkpoint").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder / "checkpoint")

    def encode(texts: Sequence[str]) -> list[Any]:
        rows = []
        for batch in _by_length(texts):
            tokens = tokenizer(batch, truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="pt")
            with torch.no_grad():
                weights = torch.log1p(torch.relu(model(**tokens).logits)) * tokens["attention_mask"].unsqueeze(-1)
            rows.append(weights.amax(dim=1).to_sparse())
        return rows

    return encode


def logits_out(folder: Path, threads: int, precision: str = "fp32") -> Encode:
    """Stock ONNX Runtime: optimum's export of the masked LM, logits to the host, numpy for the rest (as fastembed)."""
    import numpy as np
    import onnxruntime
    from transformers import AutoTokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = str(folder / f"logits-{precision}.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    tokenizer = AutoTokenizer.from_pretrained(folder / "checkpoint")
    names = {one.name for one in session.get_inputs()}

    def encode(texts: Sequence[str]) -> list[Any]:
        rows: list[Any] = []
        for batch in _by_length(texts):
            tokens = dict(tokenizer(batch, truncation=True, max_length=MAX_LENGTH, padding=True, return_tensors="np"))
            logits = session.run(None, {name: value for name, value in tokens.items() if name in names})[0]
            weights = np.log1p(np.maximum(logits, 0)) * tokens["attention_mask"][..., None]
            rows += [np.flatnonzero(row) for row in weights.max(axis=1)]
        return rows

    return encode


def logits_out_int8(folder: Path, threads: int) -> Encode:
    """The same after ONNX Runtime's dynamic quantisation."""
    return logits_out(folder, threads, "int8")


def ours(precision: str, *, batch: bool = False) -> Callable[[Path, int], Encode]:
    """This package; with ``batch``, in the peers' batches of 32 texts, for a fair look at memory."""

    def load(folder: Path, threads: int) -> Encode:
        from opensearch_splade.onnx_models import Device, SparseEncoder
        from opensearch_splade.onnx_models.plan import Plan

        device = Device(threads=threads)
        batches = Plan(batches=1, threads=threads, token_budget=BATCH * MAX_LENGTH)
        plan = batches if batch else device.default_plan  # not what this user once tuned
        return SparseEncoder.load(folder / precision, device, plan=plan).encode_documents

    return load


SYSTEMS: dict[str, Callable[[Path, int], Encode]] = {
    "sentence-transformers": sentence_transformers(),
    "sentence-transformers onnx": sentence_transformers("onnx/model.onnx"),
    "sentence-transformers onnx int8": sentence_transformers("onnx/model_qint8_avx512_vnni.onnx"),
    "torch by the book": torch_by_the_book,
    "logits out": logits_out,
    "logits out int8": logits_out_int8,
    "ours fp32": ours("fp32"),
    "ours fp32 tiled": ours("tiled"),
    "ours int8": ours("int8"),
    "ours fp16": ours("fp16"),
    "ours fp32, batch of 32": ours("fp32", batch=True),
    "ours int8, batch of 32": ours("int8", batch=True),
}
PEER = "sentence-transformers"


def _by_length(texts: Sequence[str]) -> list[list[str]]:
    ordered = sorted(texts, key=len, reverse=True)
    return [ordered[start : start + BATCH] for start in range(0, len(ordered), BATCH)]


def peak_memory() -> int:
    """Bytes. Linux's own count begins at exec; ``getrusage`` would include the parent's memory at the fork."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Loads one system and encodes on demand."""
    name, folder, threads = sys.argv[1:]
    encode = SYSTEMS[name](Path(folder), int(threads))
    for line in sys.stdin:
        texts = json.loads(Path(line.strip()).read_text(encoding="utf-8"))
        gc.collect()
        start = time.perf_counter()
        encode(texts)
        seconds = time.perf_counter() - start
        sys.stdout.write(json.dumps({"seconds": seconds, "peak": peak_memory()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
