"""Trainable encoder: a masked language model as a SPLADE document encoder in torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.checkpoint import Checkpoint
from opensearch_splade.onnx_models.opening import open_checkpoint
from opensearch_splade.onnx_models.sparse_rows import SparseRow, stack
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.torch_loading import load_pretrained
from opensearch_splade.onnx_models.vocabulary import Vocabulary
from opensearch_splade.training.max_scores import max_scores
from opensearch_splade.types import SparseVectors

ACTIVATIONS = ("log1p", "log1p_log1p")
"""``log(1 + relu(x))`` (SPLADE v2) and ``log(1 + log(1 + relu(x)))`` (arXiv 2504.14839)."""


class TrainableEncoder:
    """Texts to the weights of all terms, with gradients.

    Dropout is off: training is short and distilled, and the same step gives the same weights.

    Args:
        checkpoint: A folder or hub id of the family ``masked-lm`` with max pooling.
        max_length: Tokens a text is truncated to, special tokens included.

    Attributes:
        tokenizer: The checkpoint's, truncating.
        vocabulary: Features by token id, as the bundle will have them.

    Raises:
        CheckpointError: It is of another family, pooling or activation.
        MissingExtraError: torch is not installed.
    """

    def __init__(self, checkpoint: str, max_length: int) -> None:
        self._checkpoint = _fit(open_checkpoint(checkpoint))
        self._model = load_pretrained("AutoModelForMaskedLM", self._checkpoint, self._checkpoint.transformer)
        import torch

        self._decoder = self._model.get_output_embeddings()
        self._name = next(name for name, module in self._model.named_modules() if module is self._decoder)
        # Without its projection the model gives the states that go into it.
        self._model.set_submodule(self._name, torch.nn.Identity())
        limit = min(max_length, self._checkpoint.max_length or max_length)
        self.tokenizer = Tokenizer(self._checkpoint.tokenizer_folder / "tokenizer.json", limit, self._checkpoint.prompt)
        width = len(self._decoder.weight)
        self.vocabulary = Vocabulary(self.tokenizer.vocabulary, width, self.tokenizer.special)
        self._kept = torch.ones(width)
        self._kept[self.vocabulary.dropped_ids] = 0
        self._special = torch.tensor(self.tokenizer.special_ids)

    def parameters(self) -> dict[str, Any]:
        """Trainable tensors by name; a tied projection comes once."""
        own = dict(self._model.named_parameters())
        known = {id(value) for value in own.values()}
        head = {f"projection.{name}": value for name, value in self._decoder.named_parameters()}
        return own | {name: value for name, value in head.items() if id(value) not in known}

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

        ids, mask = _padded(token_ids)
        states = self._model(input_ids=ids, attention_mask=mask).logits
        counts = mask.bool()
        if not self._checkpoint.pools_special:
            counts = counts & ~torch.isin(ids, self._special)
            counts[:, 0] |= ~counts.any(1)
        weight, bias, kept = (
            one if one is None or columns is None else one[columns]
            for one in (self._decoder.weight, self._decoder.bias, self._kept)
        )
        scores = max_scores(states, counts, weight)
        if bias is not None:
            scores = scores + bias
        weights = torch.log1p(torch.relu(scores))
        if self._checkpoint.activation == "log1p_log1p":
            weights = torch.log1p(weights)
        return weights * kept

    def encode(self, texts: Sequence[str], batch: int = 32) -> SparseVectors:
        """Vectors without gradients, in the order given."""
        import torch

        token_ids = self.tokenizer.encode(texts)
        order = sorted(range(len(texts)), key=lambda place: len(token_ids[place]))
        rows: list[SparseRow] = [(np.empty(0, np.int32), np.empty(0, np.float32))] * len(texts)
        with torch.no_grad():
            for start in range(0, len(order), batch):
                places = order[start : start + batch]
                for place, weights in zip(places, self([token_ids[one] for one in places]), strict=True):
                    terms = weights.nonzero(as_tuple=True)[0]
                    rows[place] = (terms.numpy().astype(np.int32), weights[terms].numpy())
        return stack(rows)

    def save(self, folder: Path) -> None:
        """A checkpoint folder of the layout it came from, with the weights as they are now."""
        import torch

        source = self._checkpoint
        shutil.copytree(source.folder, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", "onnx", ".*"))
        self._model.set_submodule(self._name, self._decoder)
        try:
            self._model.save_pretrained(folder / source.transformer.relative_to(source.folder), safe_serialization=True)
        finally:
            self._model.set_submodule(self._name, torch.nn.Identity())


def _fit(found: Checkpoint) -> Checkpoint:
    if found.family != "masked-lm" or found.pooling != "max" or found.activation not in {None, *ACTIVATIONS}:
        raise CheckpointError(
            f"{found.name} ({found.family}, {found.pooling} pooling, {found.activation}) cannot be adapted yet: masked "
            f"language models with max pooling and {' or '.join(ACTIVATIONS)} can."
        )
    return found


def _padded(token_ids: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    import torch

    longest = max(map(len, token_ids))
    ids = torch.zeros(len(token_ids), longest, dtype=torch.int64)
    mask = torch.zeros(len(token_ids), longest, dtype=torch.int64)
    for row, one in enumerate(token_ids):
        ids[row, : len(one)] = torch.tensor(one)
        mask[row, : len(one)] = 1
    return ids, mask
