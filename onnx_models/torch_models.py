"""Torch models: each family's checkpoint as what is exported (the body) and what it is judged by (the scores).

The scores are the family's textbook: all of them, of one text, without padding. The body ends where the head begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.checkpoint import Checkpoint, read_json
from opensearch_splade.onnx_models.gte import gte_scores, gte_states, gte_weights
from opensearch_splade.onnx_models.term_layouts import SPARSE_LINEAR, TOK_PROJ
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.torch_loading import (
    backbone_source,
    fill_weights,
    load_pretrained,
    make_from_config,
    one_row,
    read_tensors,
)

if TYPE_CHECKING:
    import numpy.typing as npt

Output = Literal["vocabulary", "terms", "gated", "states"]
"""What comes of a state: a score for each token of the vocabulary, one for its own token, a score and a gate each."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint in torch, in evaluation mode and float32.

    Attributes:
        output: What comes of a state.
        scores: ``(input_ids, attention_mask)``, each ``(1, length)``, to scores ``(1, length, vocabulary)``, ``(1,
            length, 1)`` for ``terms``, a pair of scores for ``gated``, the states themselves for ``states``.
        body: Gives the torch module that is exported: ``(input_ids, attention_mask)`` to states ``(batch, length,
            hidden)``. It takes the projection off the model, so ``scores`` is of no use afterwards.
        weight: The projection, ``(vocabulary, hidden)``, or ``(1, hidden)`` for ``terms``.
        bias: One number a row of it.
        vocabulary: Width of the output.
        task: What optimum calls the export of the body; ``None`` where it does not know the architecture.
        softcap: Scores are ``softcap * tanh(x / softcap)``, as in Gemma 2.
        gate: Projection and bias of the gate, on the second half of a state.
    """

    output: Output
    scores: Callable[[Any, Any], Any]
    body: Callable[[], Any]
    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    vocabulary: int
    task: str | None = None
    softcap: float | None = None
    gate: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None


Loader = Callable[[Checkpoint], Loaded]


def load_masked_lm(checkpoint: Checkpoint) -> Loaded:
    """Any ``AutoModelForMaskedLM``."""
    return _vocabulary(checkpoint, load_pretrained("AutoModelForMaskedLM", checkpoint, checkpoint.transformer))


def load_dense(checkpoint: Checkpoint) -> Loaded:
    """Any ``AutoModel``."""
    model = load_pretrained("AutoModel", checkpoint, checkpoint.transformer)
    none = np.zeros((0, 0), np.float32)

    def scores(ids: Any, mask: Any) -> Any:
        return model(input_ids=ids, attention_mask=mask).last_hidden_state

    return Loaded(
        "states", scores, lambda: model, none, none[0:0, 0:0].ravel(), model.config.hidden_size, "feature-extraction"
    )


def load_gte(checkpoint: Checkpoint) -> Loaded:
    """``NewForMaskedLM``, written out in ``gte``: its own code lies on the hub and is never run."""
    config = SimpleNamespace(**{"type_vocab_size": 1, **read_json(checkpoint.transformer / "config.json")})
    weights = gte_weights(read_tensors(checkpoint.transformer), config, checkpoint.name)

    def scores(ids: Any, mask: Any) -> Any:
        return gte_scores(weights, config, ids, mask)

    def body() -> Any:
        return _module(lambda ids, mask: gte_states(weights, config, ids, mask), parameters=weights)

    weight, bias = weights["lm_head.decoder.weight"].numpy(), weights["lm_head.decoder.bias"].numpy()
    return Loaded("vocabulary", scores, body, weight, bias, len(weight))


def load_decoder(checkpoint: Checkpoint) -> Loaded:
    """A decoder with a language-model head, its attention as it is or opened to both sides.

    The mask is given in four dimensions, which Transformers then takes as it is: no patching, and one way for both.
    """
    import torch

    model = load_pretrained("AutoModelForCausalLM", checkpoint, checkpoint.transformer)
    causal, echo = checkpoint.attention == "causal", _echo(checkpoint)

    def scores(ids: Any, _: Any) -> Any:
        length = ids.shape[1]
        if echo is not None:
            before, between, after = (part[None].to(ids.dtype) for part in echo)
            ids = torch.cat([before, ids, between, ids, after], 1)
        # Without padding, no mask at all is what a causal model was trained with.
        given = None if causal else torch.zeros(1, 1, ids.shape[1], ids.shape[1])
        logits = model(input_ids=ids, attention_mask=given, use_cache=False).logits
        end = ids.shape[1] - (0 if echo is None else len(echo[2]))
        return logits[:, end - length : end]

    loaded = _vocabulary(checkpoint, model)
    softcap = getattr(model.config, "final_logit_softcapping", None)
    states = decoder_states(checkpoint, model)
    return replace(loaded, scores=scores, body=lambda: _module(states, model=model.model), task=None, softcap=softcap)


def decoder_states(checkpoint: Checkpoint, model: Any) -> Callable[[Any, Any], Any]:
    """What a decoder's projection sees: ``(input_ids, attention_mask)`` to ``(batch, length, hidden)``."""
    import torch

    causal, echo = checkpoint.attention == "causal", _echo(checkpoint)

    def states(ids: Any, mask: Any) -> Any:
        length = ids.shape[1]
        if echo is not None:
            ones = [torch.ones_like(part).expand(ids.shape[0], -1) for part in echo]
            copies = [part.expand(ids.shape[0], -1) for part in echo]
            ids = torch.cat([copies[0], ids, copies[1], ids, copies[2]], 1)
            mask = torch.cat([ones[0], mask, ones[1], mask, ones[2]], 1)
        found = model.model(
            input_ids=ids,
            attention_mask=_four_dimensions(mask, causal=causal),
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
        start = 0 if echo is None else len(echo[0]) + length + len(echo[1])
        return found[:, start : start + length]

    return states


def _echo(checkpoint: Checkpoint) -> list[Any] | None:
    """Ids before, between and after the copies of an echo; ``None`` without one."""
    import torch

    if checkpoint.prompt.echo is None:
        return None
    tokenizer = Tokenizer(checkpoint.tokenizer_folder / "tokenizer.json", 1 << 20, checkpoint.prompt)
    return [torch.tensor(ids, dtype=torch.int64) for ids in tokenizer.echo_ids()]


def load_unicoil(checkpoint: Checkpoint) -> Loaded:
    """``bert.*`` and ``tok_proj.*``, either of them after ``coil_encoder.`` or not."""
    tensors = {
        name.removeprefix("coil_encoder."): value for name, value in read_tensors(checkpoint.transformer).items()
    }
    backbone = make_from_config("AutoModel", checkpoint, checkpoint.transformer)
    fill_weights(backbone, tensors, "bert.", checkpoint)
    return _terms(backbone, *one_row(tensors, TOK_PROJ[1].removesuffix(".weight"), checkpoint))


def load_bge_m3(checkpoint: Checkpoint) -> Loaded:
    """An XLM-R folder and ``sparse_linear.safetensors``."""
    folder = checkpoint.transformer
    backbone = make_from_config("AutoModel", checkpoint, folder)
    model_files = [path for path in sorted(folder.glob("*.safetensors")) if not path.stem.endswith("_linear")]
    fill_weights(backbone, read_tensors(folder, model_files), "", checkpoint)
    linear = {f"sparse_linear.{name}": value for name, value in read_tensors(folder, [folder / SPARSE_LINEAR]).items()}
    return _terms(backbone, *one_row(linear, "sparse_linear", checkpoint))


def load_lsr_mlp(checkpoint: Checkpoint) -> Loaded:
    """``model.*`` and ``linear.*``; ``scale`` is of training only."""
    tensors = read_tensors(checkpoint.transformer)
    backbone = make_from_config("AutoModel", checkpoint, backbone_source(checkpoint))
    fill_weights(backbone, tensors, "model.", checkpoint)
    return _terms(backbone, *one_row(tensors, "linear", checkpoint))


def load_lsr_mlm(checkpoint: Checkpoint) -> Loaded:
    """``model.*``, a masked language model."""
    model = make_from_config("AutoModelForMaskedLM", checkpoint, backbone_source(checkpoint))
    fill_weights(model, read_tensors(checkpoint.transformer), "model.", checkpoint)
    return _vocabulary(checkpoint, model)


def load_gated(checkpoint: Checkpoint) -> Loaded:
    """Two masked language models side by side: what they say of a position stands in one state, one after the other."""
    importance = load_masked_lm(checkpoint)
    if checkpoint.gate is None or not checkpoint.gate.expands:
        return replace(importance, output="gated")
    gate = load_masked_lm(replace(checkpoint, transformer=checkpoint.folder / "gate"))
    if gate.vocabulary != importance.vocabulary:
        raise CheckpointError(f"{checkpoint.name}: importance and gate must have the same vocabulary.")

    def scores(ids: Any, mask: Any) -> Any:
        return importance.scores(ids, mask), gate.scores(ids, mask)

    def body() -> Any:
        import torch

        models = importance.body(), gate.body()

        def both(ids: Any, mask: Any) -> Any:
            return torch.cat([model(input_ids=ids, attention_mask=mask).logits for model in models], -1)

        return _module(both, importance=models[0], gate=models[1])

    return replace(importance, output="gated", scores=scores, body=body, task=None, gate=(gate.weight, gate.bias))


def _vocabulary(checkpoint: Checkpoint, model: Any) -> Loaded:
    decoder = model.get_output_embeddings()
    if decoder is None or getattr(decoder, "weight", None) is None:
        raise CheckpointError(f"{checkpoint.name}: {type(model).__name__} has no vocabulary projection.")
    weight = decoder.weight.detach().numpy().copy()
    bias = np.zeros(len(weight), np.float32) if decoder.bias is None else decoder.bias.detach().numpy().copy()

    def scores(ids: Any, mask: Any) -> Any:
        return model(input_ids=ids, attention_mask=mask).logits

    def body() -> Any:
        import torch

        # The identity in its place makes the model's output what goes into the projection.
        name = next(name for name, module in model.named_modules() if module is decoder)
        model.set_submodule(name, torch.nn.Identity())
        return model

    return Loaded("vocabulary", scores, body, weight, bias, len(weight), "fill-mask")


def _terms(backbone: Any, weight: Any, bias: Any) -> Loaded:
    def scores(ids: Any, mask: Any) -> Any:
        return backbone(input_ids=ids, attention_mask=mask).last_hidden_state @ weight.T + bias

    vocabulary = backbone.get_input_embeddings().num_embeddings
    return Loaded("terms", scores, lambda: backbone, weight.numpy(), bias.numpy(), vocabulary, "feature-extraction")


def _four_dimensions(mask: Any, *, causal: bool) -> Any:
    """``(batch, length)`` to what is added to attention scores, ``(batch, 1, length, length)``.

    Large and finite rather than infinite: a row of nothing but padding then gives a number.
    """
    import torch

    places = torch.arange(mask.shape[1], device=mask.device)
    seen = mask[:, None, None, :] > 0
    order = places[None, :] <= places[:, None] if causal else torch.ones_like(places[None, :] <= places[:, None])
    return torch.where(seen & order[None, None], 0.0, torch.finfo(torch.float32).min)


def _module(forward: Callable[[Any, Any], Any], parameters: Mapping[str, Any] | None = None, **children: Any) -> Any:
    """A torch module around a function, which the exporter wants, with the models or weights that it uses."""
    import torch

    def call(_: Any, input_ids: Any, attention_mask: Any) -> Any:
        return forward(input_ids, attention_mask)

    made = type("Body", (torch.nn.Module,), {"forward": call})()
    for name, child in children.items():
        made.add_module(name, child)
    for name, value in (parameters or {}).items():
        made.register_buffer(name.replace(".", "__"), value)
    return made.eval()
