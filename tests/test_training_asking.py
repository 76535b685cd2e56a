"""How questions are weighed while training: by a table, or by the student itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from checkpoints import TEXTS, masked_lm
from pydantic import ValidationError
from test_training import RECIPE, small_bert, stopped_and_resumed, trainer

from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models.encoder import SparseEncoder
from opensearch_splade.onnx_models.export import ExportOptions, export_bundle
from opensearch_splade.training.asking import inference_free, question_ids, siamese
from opensearch_splade.training.recipe import Recipe
from opensearch_splade.training.trainable import TrainableEncoder
from opensearch_splade.training.trainer import STATE, StepReport
from opensearch_splade.training.training_state import load_state
from opensearch_splade.types import Document

pytestmark = pytest.mark.export
SIAMESE = RECIPE.model_copy(update={"kind": "siamese", "steps": 30, "watch_every": 15})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT that knows the words of Python's documentation."""
    texts = [
        one.passage for one, _ in zip(read_source("pydoc:"), range(150), strict=False) if isinstance(one, Document)
    ]
    return small_bert(tmp_path_factory.mktemp("student") / "student", texts)


def test_a_table_is_looked_up_and_learns(tmp_path: Path) -> None:
    """Each distinct token has the table's weight once, some columns are columns of all, and the gradient is a count."""
    import torch

    table = torch.arange(1.0, 9.0, requires_grad=True)
    asked = [[1, 4], [], [4]]
    weights = inference_free(table, asked)
    assert weights.tolist() == [[0, 2, 0, 0, 5, 0, 0, 0], [0] * 8, [0, 0, 0, 0, 5, 0, 0, 0]]
    columns = torch.tensor([4, 0])
    assert torch.equal(inference_free(table, asked, columns), weights[:, columns])
    weights.sum().backward()
    assert table.grad is not None
    assert table.grad.tolist() == [0, 1, 0, 0, 2, 0, 0, 0]
    assert inference_free(table, [[], []]).sum() == 0
    encoder = TrainableEncoder(str(masked_lm("bert", tmp_path / "bert")), 48)
    assert all(ids == sorted(set(ids)) for ids in question_ids(encoder, TEXTS, "inference-free"))


def test_siamese_questions_are_those_of_the_bundle(tmp_path: Path) -> None:
    """What the student asks while it is trained is what its exported bundle will ask."""
    encoder = TrainableEncoder(str(masked_lm("bert", tmp_path / "bert")), 48)
    found = siamese(encoder, question_ids(encoder, TEXTS, "siamese")).detach().numpy()
    bundle = export_bundle(str(tmp_path / "bert"), tmp_path / "bundle", ExportOptions(kind="siamese", max_length=48))
    expected = np.zeros_like(found)
    for row, (ids, weights) in zip(expected, SparseEncoder.load(bundle.folder).encode_queries(TEXTS), strict=True):
        row[ids] = weights
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_siamese_student_learns_and_resumes(checkpoint: Path, tmp_path: Path) -> None:
    """The loss falls; a run that stopped half-way ends with the weights of one that did not."""
    told = list[StepReport]()
    trainer(checkpoint, tmp_path / "whole", SIAMESE).run(told.append)
    losses = [report.loss for report in told]
    assert sum(losses[-8:]) < 0.9 * sum(losses[:8])
    resumed = stopped_and_resumed(checkpoint, tmp_path / "half", SIAMESE, 20)
    assert resumed.step == 15
    resumed.run()
    found, expected = (load_state(tmp_path / name / STATE)[0] for name in ("half", "whole"))
    assert all(bool((found[key] == expected[key]).all()) for key in expected)


def test_a_siamese_student_has_no_table_to_learn() -> None:
    """The two options contradict each other, and the recipe says so."""
    with pytest.raises(ValidationError, match="has no table"):
        Recipe(kind="siamese", learned_queries=True)
