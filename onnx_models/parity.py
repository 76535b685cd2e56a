"""Parity: is the exported graph the checkpoint? Judged on real text against the torch reference."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import ParityError
from opensearch_splade.onnx_models.batches import pad
from opensearch_splade.onnx_models.bundle import Parity, Precision
from opensearch_splade.onnx_models.checkpoint import Activation, Checkpoint
from opensearch_splade.onnx_models.graph import load_encoder, load_masked_lm

TOLERANCE = 1e-4
"""Largest difference of any weight in fp32; lower precision is judged by direction, and on nDCG@10 by evaluation."""
_MIN_COSINE: dict[Precision, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.97}


def parity_texts() -> list[str]:
    """Real text that is on every machine: topics of Python's language reference, and a few lines in other scripts."""
    from pydoc_data import topics

    english = [re.sub(r"\s+", " ", topics.topics[name])[:1500] for name in sorted(topics.topics)[:24]]
    short = ["", "a", "read a csv file into dictionaries", inspect.getdoc(dict.get) or ""]
    foreign = [
        "Der Zug nach Köln fährt um 8:15 ab.",
        "東京は日本の首都です。",
        "кошка сидит на окне",
        "🦆🦆 quack … ##.",
    ]
    return short + foreign + english


def reference_sparse(
    checkpoint: Checkpoint, activation: Activation, token_ids: Sequence[Sequence[int]]
) -> npt.NDArray[np.float32]:
    """SPLADE by the book, in torch: activation on all logits, mask, then pooling. Shape ``(texts, vocabulary)``."""
    import torch

    def pool(output: Any, mask: Any) -> Any:
        weights = torch.log1p(torch.relu(output.logits))
        if activation == "log1p_log1p":
            weights = torch.log1p(weights)
        weights = weights * mask.unsqueeze(-1)
        return weights.amax(dim=1) if checkpoint.pooling == "max" else weights.sum(dim=1)

    return _run(load_masked_lm(checkpoint), token_ids, pool)


def reference_dense(checkpoint: Checkpoint, token_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    """Mean or first-token pooling, in torch. Shape ``(texts, dimension)``."""
    import torch

    def pool(output: Any, mask: Any) -> Any:
        states = output.last_hidden_state
        weighed = mask.unsqueeze(-1).to(states.dtype)
        pooled = states[:, 0] if checkpoint.pooling == "cls" else (states * weighed).sum(1) / weighed.sum(1)
        return torch.nn.functional.normalize(pooled, dim=-1) if checkpoint.normalize else pooled

    return _run(load_encoder(checkpoint), token_ids, pool)


def compare(
    found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], precision: Precision, name: str
) -> Parity:
    """The parity report.

    Raises:
        ParityError: The graph is not the checkpoint.
    """
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    cosines = np.where(norms > 0, (found * expected).sum(axis=1) / np.maximum(norms, 1e-12), 1.0)
    parity = Parity(
        texts=len(found),
        max_abs_error=round(float(np.nan_to_num(np.abs(found - expected), nan=np.inf).max()), 7),
        min_cosine=round(float(min(cosines.min(), 1.0)), 6),
    )
    within = np.isfinite(found).all() and parity.min_cosine >= _MIN_COSINE[precision]
    if not within or (precision == "fp32" and parity.max_abs_error > TOLERANCE):
        raise ParityError(
            f"The exported graph of {name} ({precision}) is not the checkpoint: largest difference "
            f"{parity.max_abs_error:.2g} (fp32 allows {TOLERANCE:g}), smallest cosine {parity.min_cosine:.4f} "
            f"({precision} needs {_MIN_COSINE[precision]:g}) over {len(found)} texts. Nothing was written."
        )
    return parity


def _run(model: Any, token_ids: Sequence[Sequence[int]], pool: Any) -> npt.NDArray[np.float32]:
    import torch

    rows: list[Any] = []
    with torch.no_grad():
        for tokens in token_ids:  # one by one: the reference knows no padding
            ids, mask = (torch.from_numpy(array) for array in pad([tokens])) if tokens else (None, None)
            rows.append(None if ids is None else pool(model(input_ids=ids, attention_mask=mask), mask).numpy()[0])
    empty = np.zeros_like(next(row for row in rows if row is not None))  # of a text without any token
    return np.stack([empty if row is None else row for row in rows])
