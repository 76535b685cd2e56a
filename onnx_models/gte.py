"""GTE: the forward pass of ``NewForMaskedLM`` (mGTE, arXiv 2407.19669), written out.

The published code lies on the hub and would have to be run from there. It is a post-norm BERT with rotary positions
that are stretched by NTK scaling, a gated linear unit, and no absolute positions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opensearch_splade.errors import CheckpointError

_ONLY: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("rope",),
    "layer_norm_type": ("layer_norm",),
    "hidden_act": ("gelu",),
    "logn_attention_scale": (False,),
}
"""What a config may say; anything else would give other numbers."""


def gte_weights(tensors: Mapping[str, Any], config: Any, name: str) -> dict[str, Any]:
    """The weights by published name, the packed projections and the tied decoder made explicit.

    Raises:
        CheckpointError: The config asks for what is not implemented here, or a weight is missing.
    """
    for key, known in _ONLY.items():
        if getattr(config, key, known[0]) not in known:
            raise CheckpointError(f"{name}: {key} {getattr(config, key)!r} of GTE is not supported; {known[0]!r} is.")
    _inverse_frequencies(config, name)
    weights = dict(tensors)
    weights.setdefault("lm_head.decoder.weight", weights.get("new.embeddings.word_embeddings.weight"))
    for layer in range(config.num_hidden_layers):
        place = f"new.encoder.layer.{layer}.attention"
        for kind in ("weight", "bias"):
            parts = [weights.pop(f"{place}.{part}_proj.{kind}", None) for part in "qkv"]
            if all(part is not None for part in parts):
                weights[f"{place}.qkv_proj.{kind}"] = _torch().cat(parts)
    missing = [key for key in _names(config) if weights.get(key) is None]
    if missing:
        raise CheckpointError(f"{name} lacks the weight {missing[0]} ({len(missing)} in all).")
    return {key: weights[key] for key in _names(config)}


def gte_scores(weights: Mapping[str, Any], config: Any, ids: Any, mask: Any) -> Any:
    """Scores ``(batch, length, vocabulary)``."""
    states = gte_states(weights, config, ids, mask)
    return states @ weights["lm_head.decoder.weight"].T + weights["lm_head.decoder.bias"]


def gte_states(weights: Mapping[str, Any], config: Any, ids: Any, mask: Any) -> Any:
    """What the vocabulary projection sees, ``(batch, length, hidden)``."""
    torch = _torch()
    norm = _Norm(weights, config)
    states = weights["new.embeddings.word_embeddings.weight"][ids]
    if config.type_vocab_size:
        states = states + weights["new.embeddings.token_type_embeddings.weight"][0]
    states = norm("new.embeddings.LayerNorm", states)
    hidden = torch.where(mask[:, None, None, :] > 0, 0.0, torch.finfo(torch.float32).min)
    angles = torch.arange(ids.shape[1])[:, None] * _inverse_frequencies(config)[None, :]
    angles = torch.cat([angles, angles], -1).to(ids.device)
    for layer in range(config.num_hidden_layers):
        place = f"new.encoder.layer.{layer}"
        attended = _attend(weights, f"{place}.attention", config, states, (angles, hidden))
        states = norm(f"{place}.attn_ln", states + attended)
        states = norm(f"{place}.mlp_ln", states + _gated_unit(weights, f"{place}.mlp", states))
    transformed = _linear(weights, "lm_head.dense", states)
    return norm("lm_head.norm", torch.nn.functional.gelu(transformed))


class _Norm:
    def __init__(self, weights: Mapping[str, Any], config: Any) -> None:
        self._weights = weights
        self._epsilon = getattr(config, "layer_norm_eps", 1e-12)

    def __call__(self, place: str, states: Any) -> Any:
        weight, bias = self._weights[f"{place}.weight"], self._weights[f"{place}.bias"]
        return _torch().nn.functional.layer_norm(states, weight.shape, weight, bias, self._epsilon)


def _attend(weights: Mapping[str, Any], place: str, config: Any, states: Any, given: tuple[Any, Any]) -> Any:
    angles, hidden = given
    heads = config.num_attention_heads
    packed = _linear(weights, f"{place}.qkv_proj", states)
    packed = packed.view(*states.shape[:2], 3, heads, states.shape[-1] // heads)
    query, key, value = (packed[:, :, part].transpose(1, 2) for part in range(3))
    query, key = _rotate(query, angles), _rotate(key, angles)
    scores = query @ key.transpose(-1, -2) / (states.shape[-1] // heads) ** 0.5 + hidden
    mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(states.shape)
    return _linear(weights, f"{place}.o_proj", mixed)


def _rotate(states: Any, angles: Any) -> Any:
    """Rotary positions (arXiv 2104.09864) of states ``(batch, heads, length, dimension)``."""
    first, second = states.chunk(2, -1)
    return states * angles.cos() + _torch().cat([-second, first], -1) * angles.sin()


def _gated_unit(weights: Mapping[str, Any], place: str, states: Any) -> Any:
    up, gate = _linear(weights, f"{place}.up_gate_proj", states).chunk(2, -1)
    return _linear(weights, f"{place}.down_proj", _torch().nn.functional.gelu(gate) * up)


def _inverse_frequencies(config: Any, name: str = "") -> Any:
    """``1 / base^(2i / d)``, with NTK scaling by ``factor`` for all lengths, as the published code has it.

    There the table is built for ``factor`` times the positions when the model is made, so the stretched one is always
    the one in use: the base is multiplied by the factor, the frequencies divided by ``factor^(2 / d)``.
    """
    torch = _torch()
    scaling = getattr(config, "rope_scaling", None) or {}
    factor = float(scaling.get("factor", 1.0))
    if scaling and (scaling.get("type") != "ntk" or scaling.get("mixed_b") is not None or factor < 1):
        raise CheckpointError(f"{name}: rope_scaling {scaling} of GTE is not supported; type ntk without mixed_b is.")
    dimension = config.hidden_size // config.num_attention_heads
    base = float(getattr(config, "rope_theta", 10_000.0)) * factor
    steps = torch.arange(0, dimension, 2).float() / dimension
    return 1.0 / (base**steps) / factor ** (2 / dimension)


def _names(config: Any) -> list[str]:
    both = ("weight", "bias")
    names = ["new.embeddings.word_embeddings.weight", *(f"new.embeddings.LayerNorm.{kind}" for kind in both)]
    if config.type_vocab_size:
        names.append("new.embeddings.token_type_embeddings.weight")
    for layer in range(config.num_hidden_layers):
        place = f"new.encoder.layer.{layer}"
        parts = ("attention.qkv_proj", "attention.o_proj", "attn_ln", "mlp.down_proj", "mlp_ln")
        names += [f"{place}.{part}.{kind}" for part in parts for kind in both]
        names.append(f"{place}.mlp.up_gate_proj.weight")
    return names + [f"lm_head.{part}.{kind}" for part in ("dense", "norm", "decoder") for kind in both]


def _linear(weights: Mapping[str, Any], place: str, states: Any) -> Any:
    product = states @ weights[f"{place}.weight"].T
    bias = weights.get(f"{place}.bias")
    return product if bias is None else product + bias


def _torch() -> Any:
    import torch

    return torch
