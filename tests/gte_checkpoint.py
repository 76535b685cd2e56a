"""A small GTE checkpoint (``NewForMaskedLM``) and its forward pass in plain numpy, position by position."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from checkpoints import LENGTH, wordpiece_tokenizer
from family_checkpoints import Case, Oracle

Weights = dict[str, npt.NDArray[np.float32]]
HIDDEN, HEADS, INNER, LAYERS, EXTRA = 32, 2, 48, 2, 6
_ERF = np.vectorize(math.erf)


def gte(folder: Path, *, packed: bool = True, factor: float | None = 2.0, token_types: int = 0) -> Case:
    """Writes the folder; six columns of the vocabulary have no token."""
    from safetensors.numpy import save_file

    tokenizer = wordpiece_tokenizer()
    config: dict[str, Any] = {
        "model_type": "new",
        "architectures": ["NewForMaskedLM"],
        "auto_map": {"AutoModelForMaskedLM": "Alibaba-NLP/new-impl--modeling.NewForMaskedLM"},
        "vocab_size": len(tokenizer) + EXTRA,
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "intermediate_size": INNER,
        "max_position_embeddings": 64,
        "position_embedding_type": "rope",
        "rope_theta": 1000.0,
        "rope_scaling": None if factor is None else {"type": "ntk", "factor": factor},
        "type_vocab_size": token_types,
        "hidden_act": "gelu",
        "layer_norm_type": "layer_norm",
        "layer_norm_eps": 1e-12,
        "pack_qkv": packed,
        "unpad_inputs": True,
        "use_memory_efficient_attention": True,
        "logn_attention_scale": False,
    }
    weights = _random(config)
    saved = dict(weights)
    for layer in range(LAYERS if not packed else 0):
        place = f"new.encoder.layer.{layer}.attention"
        for kind in ("weight", "bias"):
            for part, value in zip("qkv", np.split(saved.pop(f"{place}.qkv_proj.{kind}"), 3), strict=True):
                saved[f"{place}.{part}_proj.{kind}"] = value.copy()
    folder.mkdir(parents=True)
    save_file(saved, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    return Case(folder, numpy_oracle(weights, config), {"max_length": LENGTH})


def _random(config: dict[str, Any]) -> Weights:
    random = np.random.default_rng(9)
    shapes: dict[str, tuple[int, ...]] = {"new.embeddings.word_embeddings.weight": (config["vocab_size"], HIDDEN)}
    if config["type_vocab_size"]:
        shapes["new.embeddings.token_type_embeddings.weight"] = (config["type_vocab_size"], HIDDEN)
    norms = ["new.embeddings.LayerNorm", "lm_head.norm"]
    linear = {"lm_head.dense": (HIDDEN, HIDDEN)}
    for layer in range(LAYERS):
        place = f"new.encoder.layer.{layer}"
        norms += [f"{place}.attn_ln", f"{place}.mlp_ln"]
        linear |= {
            f"{place}.attention.qkv_proj": (3 * HIDDEN, HIDDEN),
            f"{place}.attention.o_proj": (HIDDEN, HIDDEN),
            f"{place}.mlp.down_proj": (HIDDEN, INNER),
        }
        shapes[f"{place}.mlp.up_gate_proj.weight"] = (2 * INNER, HIDDEN)
    shapes |= {f"{place}.weight": shape for place, shape in linear.items()}
    shapes |= {f"{place}.bias": shape[:1] for place, shape in linear.items()}
    shapes |= {f"{place}.{kind}": (HIDDEN,) for place in norms for kind in ("weight", "bias")}
    shapes["lm_head.decoder.bias"] = (config["vocab_size"],)
    return {name: random.normal(0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}


def numpy_oracle(w: Weights, config: dict[str, Any]) -> Oracle:
    """Token ids to scores ``(length, vocabulary)``, in float64, with loops where loops are plain."""
    size = HIDDEN // HEADS

    def norm(place: str, x: Any) -> Any:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + config["layer_norm_eps"])
        return centred / spread * w[f"{place}.weight"] + w[f"{place}.bias"]

    def linear(place: str, x: Any) -> Any:
        return x @ w[f"{place}.weight"].T.astype(np.float64) + w.get(f"{place}.bias", np.float32(0))

    def rotated(vector: Any, position: int) -> Any:
        factor = (config["rope_scaling"] or {}).get("factor", 1.0)
        out = np.empty(size)
        for i in range(size // 2):
            frequency = (config["rope_theta"] * factor) ** (-2 * i / size) / factor ** (2 / size)
            turn = complex(math.cos(position * frequency), math.sin(position * frequency))
            pair = complex(vector[i], vector[i + size // 2]) * turn
            out[i], out[i + size // 2] = pair.real, pair.imag
        return out

    def attention(place: str, x: Any) -> Any:
        query, key, value = np.split(linear(f"{place}.qkv_proj", x), 3, axis=-1)
        mixed = np.zeros_like(x)
        for head in range(HEADS):
            at = slice(head * size, (head + 1) * size)
            q = np.stack([rotated(row[at], place) for place, row in enumerate(query)])
            k = np.stack([rotated(row[at], place) for place, row in enumerate(key)])
            scores = np.exp(q @ k.T / math.sqrt(size))
            mixed[:, at] = scores / scores.sum(-1, keepdims=True) @ value[:, at]
        return linear(f"{place}.o_proj", mixed)

    def gelu(x: Any) -> Any:
        return x * (1 + _ERF(x / math.sqrt(2))) / 2

    def scores(ids: list[int]) -> Any:
        x = w["new.embeddings.word_embeddings.weight"][ids].astype(np.float64)
        if config["type_vocab_size"]:
            x = x + w["new.embeddings.token_type_embeddings.weight"][0]
        x = norm("new.embeddings.LayerNorm", x)
        for layer in range(LAYERS):
            place = f"new.encoder.layer.{layer}"
            x = norm(f"{place}.attn_ln", x + attention(f"{place}.attention", x))
            up, gate = np.split(linear(f"{place}.mlp.up_gate_proj", x), 2, axis=-1)
            x = norm(f"{place}.mlp_ln", x + linear(f"{place}.mlp.down_proj", up * gelu(gate)))
        x = norm("lm_head.norm", gelu(linear("lm_head.dense", x)))
        return x @ w["new.embeddings.word_embeddings.weight"].T + w["lm_head.decoder.bias"]

    return scores
