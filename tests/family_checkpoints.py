"""A small random checkpoint of each family's published layout, and its weights by another way than ours.

Each maker writes a folder and gives its options of export and an oracle: the token ids of one text to what the model
scores at each position, ``(length, columns)``, or ``(length, 1)`` for one weight per token.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from checkpoints import LENGTH, SIZE, TEXTS, dense_encoder, masked_lm, wordpiece_tokenizer

Scores = npt.NDArray[np.floating]
Oracle = Callable[[list[int]], Scores]
_ENDS = ("pad_token", "bos_token", "eos_token")
_RANDOM = {"initializer_range": 0.4}
_DECODER = {**SIZE, **_RANDOM, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 256}
_OWN_SIZES = {"vocab_size": 320, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@dataclass(frozen=True)
class Case:
    """A checkpoint on disk.

    Attributes:
        folder: Where it lies.
        oracle: What the model says of one text.
        options: Of export.
        gate: Scores of the gate, where there is one.
        vocabulary: Width of the output, where scores do not say it.
    """

    folder: Path
    oracle: Oracle
    options: Mapping[str, Any] = field(default_factory=dict)
    gate: Oracle | None = None
    vocabulary: int | None = None


def hugging_face(model: Any, pick: str = "logits") -> Oracle:
    """A Transformers model as it is, on one text without padding."""
    import torch

    def scores(ids: list[int]) -> Scores:
        with torch.no_grad():
            found: Scores = getattr(model(input_ids=torch.tensor([ids])), pick)[0].numpy()
        return found

    return scores


def encoder(kind: str, folder: Path, *, seed: int = 5, spread: float = 0.4) -> Case:
    """A masked language model."""
    import torch
    from transformers import AutoConfig, AutoModelForMaskedLM

    tokenizer = wordpiece_tokenizer()
    sizes: dict[str, Any] = {**SIZE, "vocab_size": len(tokenizer), "max_position_embeddings": 66}
    if kind == "electra":
        sizes["embedding_size"] = 16
    if kind == "modernbert":
        special = dict.fromkeys(("cls_token_id", "bos_token_id"), 2) | dict.fromkeys(
            ("sep_token_id", "eos_token_id"), 3
        )
        sizes |= {"local_attention": 8, "num_hidden_layers": 4, "initializer_cutoff_factor": 2.0, **special}
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, pad_token_id=0, initializer_range=spread, **sizes)
    model = AutoModelForMaskedLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        model.get_output_embeddings().bias.normal_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Case(folder, hugging_face(model))


def decoder_tokenizer() -> Any:
    """A byte-level tokenizer that puts `<s>` before a text."""
    from tokenizers import ByteLevelBPETokenizer, processors
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    special = ["<pad>", "<s>", "</s>"]
    trained.train_from_iterator(TEXTS * 3, vocab_size=320, special_tokens=special, show_progress=False)
    trained.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, model_max_length=LENGTH * 4, **dict(zip(_ENDS, special, strict=False))
    )


def decoder(kind: str, folder: Path, **options: Any) -> Case:
    """A decoder with a language-model head; bidirectional by Transformers' own SDPA without a mask."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    extra = {"gemma2": {"final_logit_softcapping": 2.0, "query_pre_attn_scalar": 16}}.get(kind, {})
    torch.manual_seed(11)
    config = AutoConfig.for_model(kind, **_DECODER, **_OWN_SIZES, **extra)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    model.save_pretrained(folder)
    decoder_tokenizer().save_pretrained(folder)
    oracle = hugging_face(model)
    if options["attention"] == "bidirectional" and kind != "gemma2":
        oracle = _unmasked(model)
    elif options["attention"] == "bidirectional":
        oracle = _two_sided(model)
    return Case(folder, oracle, {"max_length": LENGTH, **options})


def _unmasked(model: Any) -> Oracle:
    """No mask at all, and attention that is told that it is not causal."""
    from unittest.mock import patch

    model.config._attn_implementation = "sdpa"
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    run, place = hugging_face(model), type(model.model).__module__

    def scores(ids: list[int]) -> Scores:
        with patch(f"{place}.create_causal_mask", return_value=None):
            return run(ids)

    return scores


def _two_sided(model: Any) -> Oracle:
    """Masks that hide nothing, by type of layer: the softcap of attention needs the eager way."""
    import torch

    def scores(ids: list[int]) -> Scores:
        seen = torch.zeros(1, 1, len(ids), len(ids))
        masks = {"full_attention": seen, "sliding_attention": seen}
        with torch.no_grad():
            found: Scores = model(input_ids=torch.tensor([ids]), attention_mask=masks).logits[0].numpy()
        return found

    return scores


def echoed(case: Case, before: list[int], between: list[int]) -> Case:
    """The text twice; the scores of the second copy."""

    def scores(ids: list[int]) -> Scores:
        return case.oracle(before + ids + between + ids)[-len(ids) :]

    return Case(case.folder, scores, case.options)


def terms(folder: Path, kind: str, layout: str) -> Case:
    """One weight per token: ``unicoil``, ``bge-m3`` or ``lsr`` (MLP) around a random backbone."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModel

    tokenizer = wordpiece_tokenizer()
    torch.manual_seed(3)
    config = AutoConfig.for_model(
        kind, **SIZE, **_RANDOM, vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=0
    )
    backbone = AutoModel.from_config(config, attn_implementation="eager").eval()
    linear = torch.nn.Linear(SIZE["hidden_size"], 1)
    state = {name: value.contiguous() for name, value in backbone.state_dict().items()}
    head = {name: value.detach() for name, value in linear.state_dict().items()}
    folder.mkdir(parents=True)
    weights, where = folder / "model.safetensors", folder
    if layout == "unicoil":
        named = {f"coil_encoder.bert.{name}": value for name, value in state.items()}
        save_file(named | {f"coil_encoder.tok_proj.{name}": value for name, value in head.items()}, weights)
        config.save_pretrained(folder)
    elif layout == "bge-m3":
        save_file(state, weights)
        save_file(head, folder / "sparse_linear.safetensors")
        config.save_pretrained(folder)
        (folder / "modules.json").write_text(json.dumps([{"path": "", "type": "a.Transformer"}]))
    else:
        where = _lsr_folder(folder, config, {"model_type": "MLP", "activation": "softplus", "norm": "log1p"})
        named = {f"model.{name}": value for name, value in state.items()}
        named |= {f"linear.{name}": value for name, value in head.items()} | {"scale": torch.tensor(1.0)}
        save_file(named, folder / "shared_encoder" / "model.safetensors")
    tokenizer.save_pretrained(where)
    states = hugging_face(backbone, "last_hidden_state")
    weight, bias = (head[name].numpy() for name in ("weight", "bias"))
    return Case(folder, lambda ids: states(ids) @ weight.T + bias, vocabulary=len(tokenizer))


def lsr_mlm(folder: Path) -> Case:
    """The LSR framework's masked language model, whose special positions are not pooled."""
    case = encoder("bert", folder / "backbone-as-saved")
    from safetensors.torch import load_file, save_file
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(case.folder)
    said = {"model_type": "MLM", "activation": "relu", "norm": "log1p", "pool": "max"}
    tokenizer = _lsr_folder(folder, config, {**said, "term_importance": "no", "doc_quality": "no"})
    saved = load_file(case.folder / "model.safetensors")
    named = {f"model.{name}": value for name, value in saved.items()}
    save_file(named, folder / "shared_encoder" / "model.safetensors")
    wordpiece_tokenizer().save_pretrained(tokenizer)
    return Case(folder, case.oracle)


def _lsr_folder(folder: Path, backbone: Any, encoder_config: dict[str, Any]) -> Path:
    shared = folder / "shared_encoder"
    backbone.save_pretrained(shared / "backbone")
    named = {"tf_base_model_name_or_dir": "somewhere/else", **encoder_config}
    (shared / "config.json").write_text(json.dumps(named))
    (folder / "config.json").write_text(json.dumps({"model_type": "DualEncoder", "shared": True}))
    return folder / "tokenizer"


def sparterm(folder: Path, gate: str) -> Case:
    """Importance and gate in our own layout."""
    importance = encoder("bert", folder / "importance", spread=0.1)
    (folder / "sparterm.json").write_text(json.dumps({"gate": gate, "threshold": 0.9, "pooling": "sum"}))
    if gate == "literal-only":
        return Case(folder, importance.oracle)
    import torch
    from transformers import AutoModelForMaskedLM

    other = encoder("bert", folder / "gate", seed=6)
    model = AutoModelForMaskedLM.from_pretrained(other.folder, attn_implementation="eager")
    with torch.no_grad():
        model.get_output_embeddings().bias.sub_(2)
    model.save_pretrained(other.folder)
    return Case(folder, importance.oracle, gate=hugging_face(model.eval()))


def dense(folder: Path) -> Case:
    """A dense encoder; the oracle gives the pooled vector."""
    model = dense_encoder(masked_lm("bert", folder / "mlm"), folder / "st", pooling="mean", normalize=True)
    states = hugging_face(model[0].auto_model.eval(), "last_hidden_state")

    def pooled(ids: list[int]) -> Scores:
        mean = states(ids).mean(0)
        found: Scores = mean / np.linalg.norm(mean)
        return found

    return Case(folder / "st", pooled)
