"""Scalar head: one weight per input token and no expansion, of repeats the largest (uniCOIL, arXiv 2106.14807)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.families import family_of
from opensearch_splade.onnx_models.graph import quiet
from opensearch_splade.onnx_models.opening import open_checkpoint
from opensearch_splade.onnx_models.torch_loading import load_pretrained
from opensearch_splade.training.checkpoint_files import copy_tokenizer, write_tensors


def scalar_weights(scores: Any, counts: Any, ids: Any, activation: Callable[[Any], Any], vocabulary: int) -> Any:
    """Scores of positions as weights of their tokens, differentiable.

    Args:
        scores: Shape ``(batch, length)``.
        counts: The same shape; true where a position counts.
        ids: Token ids, the same shape.
        activation: A score to a weight that is never negative.
        vocabulary: Columns of the output.

    Returns:
        Shape ``(batch, vocabulary)``. Equal repeats share the gradient.
    """
    weights = activation(scores) * counts
    return weights.new_zeros(len(ids), vocabulary).scatter_reduce(1, ids, weights, "amax", include_self=True)


def has_scalar_head(checkpoint: str) -> bool:
    """Whether a checkpoint gives one weight per token as it is."""
    return family_of(open_checkpoint(checkpoint)).head == "terms"


def add_scalar_head(checkpoint: str, out: Path) -> None:
    """Writes the body of a checkpoint with a fresh scalar head, as a uniCOIL checkpoint.

    The head begins with weight 1 for every token: a bag of words.

    Args:
        checkpoint: Folder or hub id of an encoder or a masked language model.
        out: Folder to make.

    Raises:
        CheckpointError: It is of a family whose body cannot be taken alone.
    """
    import torch

    source = open_checkpoint(checkpoint)
    if source.family not in {"dense", "masked-lm", "modernbert"}:
        raise CheckpointError(
            f"{source.name} ({source.family}) cannot be given a scalar head; an encoder's folder can."
        )
    with quiet():
        body = load_pretrained("AutoModel", source, source.transformer)
    out.mkdir(parents=True)
    body.config.save_pretrained(out)
    state = {f"bert.{name}": one for name, one in body.state_dict().items() if not name.startswith("pooler.")}
    head = {"tok_proj.weight": torch.zeros(1, body.config.hidden_size), "tok_proj.bias": torch.ones(1)}
    write_tensors(out / "model.safetensors", state | head)
    copy_tokenizer(source, out)
