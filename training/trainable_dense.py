"""Trainable dense encoder: for a dense imitator of a sparse teacher (SPAR, arXiv 2110.06918).

A dense model that ranks as a sparse one does brings exact words to an index of vectors alone. Losses and gradient
caching are those of sparse students; there are no terms, so there is no penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.checkpoint import Checkpoint
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.onnx_models.opening import open_checkpoint
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.torch_loading import load_pretrained
from opensearch_splade.training.bodies import Body
from opensearch_splade.training.checkpoint_files import save_checkpoint, save_model
from opensearch_splade.training.lora import with_adapters
from opensearch_splade.training.torch_device import torch_device
from opensearch_splade.training.trainable import padded

_CPU = Device()


class TrainableDense:
    """Texts to dense vectors, with gradients.

    Args:
        checkpoint: A dense sentence-transformers folder or hub id.
        max_length: Tokens a text is truncated to, special tokens included.
        lora: Rank of adapters that are trained in place of the weights.
        seed: Of the adapters.
        device: Where it is trained.
        precision: ``bf16`` runs the body in bfloat16.

    Attributes:
        licence: The checkpoint's, where its card says so.
        tokenizer: The checkpoint's, truncating.

    Raises:
        CheckpointError: It is not dense.
        MissingExtraError: torch or peft is not installed.
    """

    def __init__(
        self,
        checkpoint: str,
        max_length: int,
        *,
        lora: int | None = None,
        seed: int = 0,
        device: Device = _CPU,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self._checkpoint = open_checkpoint(checkpoint, dense=True)
        if self._checkpoint.kind != "dense":
            raise CheckpointError(f"{self._checkpoint.name} is not dense: it has no modules.json with Pooling.")
        self.licence = self._checkpoint.licence
        body = _body(self._checkpoint)
        self._body = body if lora is None else with_adapters(body, lora, seed)
        import torch

        self.device = torch_device(device)
        self._body.move(self.device)
        self._autocast = partial(torch.autocast, self.device.type, torch.bfloat16, enabled=precision == "bf16")
        limit = min(max_length, self._checkpoint.max_length or max_length)
        self.tokenizer = Tokenizer(self._checkpoint.tokenizer_folder / "tokenizer.json", limit, self._checkpoint.prompt)

    def parameters(self) -> dict[str, Any]:
        """Trainable tensors by name."""
        return dict(self._body.parameters)

    def __call__(self, token_ids: Sequence[Sequence[int]]) -> Any:
        """Vectors as the bundle gives them, shape ``(texts, dimension)``.

        Args:
            token_ids: Of each text, special tokens included.
        """
        import torch

        ids, mask = (one.to(self.device) for one in padded(token_ids))
        with self._autocast():
            states = self._body.states(ids, mask)
        states, counts = states.float(), mask[:, :, None].float()
        first = self._checkpoint.pooling == "cls"
        pooled = states[:, 0] if first else (states * counts).sum(1) / counts.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(pooled, dim=1) if self._checkpoint.normalize else pooled

    def save(self, folder: Path) -> None:
        """A checkpoint folder of the layout it came from, with the weights as they are now."""
        save_checkpoint(self._checkpoint, folder, self._body.write)


def _body(checkpoint: Checkpoint) -> Body:
    model = load_pretrained("AutoModel", checkpoint, checkpoint.transformer)
    # A pooler stands behind the states and is never reached.
    own = {name: one for name, one in model.named_parameters() if not name.startswith("pooler.")}
    return Body(
        states=lambda ids, mask: model(input_ids=ids, attention_mask=mask).last_hidden_state,
        weight=None,
        bias=None,
        parameters=own,
        write=partial(save_model, model),
        model=model,
        vocabulary=model.config.hidden_size,
    )
