"""A cross-encoder as a teacher: the scores of its model, each computed once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import masked_lm, sequence_classifier

from opensearch_splade.errors import CheckpointError, TrainingError
from opensearch_splade.onnx_models import Device
from opensearch_splade.training.cross_encoder import CROSS_ENCODER, CrossEncoderTeacher, pair_seconds
from opensearch_splade.training.nearest import nearest
from opensearch_splade.training.teacher_cache import load_teacher
from opensearch_splade.training.teachers import ensemble

pytestmark = pytest.mark.export

ASKED = ["read a csv file", "wait until threads finish"]
TEXTS = ["read and write the csv file", "a thread runs until finish", "print a number", "read and write the csv file"]


@pytest.fixture(scope="module")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of such a teacher."""
    return f"{CROSS_ENCODER}{sequence_classifier(tmp_path_factory.mktemp('cross') / 'model')}"


def load(name: str, cache: Path, asked: list[str] = ASKED, texts: list[str] = TEXTS) -> CrossEncoderTeacher:
    """The teacher, as a run loads it."""
    teacher = load_teacher(name, 1.0, asked, texts, cache, Device())
    assert isinstance(teacher, CrossEncoderTeacher)
    return teacher


def rows(cache: Path) -> int:
    """Pairs on disk."""
    [path] = cache.glob("*.sqlite")
    with sqlite3.connect(path) as database:
        (count,) = database.execute("SELECT count(*) FROM scores").fetchone()
    database.close()
    return int(count)


def test_scores_are_the_models_logits(name: str, tmp_path: Path) -> None:
    """Of question and document together, as torch gives them, and not squeezed by a sigmoid."""
    import torch
    import transformers

    folder = name.removeprefix(CROSS_ENCODER)
    model = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = tokenizer([(one, other) for one in ASKED for other in TEXTS], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model(**given).logits.reshape(len(ASKED), len(TEXTS)).numpy()
    found = load(name, tmp_path).scores([0, 1], [0, 1, 2, 3])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(found[:, :3], axis=1).min() > 1e-3
    np.testing.assert_array_equal(found[:, 0], found[:, 3])
    np.testing.assert_array_equal(load(name, tmp_path).scores([1], [2, 0]), found[[1]][:, [2, 0]])


def test_a_pair_is_scored_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is new is asked of the model, also by another run; equal texts are one; another model has its own."""
    from sentence_transformers import CrossEncoder

    first = load(name, tmp_path).scores([0], [0, 1, 3])
    assert rows(tmp_path) == 2
    asked: list[Any] = []
    plain = CrossEncoder.predict

    def counted(self: Any, pairs: Any, **options: Any) -> Any:
        asked.extend(pairs)
        return plain(self, pairs, **options)

    monkeypatch.setattr(CrossEncoder, "predict", counted)
    np.testing.assert_array_equal(load(name, tmp_path).scores([0], [0, 1, 3]), first)
    assert not asked
    load(name, tmp_path, [ASKED[0]], [*TEXTS, "another text"]).scores([0], [4, 0])
    assert asked == [(ASKED[0], "another text")]
    assert rows(tmp_path) == 3
    other = sequence_classifier(tmp_path / "other", seed=2)
    assert not np.array_equal(load(f"{CROSS_ENCODER}{other}", tmp_path).scores([0], [0, 1, 3]), first)


def test_what_fails_half_way_leaves_nothing_half(name: str, tmp_path: Path) -> None:
    """Scores of a step come in one piece, and a damaged file is named with its remedy."""
    teacher = load(name, tmp_path)
    teacher.scores([0], [0])

    def cut() -> Any:
        yield b"query", b"one", 1.0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        teacher._scores.add(cut())
    assert rows(tmp_path) == 1
    [path] = tmp_path.glob("*.sqlite")
    path.write_bytes(b"no database, but long enough to be taken for one" * 100)
    with pytest.raises(TrainingError, match="remove it"):
        teacher.scores([0], [0])


def test_it_teaches_beside_others_but_does_not_mine(name: str, tmp_path: Path) -> None:
    """One opinion among several, on their scale; it ranks no collection, and says who does."""
    teachers = [load(name, tmp_path), load_teacher("bm25", 1.0, ASKED, TEXTS, tmp_path, Device())]
    mixed = ensemble(teachers, [0, 1], [0, 1, 2])
    assert mixed.min() >= 0
    assert mixed.max() <= 1 + 1e-6
    with pytest.raises(TrainingError, match="mine with bm25"):
        nearest(teachers, [0, 1], np.arange(4), 2)
    assert pair_seconds({name: 1.0, "bm25": 1.0}, [(ASKED[0], TEXTS[0])], Device()) > 0
    assert pair_seconds({"bm25": 1.0}, [(ASKED[0], TEXTS[0])], Device()) == 0


def test_what_is_no_cross_encoder_is_refused(tmp_path: Path) -> None:
    """No folder at all, a model without a trained head, one with several labels, pickled weights."""
    pickled = sequence_classifier(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    for folder, why in (
        (tmp_path / "nothing", "is no cross-encoder"),
        (masked_lm("bert", tmp_path / "bert"), "no trained head"),
        (sequence_classifier(tmp_path / "labels", 3), "3 labels"),
        (pickled, "Pickled weights are not loaded"),
    ):
        with pytest.raises(CheckpointError, match=why):
            load(f"{CROSS_ENCODER}{folder}", tmp_path / "cache")
