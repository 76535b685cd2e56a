"""A dense student that imitates a sparse teacher: its ranking comes nearer, and its bundle gives its vectors."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from checkpoints import TEXTS, dense_encoder, masked_lm
from click.testing import CliRunner
from test_training import small_bert

from opensearch_splade.cli.main import main
from opensearch_splade.errors import CheckpointError
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import Bundle, DenseEncoder, Device
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.training.dense_imitation import imitate, overlap
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.teacher_cache import load_teacher
from opensearch_splade.training.teachers import SparseTeacher
from opensearch_splade.training.trainable_dense import TrainableDense
from opensearch_splade.types import Document

pytestmark = [pytest.mark.export, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize(("pooling", "lora"), [("mean", None), ("cls", None), ("mean", 4)])
def test_what_is_trained_is_what_is_exported(pooling: str, lora: int | None, tmp_path: Path) -> None:
    """Vectors of the trained student, of its saved folder and of its dense bundle are the same."""
    import torch

    dense_encoder(masked_lm("bert", tmp_path / "bert"), tmp_path / "given", pooling=pooling, normalize=True)
    student = TrainableDense(str(tmp_path / "given"), 48, lora=lora)
    texts = [text for text in TEXTS if text]
    ids = student.tokenizer.encode(texts)
    before = student(ids).detach().numpy()
    student(ids)[:, 0].sum().backward()
    assert all(one.grad is not None for one in student.parameters().values())
    torch.manual_seed(3)
    for value in student.parameters().values():
        value.data += 0.05 * torch.randn_like(value)
    expected = student(ids).detach().numpy()
    assert np.abs(expected - before).max() > 0.01
    student.save(tmp_path / "saved")
    bundle = export_bundle(str(tmp_path / "saved"), tmp_path / "bundle", ExportOptions(kind="dense", max_length=48))
    np.testing.assert_allclose(DenseEncoder.load(bundle.folder).encode(texts), expected, atol=1e-4)


def test_a_dense_student_comes_to_rank_as_bm25_does(tmp_path: Path) -> None:
    """Of Python's documentation: random weights first rank at random; trained, they share far more of the top ten."""
    documents = [one for one in islice(read_source("pydoc:"), 120) if isinstance(one, Document)]
    texts = [one.passage for one in documents]
    small_bert(tmp_path / "bert", texts)
    dense_encoder(tmp_path / "bert", tmp_path / "dense", pooling="mean", normalize=True)
    questions = [" ".join(text.split()[3:9]) for text in texts]
    teacher = load_teacher("bm25", 1.0, questions, texts, tmp_path / "cache", Device())
    assert isinstance(teacher, SparseTeacher)
    student = TrainableDense(str(tmp_path / "dense"), 48)

    def shared() -> float:
        asked, answers = (student(student.tokenizer.encode(one)).detach().numpy() for one in (questions, texts))
        return overlap(asked @ answers.T, teacher)

    before, losses = shared(), list[float]()
    recipe = Recipe(steps=60, batch=32, learning_rate=2e-3, cached=32)
    imitate(student, teacher, questions, texts, recipe, lambda _, loss: losses.append(loss))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    assert shared() > before + 0.1


def test_the_command_makes_a_dense_bundle(tmp_path: Path) -> None:
    """From documents to a bundle that encodes, with both overlaps; a dense teacher is refused."""
    folder = tmp_path / "dense"
    dense_encoder(masked_lm("bert", tmp_path / "bert"), folder, pooling="mean", normalize=True)
    call = ["imitate", "pydoc:", "--documents", "60", "--checkpoint", str(folder), "--out", str(tmp_path / "new")]
    done = CliRunner().invoke(main, [*call, "--teacher", "bm25", "--steps", "3", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert 0 <= told["before"] <= 1 >= told["after"] >= 0
    assert told["questions"] > 0
    bundle = Bundle.open(tmp_path / "new")
    assert bundle.manifest.origin.checkpoint == "dense, trained by osplade imitate to rank as bm25"
    assert DenseEncoder.load(bundle.folder).encode(["read a csv file"]).shape == (1, 32)
    refused = CliRunner().invoke(main, [*call, "--teacher", "minilm-l6"])
    assert refused.exit_code == 1
    assert "is not sparse" in refused.output


def test_a_sparse_checkpoint_is_no_dense_student(tmp_path: Path) -> None:
    """The error says what is missing."""
    with pytest.raises(CheckpointError, match="is not dense"):
        TrainableDense(str(masked_lm("bert", tmp_path / "bert")), 48)
