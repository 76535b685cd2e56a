"""Parity: is the exported graph the checkpoint? Judged on real text against the torch reference."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from opensearch_splade.errors import ParityError
from opensearch_splade.onnx_models.batches import pad
from opensearch_splade.onnx_models.bundle import Parity, Precision
from opensearch_splade.onnx_models.checkpoint import Activation, Checkpoint
from opensearch_splade.onnx_models.families import family_of
from opensearch_splade.onnx_models.torch_models import Loaded

TOLERANCE = 1e-4
"""Largest difference of any weight in fp32; lower precision is judged by direction, and on nDCG@10 by evaluation."""
_MIN_COSINE: dict[Precision, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.95}
"""A two-layer model that `osplade adapt` had trained came to .964 in int8 and kept its nDCG@10 on SciFact, cut to 100
terms .650 (fp32: .648); a wrong graph is far below."""


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
    checkpoint: Checkpoint, activation: Activation, token_ids: Sequence[Sequence[int]], special_ids: Sequence[int]
) -> npt.NDArray[np.float32]:
    """Weights by the book, in torch: activation on all scores, mask, then pooling. Shape ``(texts, vocabulary)``.

    NaN where a gate's score lies within rounding of its threshold, so that either answer is right.
    """
    loaded = family_of(checkpoint).load(checkpoint)
    book = _Book(checkpoint, activation, loaded, [] if checkpoint.pools_special else special_ids)
    return _run(loaded, token_ids, {"vocabulary": book.pool, "terms": book.terms, "gated": book.gated}[loaded.output])


def reference_dense(checkpoint: Checkpoint, token_ids: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    """Mean or first-token pooling, in torch. Shape ``(texts, dimension)``."""
    import torch

    def pool(states: Any, _: Any) -> Any:
        pooled = states[:, 0] if checkpoint.pooling == "cls" else states.mean(1)
        return torch.nn.functional.normalize(pooled, dim=-1) if checkpoint.normalize else pooled

    return _run(family_of(checkpoint).load(checkpoint), token_ids, pool)


@dataclass(frozen=True, slots=True)
class _Book:
    """The textbook of each kind of output: scores and ids of one text to weights ``(1, vocabulary)``."""

    checkpoint: Checkpoint
    activation: Activation
    loaded: Loaded
    unpooled_ids: Sequence[int]

    def pool(self, scores: Any, ids: Any) -> Any:
        weights = self._activate(scores) * self._pooled(ids).unsqueeze(-1)
        return weights.amax(dim=1) if self.checkpoint.pooling == "max" else weights.sum(dim=1)

    def terms(self, scores: Any, ids: Any) -> Any:
        import torch

        weights = self._activate(scores[..., 0]) * self._pooled(ids)
        found = torch.zeros(1, self.loaded.vocabulary)
        for token, weight in zip(ids[0].tolist(), weights[0], strict=True):
            found[0, token] = max(found[0, token], weight)
        return found

    def gated(self, scores: Any, ids: Any) -> Any:
        import torch

        gate = self.checkpoint.gate
        importance, openness = scores if gate and gate.expands else (scores, None)
        passes = torch.zeros(1, self.loaded.vocabulary, dtype=torch.bool)
        passes[0, ids[0]] = True
        weights = self.pool(importance, ids)
        if not gate or openness is None:
            return weights * passes
        distance = openness.amax(dim=1) - torch.logit(torch.tensor(gate.threshold))
        undecided = ~passes & (distance.abs() < TOLERANCE)
        return (weights * (passes | (distance > 0))).masked_fill(undecided, float("nan"))

    def _activate(self, scores: Any) -> Any:
        import torch

        weights = torch.nn.functional.softplus(scores) if "softplus" in self.activation else torch.relu(scores)
        for _ in range(self.activation.count("log1p")):
            weights = torch.log1p(weights)
        return weights

    def _pooled(self, ids: Any) -> Any:
        import torch

        return (~torch.isin(ids, torch.tensor(self.unpooled_ids, dtype=ids.dtype))).float()


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


def _run(
    loaded: Loaded, token_ids: Sequence[Sequence[int]], pool: Callable[[Any, Any], Any]
) -> npt.NDArray[np.float32]:
    import torch

    rows: list[Any] = []
    with torch.no_grad():
        for tokens in token_ids:  # one by one: the reference knows no padding
            ids, mask = (torch.from_numpy(array) for array in pad([tokens])) if tokens else (None, None)
            rows.append(None if ids is None else pool(loaded.scores(ids, mask), ids).numpy()[0])
    empty = np.zeros_like(next(row for row in rows if row is not None))  # of a text without any token
    return np.stack([empty if row is None else row for row in rows])
