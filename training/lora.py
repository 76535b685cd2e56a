"""LoRA: small matrices beside frozen ones, for backbones too large to be trained whole (arXiv 2106.09685)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from opensearch_splade.errors import CheckpointError, MissingExtraError
from opensearch_splade.training.bodies import Body

_SCALE = 2
"""``alpha / rank``: what the product of the two small matrices is multiplied by."""


def with_adapters(body: Body, rank: int, seed: int) -> Body:
    """A body of which only adapters are trained, beside every linear layer; what is written has them merged.

    A scalar head is trained too: it is one row, and may be new.

    Args:
        body: Its model is changed in place.
        rank: Of the adapters.
        seed: Of their first half; the second is 0, so nothing changes before the first step.

    Raises:
        CheckpointError: The body is no Transformers model.
        MissingExtraError: peft is not installed.
    """
    if body.model is None:
        raise CheckpointError(
            "LoRA is for models of Transformers' own architectures, which GTE is not; leave --lora out."
        )
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    import torch

    how = LoraConfig(r=rank, lora_alpha=_SCALE * rank, target_modules="all-linear", exclude_modules=r".*\bpooler\b.*")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(how, body.model)
    body.model.eval()
    head = {name: one for name, one in body.parameters.items() if body.scalar and name.startswith("projection.")}
    for name, one in body.parameters.items():
        one.requires_grad_(name in head)
    adapters = {name: one for name, one in body.model.named_parameters() if "lora_" in name}
    for one in adapters.values():
        one.requires_grad_(True)

    def write(folder: Path) -> None:
        with merged(body.model):
            body.write(folder)

    return replace(body, parameters=adapters | head, write=write)


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Inside, the model is an ordinary one, each adapter's product added to its layer; afterwards it is as before."""
    import torch
    from peft.tuners.lora import LoraLayer

    layers = [(name, one) for name, one in model.named_modules() if isinstance(one, LoraLayer)]
    kept = [one.get_base_layer().weight.data for _, one in layers]
    try:
        with torch.no_grad():
            for (name, layer), weight in zip(layers, kept, strict=True):
                plain = layer.get_base_layer()
                plain.weight.data = weight + layer.get_delta_weight("default")
                model.set_submodule(name, plain)
        yield
    finally:
        for (name, layer), weight in zip(layers, kept, strict=True):
            layer.get_base_layer().weight.data = weight
            model.set_submodule(name, layer)
