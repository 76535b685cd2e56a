"""Bodies: each family's checkpoint as what is trained of it, and how it is written back into its own layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.checkpoint import Checkpoint, read_json
from opensearch_splade.onnx_models.gte import gte_states, gte_weights
from opensearch_splade.onnx_models.torch_loading import (
    backbone_source,
    fill_weights,
    load_pretrained,
    make_from_config,
    read_tensors,
)
from opensearch_splade.onnx_models.torch_models import decoder_states
from opensearch_splade.training.checkpoint_files import rewrite, save_model, write_tensors


@dataclass(frozen=True, slots=True)
class Body:
    """A model and the projection that follows it, in torch.

    Attributes:
        states: ``(input_ids, attention_mask)``, each ``(batch, length)``, to ``(batch, length, hidden)``.
        weight: The projection, ``(vocabulary, hidden)``, or ``(1, hidden)`` for one weight per input token.
        bias: One number a row of it, or ``None``.
        parameters: Everything that may be trained, by name; a tied projection comes once.
        write: Writes all weights as they are now into a folder, as files of the names that the checkpoint's have.
        model: The torch module behind ``states``; ``None`` where it is a function of tensors.
        vocabulary: Columns of what comes out.
        softcap: See ``activations``.
    """

    states: Callable[[Any, Any], Any]
    weight: Any
    bias: Any
    parameters: Mapping[str, Any]
    write: Callable[[Path], None]
    model: Any
    vocabulary: int
    softcap: float | None = None


def load_body(checkpoint: Checkpoint) -> Body:
    """A checkpoint to be trained.

    Raises:
        CheckpointError: Its family cannot be trained, or what it holds cannot be loaded.
        MissingExtraError: torch is not installed.
    """
    if checkpoint.family not in _BODIES:
        known = ", ".join(_BODIES)
        raise CheckpointError(
            f"{checkpoint.name} is of family {checkpoint.family}, which cannot be trained; {known} can."
        )
    return _BODIES[checkpoint.family](checkpoint)


def masked_lm(checkpoint: Checkpoint) -> Body:
    """Any ``AutoModelForMaskedLM``."""
    model = load_pretrained("AutoModelForMaskedLM", checkpoint, checkpoint.transformer)
    return _vocabulary(model, save_model)


def lsr_mlm(checkpoint: Checkpoint) -> Body:
    """The LSR framework's masked language model, whose weights are called ``model.*``."""
    model = make_from_config("AutoModelForMaskedLM", checkpoint, backbone_source(checkpoint))
    fill_weights(model, read_tensors(checkpoint.transformer), "model.", checkpoint)

    def write(model: Any, folder: Path) -> None:
        rewrite(checkpoint.transformer, folder, {f"model.{name}": one for name, one in model.state_dict().items()})

    return _vocabulary(model, write)


def decoder(checkpoint: Checkpoint) -> Body:
    """A decoder with a language-model head, its attention as the checkpoint states it."""
    if checkpoint.attention is None:
        raise CheckpointError(
            f"{checkpoint.name} is a language model, and nothing in it says that it is a sparse encoder; to train it, "
            "write is_causal (true or false) into its config.json."
        )
    model = load_pretrained("AutoModelForCausalLM", checkpoint, checkpoint.transformer)
    head = model.get_output_embeddings()
    return Body(
        states=decoder_states(checkpoint, model),
        weight=head.weight,
        bias=head.bias,
        parameters=dict(model.named_parameters()),
        write=lambda folder: save_model(model, folder),
        model=model,
        vocabulary=len(head.weight),
        softcap=getattr(model.config, "final_logit_softcapping", None),
    )


def gte(checkpoint: Checkpoint) -> Body:
    """``NewForMaskedLM`` as ``onnx_models.gte`` writes it out: a function of tensors."""
    import torch

    config = SimpleNamespace(**{"type_vocab_size": 1, **read_json(checkpoint.transformer / "config.json")})
    loaded = gte_weights(read_tensors(checkpoint.transformer), config, checkpoint.name)
    made = {id(value): torch.nn.Parameter(value) for value in loaded.values()}
    weights = {name: made[id(value)] for name, value in loaded.items()}
    names = {id(value): name for name, value in reversed(weights.items())}  # the first name of a tied one

    def write(folder: Path) -> None:
        write_tensors(folder / "model.safetensors", {name: weights[name] for name in names.values()})
        said = read_json(folder / "config.json") | {"pack_qkv": True}  # as gte_weights made them
        (folder / "config.json").write_text(json.dumps(said, indent=2), encoding="utf-8")

    return Body(
        states=lambda ids, mask: gte_states(weights, config, ids, mask),
        weight=weights["lm_head.decoder.weight"],
        bias=weights["lm_head.decoder.bias"],
        parameters={name: weights[name] for name in names.values()},
        write=write,
        model=None,
        vocabulary=len(weights["lm_head.decoder.weight"]),
    )


def _vocabulary(model: Any, save: Callable[[Any, Path], None]) -> Body:
    """A masked language model, its projection taken off while it is trained."""
    import torch

    decoder = model.get_output_embeddings()
    name = next(name for name, module in model.named_modules() if module is decoder)
    # Without its projection the model gives the states that go into it.
    model.set_submodule(name, torch.nn.Identity())
    own = dict(model.named_parameters())
    known = {id(value) for value in own.values()}
    head = {f"projection.{name}": value for name, value in decoder.named_parameters() if id(value) not in known}

    def write(folder: Path) -> None:
        model.set_submodule(name, decoder)
        try:
            save(model, folder)
        finally:
            model.set_submodule(name, torch.nn.Identity())

    return Body(
        states=lambda ids, mask: model(input_ids=ids, attention_mask=mask).logits,
        weight=decoder.weight,
        bias=decoder.bias,
        parameters=own | head,
        write=write,
        model=model,
        vocabulary=len(decoder.weight),
    )


_BODIES: Mapping[str, Callable[[Checkpoint], Body]] = {
    "masked-lm": masked_lm,
    "modernbert": masked_lm,
    "lsr-mlm": lsr_mlm,
    "gte": gte,
    "decoder": decoder,
}
