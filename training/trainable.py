"""Trainable encoder: a checkpoint as a sparse document encoder in torch, with gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from opensearch_splade.onnx_models.checkpoint import Activation
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.export import activation_of
from opensearch_splade.onnx_models.opening import open_checkpoint
from opensearch_splade.onnx_models.sparse_rows import SparseRow, stack
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.vocabulary import Vocabulary
from opensearch_splade.training.activations import activate
from opensearch_splade.training.bodies import load_body
from opensearch_splade.training.checkpoint_files import save_checkpoint
from opensearch_splade.training.lora import with_adapters
from opensearch_splade.training.max_scores import max_scores
from opensearch_splade.training.recipe import TrainingPrecision
from opensearch_splade.training.scalar_head import scalar_weights
from opensearch_splade.training.sum_scores import sum_scores
from opensearch_splade.training.torch_device import torch_device
from opensearch_splade.types import SparseVectors

_CPU = Device()
_ALIKE = 8
"""Texts that are padded to one length: a batch is sorted and cut, or most of it would be padding of its longest one."""


class TrainableEncoder:
    """Texts to the weights of all terms, with gradients.

    Dropout is off: training is short and distilled, and the same step gives the same weights.

    Args:
        checkpoint: A folder or hub id of a family that ``bodies`` knows.
        max_length: Tokens a text is truncated to, special tokens included.
        activation: For checkpoints that do not state theirs; ``log1p`` by default, as with the exporter.
        lora: Rank of adapters that are trained in place of the weights.
        seed: Of the adapters.
        device: Where it is trained.
        precision: ``bf16`` multiplies in bfloat16.

    Attributes:
        longest: Tokens that the checkpoint takes at most; ``None`` where it does not say.
        length: Tokens that are read of a text at most.
        device: The same as torch calls it.
        tokenizer: The checkpoint's, truncating.
        vocabulary: Features by token id, as the bundle will have them.

    Raises:
        CheckpointError: It is of another family, or states another activation.
        MissingExtraError: torch is not installed.
    """

    def __init__(
        self,
        checkpoint: str,
        max_length: int,
        *,
        activation: Activation | None = None,
        lora: int | None = None,
        seed: int = 0,
        device: Device = _CPU,
        precision: TrainingPrecision = "fp32",
    ) -> None:
        self._checkpoint = open_checkpoint(checkpoint)
        body = load_body(self._checkpoint)
        self._body = body if lora is None else with_adapters(body, lora, seed)
        import torch

        self.device = torch_device(device)
        self._body.move(self.device)
        self._half = precision == "bf16"
        self._autocast = partial(torch.autocast, self.device.type, torch.bfloat16, enabled=self._half)
        self.longest = self._checkpoint.max_length
        self.length = min(max_length, self.longest or max_length)
        self.tokenizer = Tokenizer(
            self._checkpoint.tokenizer_folder / "tokenizer.json", self.length, self._checkpoint.prompt
        )
        width = self._body.vocabulary
        self.vocabulary = Vocabulary(self.tokenizer.vocabulary, width, self.tokenizer.special)
        self._kept = torch.ones(width, device=self.device)
        self._kept[self.vocabulary.dropped_ids] = 0
        self._special = torch.tensor(self.tokenizer.special_ids, device=self.device)
        self._activate = partial(
            activate, activation=activation_of(self._checkpoint, activation), softcap=self._body.softcap
        )

    def parameters(self) -> dict[str, Any]:
        """Trainable tensors by name; a tied projection comes once."""
        return dict(self._body.parameters)

    def load(self, tensors: Mapping[str, Any]) -> None:
        """Puts weights of ``parameters`` back in their places."""
        import torch

        with torch.no_grad():
            for name, value in self.parameters().items():
                value.copy_(tensors[name])

    def __call__(self, token_ids: Sequence[Sequence[int]], columns: Any = None) -> Any:
        """Weights, shape ``(texts, vocabulary)``, or ``(texts, columns)``.

        Args:
            token_ids: Of each text, special tokens included.
            columns: Ids of vocabulary columns, one-dimensional int64: only these are computed, in this order.
        """
        import torch

        head = self._head(columns)
        order = sorted(range(len(token_ids)), key=lambda place: len(token_ids[place]))
        alike = [order[start : start + _ALIKE] for start in range(0, len(order), _ALIKE)]
        weights = torch.cat([self._weights([token_ids[one] for one in places], head, columns) for places in alike])
        return weights[torch.tensor(order, device=self.device).argsort()]

    def _weights(self, token_ids: Sequence[Sequence[int]], head: tuple[Any, Any, Any], columns: Any) -> Any:
        """Of texts that are padded to the longest of them."""
        ids, mask = (one.to(self.device) for one in padded(token_ids))
        with self._autocast():
            states = self._body.states(ids, mask)
        states = states.to(self._body.weight.dtype)
        counts = self._counted(ids, mask)
        if self._body.scalar:
            return self._scalar(states, counts, ids, columns)
        return self._pooled(states, counts, *head)

    def _head(self, columns: Any) -> tuple[Any, Any, Any]:
        """Weight and bias of the columns, and which of them are kept."""
        whole = (self._body.weight, self._body.bias, self._kept)
        if columns is None or self._body.scalar:
            return whole
        weight, bias, kept = (one if one is None else one[columns] for one in whole)
        return weight, bias, kept

    def _scalar(self, states: Any, counts: Any, ids: Any, columns: Any) -> Any:
        """States to the weights of the texts' own tokens."""
        scores = (states @ self._body.weight.T + self._body.bias).squeeze(2)
        weights = scalar_weights(scores, counts, ids, self._activate, self._body.vocabulary) * self._kept
        return weights if columns is None else weights[:, columns]

    def _pooled(self, states: Any, counts: Any, weight: Any, bias: Any, kept: Any) -> Any:
        """States ``(batch, length, hidden)`` of positions, some of which count, to weights."""
        import torch

        if self._checkpoint.pooling == "sum":
            bias = torch.zeros_like(kept) if bias is None else bias
            return sum_scores(states, counts, weight, bias, self._activate) * kept
        anything = counts.any(1)
        counts = counts.clone()
        counts[:, 0] |= ~anything  # a maximum needs a position, even where it is then dropped
        scores = max_scores(states, counts, weight, half=self._half)
        weights = self._activate(scores if bias is None else scores + bias)
        return weights * kept * anything[:, None]

    def _counted(self, ids: Any, mask: Any) -> Any:
        """True where a position takes part in pooling."""
        import torch

        return mask.bool() if self._checkpoint.pools_special else mask.bool() & ~torch.isin(ids, self._special)

    def encode(self, texts: Sequence[str], batch: int = 32, *, query: bool = False) -> SparseVectors:
        """Vectors of documents or questions, without gradients, in the order given."""
        import torch

        token_ids = self.tokenizer.encode(texts, query=query)
        order = sorted(range(len(texts)), key=lambda place: len(token_ids[place]))
        rows: list[SparseRow] = [(np.empty(0, np.int32), np.empty(0, np.float32))] * len(texts)
        with torch.no_grad():
            for start in range(0, len(order), batch):
                places = order[start : start + batch]
                for place, weights in zip(places, self([token_ids[one] for one in places]).cpu(), strict=True):
                    terms = weights.nonzero(as_tuple=True)[0]
                    rows[place] = (terms.numpy().astype(np.int32), weights[terms].numpy())
        return stack(rows)

    def save(self, folder: Path) -> None:
        """A checkpoint folder of the layout it came from, with the weights as they are now."""
        save_checkpoint(self._checkpoint, folder, self._body.write)


def padded(token_ids: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    """Token ids and mask of texts, each of shape ``(texts, longest)``."""
    import torch

    longest = max(1, *map(len, token_ids))  # a text may be empty
    ids = torch.zeros(len(token_ids), longest, dtype=torch.int64)
    mask = torch.zeros(len(token_ids), longest, dtype=torch.int64)
    for row, one in enumerate(token_ids):
        ids[row, : len(one)] = torch.tensor(one)
        mask[row, : len(one)] = 1
    return ids, mask
