"""One weight per token: the maximum over repeats with its gradient, and a head for any body."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from checkpoints import LENGTH, masked_lm
from click.testing import CliRunner
from test_training_command import call

from opensearch_splade.cli.main import main
from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.encoder import SparseEncoder
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.training.activations import activate
from opensearch_splade.training.scalar_head import add_scalar_head, has_scalar_head, scalar_weights
from opensearch_splade.training.trainable import TrainableEncoder

pytestmark = pytest.mark.export
__all__ = ["call"]  # the fixture
TEXTS = ["read a csv file , and read the csv file", "wait until threads finish running"]


def test_a_token_weighs_what_its_strongest_repeat_does() -> None:
    """Values by hand; the gradient goes to that repeat alone, and is that of small differences."""
    import torch

    relu = partial(activate, activation="relu")
    scores = torch.tensor([[2.0, 3.0, -1.0, 9.0], [1.0, 5.0, 4.0, 0.5]], dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([[4, 4, 1, 2], [0, 3, 3, 3]])
    counts = torch.tensor([[True, True, True, False], [True, True, True, True]])
    weights = scalar_weights(scores, counts, ids, relu, 5)
    assert weights.tolist() == [[0, 0, 0, 0, 3], [1, 0, 0, 5, 0]]
    weights.sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[0, 1, 0, 0], [1, 1, 0, 0]]
    assert torch.autograd.gradcheck(lambda one: scalar_weights(one, counts, ids, relu, 5), scores)


def test_a_body_with_a_scalar_head_begins_as_a_bag_of_words(tmp_path: Path) -> None:
    """Each token of the text weighs 1 and nothing else is there; trained, it is a uniCOIL bundle of these vectors."""
    import torch

    add_scalar_head(str(masked_lm("bert", tmp_path / "bert")), tmp_path / "scalar")
    assert has_scalar_head(str(tmp_path / "scalar"))
    assert not has_scalar_head(str(tmp_path / "bert"))
    encoder = TrainableEncoder(str(tmp_path / "scalar"), LENGTH)
    before, special = encoder.encode(TEXTS), set(encoder.tokenizer.special_ids)
    for ids, (terms, weights) in zip(encoder.tokenizer.encode(TEXTS, special=False), before, strict=True):
        assert set(terms.tolist()) == set(ids) - special
        assert set(weights.tolist()) == {1.0}
    optimizer = torch.optim.AdamW(encoder.parameters().values(), lr=1e-2)
    for _ in range(5):  # some tokens are to weigh 3
        optimizer.zero_grad()
        weights = encoder(encoder.tokenizer.encode(TEXTS))
        ((weights[weights > 0][::2] - 3) ** 2).sum().backward()
        optimizer.step()
    encoder.save(tmp_path / "saved")
    expected = encoder.encode(TEXTS)
    assert np.ptp(expected.weights) > 0
    bundle = export_bundle(str(tmp_path / "saved"), tmp_path / "bundle", ExportOptions(max_length=LENGTH))
    assert bundle.manifest.family == "unicoil"
    found = SparseEncoder.load(bundle.folder).encode_documents(TEXTS)
    np.testing.assert_array_equal(found.token_ids, expected.token_ids)
    np.testing.assert_allclose(found.weights, expected.weights, atol=1e-4)
    with pytest.raises(CheckpointError, match=r"\(unicoil\) cannot be given a scalar head"):
        add_scalar_head(str(tmp_path / "saved"), tmp_path / "again")


def test_the_command_makes_a_scalar_bundle(call: list[str], tmp_path: Path) -> None:
    """The plan says so, and what comes out has no expansion."""
    done = CliRunner().invoke(main, [*call[:6], "--out", str(tmp_path / "new"), *call[8:], "--head", "scalar"])
    assert done.exit_code == 0, done.output
    assert "given a head of one weight per token" in done.output
    encoder = SparseEncoder.load(tmp_path / "new")
    assert encoder.bundle.manifest.family == "unicoil"
    found = encoder.encode_documents(TEXTS).token_ids.tolist()
    assert found
    assert set(found) <= {token for ids in encoder.tokenizer.encode(TEXTS) for token in ids}
