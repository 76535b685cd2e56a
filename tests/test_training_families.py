"""Every family that can be trained: what is trained is what is exported, and the gradient reaches all of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import TEXTS, masked_lm, sparse_encoder
from family_checkpoints import decoder, dense, encoder, lsr_mlm, sparterm
from gte_checkpoint import gte
from test_training_step import largest_tensor

from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.encoder import SparseEncoder
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.training.activations import activate
from opensearch_splade.training.losses import flops, over
from opensearch_splade.training.sum_scores import sum_scores
from opensearch_splade.training.trainable import TrainableEncoder

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]


def pooled(family: str, pooling: str, activation: str, folder: Path) -> Path:
    """A sentence-transformers folder that states pooling and activation."""
    sparse_encoder(masked_lm(family, folder / "mlm"), pooling=pooling, activation=activation).save_pretrained(
        str(folder / "st")
    )
    return folder / "st"


def routed(folder: Path) -> Path:
    """An inference-free one with a table of its own."""
    made = sparse_encoder(
        masked_lm("bert", folder / "mlm"), pooling="max", activation="relu", query_weights={"csv": 2.5}
    )
    made.save_pretrained(str(folder / "st"))
    return folder / "st"


def two_sided(kind: str, folder: Path) -> Path:
    """A decoder whose config states that it looks both ways."""
    decoder(kind, folder, attention="bidirectional")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"is_causal": False}))
    return folder


CASES: dict[str, Callable[[Path], Path]] = {
    "distilbert": partial(masked_lm, "distilbert"),
    "roberta, sum": partial(pooled, "roberta", "sum", "relu"),
    "bert, sum of the double logarithm": partial(pooled, "bert", "sum", "log1p_relu"),
    "bert, double logarithm": partial(pooled, "bert", "max", "log1p_relu"),
    "router": routed,
    "modernbert": lambda folder: encoder("modernbert", folder).folder,
    "electra": lambda folder: encoder("electra", folder).folder,
    "lsr-mlm": lambda folder: lsr_mlm(folder).folder,
    "gte": lambda folder: gte(folder, packed=False).folder,
    "gemma2": partial(two_sided, "gemma2"),
    "qwen3": partial(two_sided, "qwen3"),
}


def moved(encoder: TrainableEncoder) -> None:
    """Other weights, as training makes them."""
    import torch

    torch.manual_seed(4)
    for value in encoder.parameters().values():
        value.data += 0.02 * torch.randn_like(value)


def dense_rows(vectors: Any, width: int) -> Any:
    """Shape ``(texts, vocabulary)``."""
    out = np.zeros((len(vectors), width), np.float32)
    for row, (ids, weights) in zip(out, vectors, strict=True):
        row[ids] = weights
    return out


@pytest.mark.parametrize("name", CASES)
def test_what_is_trained_is_what_is_exported(name: str, tmp_path: Path) -> None:
    """Trained weights, saved and exported: the bundle gives the trainable encoder's vectors, and so does the folder."""
    trained = TrainableEncoder(str(CASES[name](tmp_path / "given")), 48)
    moved(trained)
    trained.save(tmp_path / "saved")
    expected = dense_rows(trained.encode(TEXTS), len(trained.vocabulary))
    assert (expected > 0).sum() > len(TEXTS)
    bundle = export_bundle(str(tmp_path / "saved"), tmp_path / "bundle", ExportOptions(max_length=48))
    found = dense_rows(SparseEncoder.load(bundle.folder).encode_documents(TEXTS), len(trained.vocabulary))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    again = dense_rows(TrainableEncoder(str(tmp_path / "saved"), 48).encode(TEXTS), len(trained.vocabulary))
    np.testing.assert_allclose(again, expected, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_reaches_all_that_is_trained(name: str, tmp_path: Path) -> None:
    """A loss of all weights moves every parameter that decides them; columns alone give their part of it."""
    import torch

    trained = TrainableEncoder(str(CASES[name](tmp_path / "given")), 48)
    ids = trained.tokenizer.encode([text for text in TEXTS if text])
    weights = trained(ids)
    columns = torch.tensor([31, 7, 50])
    torch.testing.assert_close(trained(ids, columns), weights[:, columns], atol=1e-5, rtol=1e-5)
    weights.square().sum().backward()
    still = [key for key, one in trained.parameters().items() if one.grad is None or not bool(one.grad.any())]
    assert not [key for key in still if "token_type" not in key and "k_proj.bias" not in key], still


@pytest.mark.parametrize(
    "made", [lambda folder: sparterm(folder, "literal-only").folder, lambda folder: dense(folder).folder]
)
def test_what_cannot_be_trained_is_refused(made: Callable[[Path], Path], tmp_path: Path) -> None:
    """The error names the family and those that can."""
    with pytest.raises(CheckpointError, match="which cannot be trained; masked-lm"):
        TrainableEncoder(str(made(tmp_path / "given")), 48)


def problem(length: int = 5, vocabulary: int = 11) -> tuple[Any, Any, Any, Any]:
    """Three texts in float64, the last without a position that counts."""
    import torch

    torch.manual_seed(2)
    states = torch.randn(3, length, 4, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(length)[None] < torch.tensor([length, 2, 0])[:, None]
    weight = torch.randn(vocabulary, 4, dtype=torch.float64, requires_grad=True)
    return states, mask, weight, torch.randn(vocabulary, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("activation", ["log1p", "log1p_log1p", "softplus"])
@pytest.mark.parametrize("tile", [1, 4, 100])
def test_the_sum_by_tiles_is_the_book(activation: Any, tile: int) -> None:
    """Values and gradients in float64 are those of all scores at once; a text of nothing is 0."""
    import torch

    states, mask, weight, bias = problem()
    function = partial(activate, activation=activation)
    found = sum_scores(states, mask, weight, bias, function, tile)
    expected = (function(states @ weight.T + bias) * mask[:, :, None]).sum(1)
    assert not found[2].any()
    pull = torch.randn_like(expected)
    ours, books = (torch.autograd.grad((one * pull).sum(), [states, weight, bias]) for one in (found, expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    for one, other in zip(ours, books, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def test_no_tensor_of_the_sum_has_the_size_of_all_scores() -> None:
    """Forward and backward make tiles only."""
    import torch

    states, weight = torch.randn(3, 40, 5, requires_grad=True), torch.randn(1000, 5, requires_grad=True)
    mask, bias = torch.ones(3, 40, dtype=torch.bool), torch.zeros(1000)
    function = partial(activate, activation="log1p")
    whole = 3 * 40 * 1000
    assert largest_tensor(lambda: function(states @ weight.T + bias).sum(1)) >= whole
    assert largest_tensor(lambda: sum_scores(states, mask, weight, bias, function, 50)) <= whole // 10


def test_the_l0_mask_spares_documents_that_are_sparse_already() -> None:
    """Of two documents the one with few terms pays nothing and has no gradient of the penalty."""
    import torch

    weights = torch.tensor([[1.0, 0, 0, 2.0], [1.0, 1.0, 1.0, 0]], requires_grad=True)
    loss = flops(over(weights, 2))
    loss.backward()
    assert float(loss) == pytest.approx(3 * 0.25)
    assert weights.grad is not None
    assert not weights.grad[0].any()
    assert weights.grad[1, :3].all()


def test_gradients_of_the_sum_are_those_of_differences() -> None:
    """Torch's own check by small differences."""
    import torch

    states, mask, weight, bias = problem()
    function = partial(activate, activation="log1p_log1p")
    assert torch.autograd.gradcheck(
        lambda one, other, third: sum_scores(one, mask, other, third, function, 4), (states, weight, bias)
    )
