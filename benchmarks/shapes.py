"""Checkpoints to be timed: splade-tiny's real weights, and random weights of well-known shapes.

A random model activates most of the vocabulary; a trained SPLADE model one or two hundred features (arXiv 2404.18812,
table 1). The bias of a random decoder is lowered until it does too, since the speed of our screened head depends on it.
No peer's speed does.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corpora import SHARED

ACTIVE = 150
VOCABULARY = 30_522


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of a BERT-like encoder with a masked-LM head."""

    layers: int
    hidden: int
    heads: int
    family: str = "bert"

    def flops(self, tokens: int) -> int:
        """Floating-point operations of one text: two for each multiplication of a weight, a query and a value."""
        body = self.layers * (12 * self.hidden**2 + 2 * tokens * self.hidden)
        return 2 * tokens * (body + self.hidden**2 + self.hidden * VOCABULARY)


SHAPES = {
    "splade-tiny": Shape(2, 128, 2),
    "minilm": Shape(6, 384, 12),
    "distilbert": Shape(6, 768, 12, "distilbert"),
    "bert-base": Shape(12, 768, 12),
}


def checkpoint(name: str, folder: Path, texts: Sequence[str]) -> str:
    """Writes the checkpoint into ``folder`` and says what it is."""
    real = SHARED / "models" / "splade-tiny"
    if name == "splade-tiny" and real.is_dir():
        shutil.copytree(real, folder)
        return "splade-tiny's own weights"
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    from opensearch_splade.onnx_models import Bundle

    torch.manual_seed(0)
    config = AutoConfig.for_model(SHAPES[name].family, **_sizes(SHAPES[name]))
    model = AutoModelForMaskedLM.from_config(config).eval()
    folder.mkdir(parents=True)
    shutil.copy(Bundle.open("splade-tiny").tokenizer, folder)
    (folder / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "model_max_length": 512}'
    )
    _make_sparse(model, folder, texts)
    model.save_pretrained(folder)
    return f"random weights of that shape, decoder bias lowered to about {ACTIVE} active features"


def _sizes(shape: Shape) -> dict[str, int]:
    if shape.family == "distilbert":
        return {"dim": shape.hidden, "n_layers": shape.layers, "n_heads": shape.heads, "hidden_dim": 4 * shape.hidden}
    return {
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": 4 * shape.hidden,
    }


def _make_sparse(model: Any, folder: Path, texts: Sequence[str]) -> None:
    import torch
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        tokens = tokenizer(list(texts[:8]), truncation=True, max_length=256, padding=True, return_tensors="pt")
        logits = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).logits
        logits[tokens["attention_mask"] == 0] = -torch.inf
        strongest = logits.amax(dim=1).flatten().sort(descending=True).values
        model.get_output_embeddings().bias -= strongest[ACTIVE * len(logits)]
