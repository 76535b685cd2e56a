"""Tied head: a vocabulary head for encoders that come without one, such as dense ones.

It is the head of the architecture's own masked language model, its decoder tied to the word embeddings, so that what
is saved is a checkpoint like any other. It does not begin at random: the transform is the least-squares map from the
states of some text to the embeddings of their own tokens, so a text begins with its own words and their neighbours.
(A large bias brings gelu into its linear part; the normalisation after it takes the bias away again.) What all states
have in common is taken off by the decoder's bias, which is then lowered until texts have ``START_TERMS`` terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.checkpoint import Checkpoint
from opensearch_splade.onnx_models.graph import quiet
from opensearch_splade.onnx_models.look import Look
from opensearch_splade.onnx_models.opening import open_checkpoint
from opensearch_splade.onnx_models.parity import parity_texts
from opensearch_splade.onnx_models.tokenizer import Tokenizer
from opensearch_splade.onnx_models.torch_loading import load_pretrained, make_from_config
from opensearch_splade.training.checkpoint_files import copy_tokenizer

START_TERMS, _PASSAGE = 256, 64
"""Terms before training of a text of so many tokens: enough for the gradient to reach, few enough to be worth it."""
_RIDGE = 1e-3
"""Of the states' variance: there may be no more positions than dimensions."""
_LINEAR = 6.0
"""Deviations above 0 at which gelu is the identity."""
_LENGTH = 256


def needs_head(checkpoint: str) -> bool:
    """Whether a checkpoint is an encoder, a dense one or one whose folder lacks the weights of a vocabulary head."""
    found = open_checkpoint(checkpoint)
    return found.family == "dense" or (found.family in {"masked-lm", "modernbert"} and not _holds_head(found))


def add_tied_head(checkpoint: str, out: Path) -> None:
    """Writes an encoder with a head as an ordinary masked-LM checkpoint.

    Args:
        checkpoint: Folder or hub id of an encoder.
        out: Folder to make.

    Raises:
        CheckpointError: Its architecture has no masked language model, or one whose head is of another shape.
    """
    source = open_checkpoint(checkpoint)
    with quiet():
        model = load_pretrained("AutoModelForMaskedLM", source, source.transformer)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    limit = min(_LENGTH, source.max_length or _LENGTH)
    tokenizer = Tokenizer(source.tokenizer_folder / "tokenizer.json", limit)
    texts = [ids for ids in tokenizer.encode(parity_texts()) if len(ids) > 2]  # more than [CLS] and [SEP]
    if not _holds_head(source):
        _begin(model, *_transform(model, source), texts)
    model.save_pretrained(out, safe_serialization=True)
    copy_tokenizer(source, out)


def _holds_head(checkpoint: Checkpoint) -> bool:
    """Whether its files hold any weight of the architecture's vocabulary head, besides a decoder that may be tied."""
    import torch

    with torch.device("meta"), quiet():
        model = make_from_config("AutoModelForMaskedLM", checkpoint, checkpoint.transformer)
    body = {id(one) for one in model.base_model.parameters()}
    head = {name for name, one in model.named_parameters() if id(one) not in body}
    return not head or bool(head & Look(checkpoint.transformer).tensors)


def _begin(model: Any, dense: Any, norm: Any, texts: Sequence[Sequence[int]]) -> None:
    """Fills the head of a model by what it makes of some texts, each given by its token ids."""
    import torch

    decoder = model.get_output_embeddings()
    words = decoder.weight.detach()
    with torch.no_grad():
        states = _seen(model, dense, texts)
        given, wanted = torch.cat(states), words[torch.tensor([token for ids in texts for token in ids])]
        common = given.mean(0)
        centred = given - common
        square = centred.T @ centred
        square += _RIDGE * square.diagonal().mean() * torch.eye(len(square))
        dense.weight.copy_(torch.linalg.solve(square, centred.T @ (wanted - wanted.mean(0))).T)
        norm.weight.fill_(1)
        if getattr(norm, "bias", None) is not None:
            norm.bias.zero_()
        if dense.bias is not None:
            mapped = centred @ dense.weight.T
            dense.bias.copy_(_LINEAR * mapped.std() - common @ dense.weight.T)
        states = _seen(model, decoder, texts)
        offset = words @ torch.cat(states).mean(0)
        best = torch.stack([(one[:_PASSAGE] @ words.T - offset).amax(0) for one in states])
        least = best.flatten().topk(min(START_TERMS, words.shape[0] // 2) * len(texts)).values[-1]
        # The mean weight above nothing is brought to 1, whatever the length of the embeddings.
        scale = 1 / (best[best > least] - least).mean()
        norm.weight.mul_(scale)
        decoder.bias.copy_(-(offset + least) * scale)


def _seen(model: Any, module: Any, texts: Sequence[Sequence[int]]) -> list[Any]:
    """What goes into a module of the model, of each text ``(length, hidden)``."""
    import torch

    seen: list[Any] = []
    hook = module.register_forward_pre_hook(lambda _, given: seen.append(given[0][0]))
    try:
        for ids in texts:
            model(input_ids=torch.tensor([ids]))
    finally:
        hook.remove()
    return seen


def _transform(model: Any, checkpoint: Checkpoint) -> tuple[Any, Any]:
    """The linear layer before the decoder, and the normalisation that follows it."""
    import torch

    decoder, body = model.get_output_embeddings(), set(model.base_model.modules())
    head = [one for one in model.modules() if one not in body and one is not decoder]
    dense = [one for one in head if isinstance(one, torch.nn.Linear)]
    norms = [one for one in head if isinstance(one, torch.nn.LayerNorm)]
    if len(dense) != 1 or len(norms) != 1 or decoder.bias is None:
        raise CheckpointError(
            f"{checkpoint.name} has no vocabulary head, and the one of {type(model).__name__} is no dense layer and "
            "normalisation before a decoder with a bias; give a checkpoint that has one."
        )
    return dense[0], norms[0]
