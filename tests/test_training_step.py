"""The trainable encoder, its losses and the term target: equal to the books, and smaller."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import TEXTS, masked_lm

from opensearch_splade.onnx_models.encoder import SparseEncoder
from opensearch_splade.onnx_models.export import export_bundle
from opensearch_splade.training.losses import flops, idf_price, info_nce, kl_divergence, margin_mse
from opensearch_splade.training.max_scores import max_scores
from opensearch_splade.training.term_target import TermTarget
from opensearch_splade.training.trainable import TrainableEncoder

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with many active terms."""
    return masked_lm("bert", tmp_path_factory.mktemp("checkpoint") / "bert")


def by_the_book(states: Any, mask: Any, weight: Any, bias: Any) -> Any:
    """SPLADE's pooled weights with everything built: scores, activation, maximum."""
    import torch

    weights = torch.log1p(torch.relu(states @ weight.T + bias))
    return weights.masked_fill(~mask[:, :, None], 0).amax(1)


def problem(dtype: Any, *, length: int = 7, vocabulary: int = 23) -> tuple[Any, Any, Any, Any]:
    """Three texts of different lengths, one of which starts with a position that does not count."""
    import torch

    torch.manual_seed(3)
    states = torch.randn(3, length, 5, dtype=dtype, requires_grad=True)
    mask = torch.arange(length)[None] < torch.tensor([length, 2, 4])[:, None]
    mask[2, 0] = False
    weight = torch.randn(vocabulary, 5, dtype=dtype, requires_grad=True)
    return states, mask, weight, torch.randn(vocabulary, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("tile", [1, 8, 100])
def test_maximum_first_is_the_book(tile: int) -> None:
    """Values and all three gradients are those of the naive computation, in float64, whatever the tile."""
    import torch

    states, mask, weight, bias = problem(torch.float64)
    pull = torch.randn(3, 23, dtype=torch.float64)
    found = torch.log1p(torch.relu(max_scores(states, mask, weight, tile) + bias))
    expected = by_the_book(states, mask, weight, bias)
    ours = torch.autograd.grad((found * pull).sum(), [states, weight, bias])
    books = torch.autograd.grad((expected * pull).sum(), [states, weight, bias])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for one, other in zip(ours, books, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_gradients_are_those_of_differences() -> None:
    """Torch's own check by small differences, in float64."""
    import torch

    states, mask, weight, _ = problem(torch.float64, length=4, vocabulary=6)
    assert torch.autograd.gradcheck(lambda one, other: max_scores(one, mask, other, 4), (states, weight))


def largest_tensor(step: Any) -> int:
    """Elements of the largest tensor that any operation of a step makes, backward included."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    sizes = [0]

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = function(*args, **(kwargs or {}))
            sizes.extend(one.numel() for one in (made if isinstance(made, tuple) else (made,)) if torch.is_tensor(one))
            return made

    with Watch():
        step().sum().backward()
    return max(sizes)


def test_no_tensor_has_the_size_of_batch_length_and_vocabulary() -> None:
    """The step's largest tensor is a tile, not the scores; the book's is the scores, so the watch sees them."""
    import torch

    states, mask, weight, bias = problem(torch.float32, length=40, vocabulary=1000)
    whole = 3 * 40 * 1000
    assert largest_tensor(lambda: by_the_book(states, mask, weight, bias)) >= whole
    ours = largest_tensor(lambda: torch.log1p(torch.relu(max_scores(states, mask, weight, 50) + bias)))
    assert ours <= whole // 10


def test_what_is_trained_is_what_is_exported(checkpoint: Path, tmp_path: Path) -> None:
    """A saved checkpoint, exported, gives the vectors that the trainable encoder gave; so training trains that."""
    encoder = TrainableEncoder(str(checkpoint), 48)
    for value in encoder.parameters().values():
        value.data += 0.01
    encoder.save(tmp_path / "saved")
    texts = [text for text in TEXTS if text]
    expected = encoder.encode(texts)
    assert len(expected.weights) > len(texts)
    export_bundle(str(tmp_path / "saved"), tmp_path / "bundle")
    found = SparseEncoder.load(tmp_path / "bundle").encode_documents(texts)
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-4)
    again = TrainableEncoder(str(tmp_path / "saved"), 48).encode(texts)
    np.testing.assert_allclose(again.weights, expected.weights, atol=1e-6)


def test_columns_alone_are_columns_of_all(checkpoint: Path) -> None:
    """Weights and gradients of some columns are those of the whole vocabulary, of every parameter."""
    import torch

    encoder = TrainableEncoder(str(checkpoint), 48)
    ids = encoder.tokenizer.encode(TEXTS)
    columns = torch.tensor([31, 7, 2, 50])
    found, whole = encoder(ids, columns), encoder(ids)[:, columns]
    torch.testing.assert_close(found, whole)
    parameters = list(encoder.parameters().values())
    ours, theirs = (torch.autograd.grad(one.square().sum(), parameters, allow_unused=True) for one in (found, whole))
    assert any(one is not None and bool(one.any()) for one in ours)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_losses_are_least_where_they_should_be() -> None:
    """InfoNCE falls as the answer stands out; KL and margin-MSE are 0 for the teacher itself."""
    import torch

    known = torch.ones(2, 3, dtype=torch.bool)
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    better = scores + torch.tensor([[5.0, 0, 0], [0, 5.0, 0]])
    assert info_nce(better, known) < info_nce(scores, known)
    assert float(kl_divergence(scores, scores + 4, known)) == pytest.approx(0, abs=1e-6)
    assert float(kl_divergence(scores, better, known)) > 0.01
    assert float(margin_mse(scores, scores + 4, known)) == pytest.approx(0, abs=1e-6)
    assert float(margin_mse(scores, better, known)) == pytest.approx(25)


def test_a_pair_that_does_not_count_changes_no_loss() -> None:
    """A document that answers another query of the batch too is no negative of it, whatever its score."""
    import torch

    known = torch.tensor([[True, False, True], [True, True, True]])
    scores = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    other, teacher = scores.clone(), scores * 2
    other[0, 1] = 99
    for loss in (
        info_nce,
        lambda one, ok: kl_divergence(one, teacher, ok),
        lambda one, ok: margin_mse(one, teacher, ok),
    ):
        assert float(loss(other, known)) == pytest.approx(float(loss(scores, known)))


def test_idf_prices_change_who_pays_and_not_how_much() -> None:
    """Of the model before training the penalty is that of plain FLOPS for any balance; common terms bear more of it."""
    import torch

    idf, common = torch.tensor([0.5, 2.0, 8.0]), torch.tensor([0.6, 0.4, 0.1])
    for balance in (0.0, 0.5, 1.0):
        price = idf_price(idf, common, balance)
        assert float(flops(common[None], price)) == pytest.approx(float(flops(common[None])))
    assert torch.equal(idf_price(idf, common, 0), torch.ones(3))
    assert price[0] > price[1] > price[2]


@pytest.mark.parametrize("wanted", [40.0, 150.0])
def test_the_term_target_is_reached_by_its_weight(wanted: float) -> None:
    """A model whose terms answer slowly to the penalty ends within a tenth of the target, from either side."""
    target, terms = TermTarget(wanted), 90.0
    for _ in range(1500):
        rest = 300 / (1 + 30 * math.sqrt(target.weight))
        terms += 0.05 * (rest - terms)
        target.update(terms)
    assert target.seen == pytest.approx(wanted, rel=0.1)
