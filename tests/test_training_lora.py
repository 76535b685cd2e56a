"""LoRA: adapters alone are trained and kept, and what is exported has them merged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkpoints import TEXTS, masked_lm
from click.testing import CliRunner
from family_checkpoints import lsr_mlm, terms
from gte_checkpoint import gte
from test_training import RECIPE, checkpoint, stopped_and_resumed, trainer
from test_training_command import call
from test_training_families import dense_rows, moved, two_sided

from opensearch_splade.cli.main import main
from opensearch_splade.errors import CheckpointError
from opensearch_splade.onnx_models.encoder import SparseEncoder
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.training.trainable import TrainableEncoder
from opensearch_splade.training.trainer import BEST, STATE, StepReport
from opensearch_splade.training.training_state import load_state

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]
__all__ = ["call", "checkpoint"]  # fixtures

CASES: dict[str, Callable[[Path], Path]] = {
    "bert": lambda folder: masked_lm("bert", folder),
    "roberta": lambda folder: masked_lm("roberta", folder),
    "lsr-mlm": lambda folder: lsr_mlm(folder).folder,
    "unicoil": lambda folder: terms(folder, "bert", "unicoil").folder,
    "qwen3": lambda folder: two_sided("qwen3", folder),
}


@pytest.mark.parametrize("name", CASES)
def test_adapters_are_merged_into_what_is_exported(name: str, tmp_path: Path) -> None:
    """New adapters change nothing; trained ones, saved, give an ordinary checkpoint and bundle of the same vectors."""
    folder = str(CASES[name](tmp_path / "given"))
    plain, trained = TrainableEncoder(folder, 48), TrainableEncoder(folder, 48, lora=4)
    width = len(plain.vocabulary)
    before = dense_rows(plain.encode(TEXTS), width)
    np.testing.assert_allclose(dense_rows(trained.encode(TEXTS), width), before, atol=1e-6)
    sizes = [sum(one.numel() for one in encoder.parameters().values()) for encoder in (trained, plain)]
    assert sizes[0] < sizes[1] / 2
    moved(trained)
    trained(trained.tokenizer.encode(TEXTS)).sum().backward()
    assert all(one.grad is not None for one in trained.parameters().values())
    expected = dense_rows(trained.encode(TEXTS), width)
    assert np.abs(expected - before).max() > 1e-3
    trained.save(tmp_path / "saved")
    np.testing.assert_array_equal(dense_rows(trained.encode(TEXTS), width), expected)
    bundle = export_bundle(str(tmp_path / "saved"), tmp_path / "bundle", ExportOptions(max_length=48))
    found = dense_rows(SparseEncoder.load(bundle.folder).encode_documents(TEXTS), width)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_a_run_keeps_adapters_only_and_resumes(checkpoint: Path, tmp_path: Path) -> None:
    """The loss falls, the state holds no weight of the backbone, and a stopped run ends as one that was not."""
    recipe = RECIPE.model_copy(update={"lora": 8, "steps": 40, "watch_every": 20, "learning_rate": 1e-2, "terms": None})
    told = list[StepReport]()
    trainer(checkpoint, tmp_path / "whole", recipe).run(told.append)
    losses = [report.loss for report in told]
    assert sum(losses[-8:]) < 0.85 * sum(losses[:8])
    tensors, _ = load_state(tmp_path / "whole" / STATE)
    assert all("lora_" in name for name in tensors)
    assert all("lora_" in name for name in load_state(tmp_path / "whole" / BEST)[0])
    resumed = stopped_and_resumed(checkpoint, tmp_path / "half", recipe, 30)
    assert resumed.step == 20
    resumed.run()
    found = load_state(tmp_path / "half" / STATE)[0]
    assert all(bool((found[name] == value).all()) for name, value in tensors.items())


def test_the_command_trains_adapters(call: list[str], tmp_path: Path) -> None:
    """From the rank to a bundle, with chunks of a batch beside it."""
    given = [*call[:6], "--out", str(tmp_path / "new"), *call[8:], "--lora", "2", "--cached", "4", "--batch", "8"]
    done = CliRunner().invoke(main, given)
    assert done.exit_code == 0, done.output
    assert "steps of 48 documents" in done.output
    assert SparseEncoder.load(tmp_path / "new").fingerprint != SparseEncoder.load(call[3]).fingerprint


def test_what_has_no_layers_to_adapt_is_refused(tmp_path: Path) -> None:
    """GTE is a function of tensors here; the error says what to leave out."""
    with pytest.raises(CheckpointError, match="leave --lora out"):
        TrainableEncoder(str(gte(tmp_path / "gte").folder), 48, lora=2)
