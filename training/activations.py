"""Activations: a score of the vocabulary to a weight, in torch. Each is monotone, so a maximum may come before it."""

from __future__ import annotations

from typing import Any

from opensearch_splade.onnx_models.checkpoint import Activation


def activate(scores: Any, activation: Activation, softcap: float | None = None) -> Any:
    """Scores to weights of the same shape, never negative.

    Args:
        scores: Any shape.
        activation: ``log1p`` is SPLADE's, ``log1p_log1p`` the approximation of l0 (arXiv 2504.14839).
        softcap: Scores are ``softcap * tanh(x / softcap)`` first, as in Gemma 2.
    """
    import torch

    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    weights = torch.nn.functional.softplus(scores) if "softplus" in activation else torch.relu(scores)
    for _ in range(activation.count("log1p")):
        weights = torch.log1p(weights)
    return weights
