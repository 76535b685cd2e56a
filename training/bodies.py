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
from opensearch_splade.onnx_models.term_layouts import SPARSE_LINEAR
from opensearch_splade.onnx_models.torch_loading import (
    backbone_source,
    fill_weights,
    load_pretrained,
    make_from_config,
    one_row,
    read_tensors,
)
from opensearch_splade.onnx_models.torch_models import decoder_states
from opensearch_splade.training.checkpoint_files import rewrite, save_model, weight_files, write_tensors


@dataclass(frozen=True, slots=True)
class Body:
    """A model and the projection that follows it, in torch.

    Attributes:
        states: ``(input_ids, attention_mask)``, each ``(batch, length)``, to ``(batch, length, hidden)``.
        weight: The projection, ``(vocabulary, hidden)``, or ``(1, hidden)`` for one weight per input token.
        bias: One number a row of it, or ``None``.
        parameters: Everything that may be trained, by name; a tied projection comes once.
        write: Writes all weights as they are now into a folder, as files of the names that the checkpoint's have.
        scalar: Whether the projection gives a token's own weight instead of one for each of the vocabulary.
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
    scalar: bool = False

    def move(self, device: Any) -> None:
        """Puts everything on a device; the parameters stay the same objects."""
        if self.model is not None:
            self.model.to(device)
        for value in (self.weight, self.bias, *self.parameters.values()):
            if value is not None:
                value.data = value.data.to(device)


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
    model = load_pretrained("AutoModelForMaskedLM", checkpoint, checkpoint.transformer, traced=False)
    return _vocabulary(model, save_model)


def lsr_mlm(checkpoint: Checkpoint) -> Body:
    """The LSR framework's masked language model, whose weights are called ``model.*``."""
    model = make_from_config("AutoModelForMaskedLM", checkpoint, backbone_source(checkpoint))
    fill_weights(model, read_tensors(checkpoint.transformer), "model.", checkpoint)

    def write(model: Any, folder: Path) -> None:
        tensors = {f"model.{name}": one for name, one in model.state_dict().items()}
        rewrite(weight_files(checkpoint.transformer), folder, tensors)

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


def unicoil(checkpoint: Checkpoint) -> Body:
    """``bert.*`` and ``tok_proj.*``, either of them after ``coil_encoder.`` or not."""
    files = weight_files(checkpoint.transformer)
    tensors = {name.removeprefix("coil_encoder."): one for name, one in read_tensors(checkpoint.transformer).items()}
    backbone = make_from_config("AutoModel", checkpoint, checkpoint.transformer)
    fill_weights(backbone, tensors, "bert.", checkpoint)

    def write(folder: Path, weight: Any, bias: Any) -> None:
        named = {f"bert.{name}": one for name, one in backbone.state_dict().items()}
        named |= {"tok_proj.weight": weight, "tok_proj.bias": bias}
        rewrite(files, folder, named | {f"coil_encoder.{name}": one for name, one in named.items()})

    return _scalar(backbone, one_row(tensors, "tok_proj", checkpoint), write)


def bge_m3(checkpoint: Checkpoint) -> Body:
    """An XLM-R folder and ``sparse_linear.safetensors``; what else lies beside it stays as it is."""
    folder = checkpoint.transformer
    heads = [path for path in weight_files(folder) if path.stem.endswith("_linear")]
    files = [path for path in weight_files(folder) if path not in heads]
    backbone = make_from_config("AutoModel", checkpoint, folder)
    fill_weights(backbone, read_tensors(folder, files), "", checkpoint)

    def write(folder: Path, weight: Any, bias: Any) -> None:
        rewrite(files, folder, backbone.state_dict())
        for path in heads:
            rewrite([path], folder, {"weight": weight, "bias": bias} if path.name == SPARSE_LINEAR else {})

    return _scalar(backbone, one_row(_named(read_tensors(folder, [folder / SPARSE_LINEAR])), "head", checkpoint), write)


def lsr_mlp(checkpoint: Checkpoint) -> Body:
    """The LSR framework's ``model.*`` and ``linear.*``."""
    tensors = read_tensors(checkpoint.transformer)
    backbone = make_from_config("AutoModel", checkpoint, backbone_source(checkpoint))
    fill_weights(backbone, tensors, "model.", checkpoint)

    def write(folder: Path, weight: Any, bias: Any) -> None:
        named = {f"model.{name}": one for name, one in backbone.state_dict().items()}
        rewrite(weight_files(checkpoint.transformer), folder, named | {"linear.weight": weight, "linear.bias": bias})

    return _scalar(backbone, one_row(tensors, "linear", checkpoint), write)


def _named(head: Mapping[str, Any]) -> dict[str, Any]:
    return {f"head.{name}": one for name, one in head.items()}


def _scalar(backbone: Any, head: tuple[Any, Any], write: Callable[[Path, Any, Any], None]) -> Body:
    """A backbone with a linear layer to one number."""
    import torch

    weight, bias = (torch.nn.Parameter(one) for one in head)
    # A pooler stands behind the states and is never reached.
    own = {name: one for name, one in backbone.named_parameters() if not name.startswith("pooler.")}
    return Body(
        states=lambda ids, mask: backbone(input_ids=ids, attention_mask=mask).last_hidden_state,
        weight=weight,
        bias=bias,
        parameters=own | {"projection.weight": weight, "projection.bias": bias},
        write=lambda folder: write(folder, weight, bias),
        model=backbone,
        vocabulary=backbone.get_input_embeddings().num_embeddings,
        scalar=True,
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
    "unicoil": unicoil,
    "bge-m3": bge_m3,
    "lsr-mlp": lsr_mlp,
}
