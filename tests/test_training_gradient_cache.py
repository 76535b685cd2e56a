"""The gradient of a large batch, chunk by chunk: equal to the whole one, in less memory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from checkpoints import TEXTS, masked_lm
from test_training import RECIPE, checkpoint, trainer
from test_training_step import largest_tensor

from opensearch_splade.errors import DeviceError
from opensearch_splade.onnx_models.device import Device
from opensearch_splade.training.asking import inference_free, siamese
from opensearch_splade.training.gradient_cache import backward, cut
from opensearch_splade.training.losses import flops, info_nce
from opensearch_splade.training.torch_device import torch_device
from opensearch_splade.training.trainable import TrainableEncoder
from opensearch_splade.training.trainer import STATE
from opensearch_splade.training.training_state import load_state

pytestmark = pytest.mark.export
__all__ = ["checkpoint"]  # the fixture


def contrastive(table: Any, ids: list[list[int]], weights: Any) -> Any:
    """InfoNCE with questions out of a learned table, and the penalty."""
    import torch

    scores = inference_free(table, [sorted(set(one)) for one in ids]) @ weights.T
    return info_nce(scores, torch.ones_like(scores, dtype=torch.bool), torch.arange(len(ids))) + 0.1 * flops(weights)


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("kind", ["inference-free", "siamese"])
def test_a_chunked_step_has_the_gradient_of_the_whole(kind: str, size: int, tmp_path: Path) -> None:
    """In float64, of every parameter and of the query table, whatever the chunk; chunks differ in length."""
    import torch

    encoder = TrainableEncoder(str(masked_lm("bert", tmp_path / "bert")), 48)
    for value in encoder.parameters().values():
        value.data = value.data.double()
    table = torch.rand(len(encoder.vocabulary), dtype=torch.float64, requires_grad=True)
    ids = encoder.tokenizer.encode(TEXTS)
    trained = [*encoder.parameters().values(), table]
    found: list[list[Any]] = []
    for cached in (True, False):
        for value in trained:
            value.grad = None
        chunks = [partial(encoder, chunk) for chunk in cut(ids, size)]
        if kind == "siamese":
            chunks += [partial(siamese, encoder, chunk) for chunk in cut(ids[::-1], size)]

            def loss(vectors: Any) -> Any:
                weights, asked = vectors[: len(ids)], vectors[len(ids) :]
                known = torch.ones(len(ids), len(ids), dtype=torch.bool)
                return info_nce(asked @ weights.T, known, torch.arange(len(ids))) + flops(asked)

        else:
            loss = partial(contrastive, table, ids)
        backward(chunks, loss, cached=cached)
        found.append([None if value.grad is None else value.grad.clone() for value in trained])
    assert (found[0][-1] is not None) == (kind == "inference-free")
    assert sum(one is not None and bool(one.any()) for one in found[0]) > 20
    for ours, whole in zip(*found, strict=True):
        torch.testing.assert_close(ours, whole, rtol=0, atol=1e-10)


def test_chunks_need_the_memory_of_a_chunk() -> None:
    """What the model makes of one text on the way is never there for all of them."""
    import torch

    weight = torch.randn(4, 500, requires_grad=True)
    texts = torch.randn(32, 4)

    def encode(chunk: Any) -> Any:
        return torch.relu(chunk @ weight).sum(1, keepdim=True)

    def step(size: int) -> Any:
        backward([partial(encode, chunk) for chunk in texts.split(size)], lambda one: one.square().sum())
        return torch.zeros(1, requires_grad=True)

    assert largest_tensor(lambda: step(32)) == 32 * 500
    assert largest_tensor(lambda: step(2)) <= 4 * 500


def test_a_cached_run_takes_the_step_of_a_whole_one(checkpoint: Path, tmp_path: Path) -> None:
    """A trainer's step with mined negatives: the same gradients, as the optimizer keeps them, but for rounding."""
    import torch

    short = RECIPE.model_copy(update={"steps": 1, "watch_every": 1})
    for name, cached in (("whole", None), ("cached", 5)):
        trainer(checkpoint, tmp_path / name, short.model_copy(update={"cached": cached})).run()
    found, expected = (load_state(tmp_path / name / STATE)[0] for name in ("cached", "whole"))
    gradients = [key for key in expected if key.startswith("optimizer.exp_avg.")]
    assert len(gradients) > 20
    for key in gradients:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-3, atol=1e-7)


def test_bfloat16_is_near_and_its_gradients_are_float32(tmp_path: Path) -> None:
    """The body in bfloat16: nearly the same weights, every parameter and gradient as exact as before."""
    import torch

    folder = str(masked_lm("bert", tmp_path / "bert"))
    exact, fast = TrainableEncoder(folder, 48), TrainableEncoder(folder, 48, precision="bf16")
    ids = exact.tokenizer.encode(TEXTS)
    expected, found = exact(ids), fast(ids)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    assert float(torch.nn.functional.cosine_similarity(found, expected).detach().min()) > 0.999
    found.square().sum().backward()
    assert {value.grad.dtype for value in fast.parameters().values() if value.grad is not None} == {torch.float32}


def test_a_gpu_that_is_not_there_is_refused() -> None:
    """The error says how many there are and what to give instead."""
    with pytest.raises(DeviceError, match="--device cpu"):
        torch_device(Device("cuda", index=99))
