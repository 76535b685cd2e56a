"""What is learned from: questions without labels, negatives, teachers; nothing that is measured later."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from opensearch_splade.training.negatives import mine
from opensearch_splade.training.schedule import Schedule

from opensearch_splade.evaluation.collection_split import normalised, words
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import Device
from opensearch_splade.training.lexical import Lexical
from opensearch_splade.training.near_duplicates import groups
from opensearch_splade.training.pseudo_queries import make_pairs, split_held_back
from opensearch_splade.training.teacher_cache import load_teacher
from opensearch_splade.training.teachers import SparseTeacher, ensemble, normalise
from opensearch_splade.types import Document


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """A part of Python's documentation."""
    return [one for one in islice(read_source("pydoc:"), 400) if isinstance(one, Document)]


def test_sentences_are_hidden_from_their_documents(documents: list[Document]) -> None:
    """What is asked as a sentence does not stand in the text that is to answer it, and the text is of that document."""
    pairs = make_pairs(documents)
    assert {"title", "first", "span"} <= Counter(pair.kind for pair in pairs).keys()
    for pair in pairs:
        if pair.kind in {"first", "anchor"}:
            assert pair.query not in pair.text
        assert set(words(pair.text)) <= set(words(documents[pair.document].passage)), pair


def test_a_question_has_one_document_and_is_asked_once(documents: list[Document]) -> None:
    """No question stands twice, and the same documents make the same questions."""
    pairs = make_pairs(documents)
    assert max(Counter(normalised(pair.query) for pair in pairs).values()) == 1
    assert make_pairs(documents) == pairs


def test_questions_are_the_same_in_every_process() -> None:
    """Whatever order its sets have: else a run that goes on after a kill would learn from other questions."""
    code = (
        "from itertools import islice\nfrom opensearch_splade.ingest.sources import read_source\n"
        "from opensearch_splade.training.pseudo_queries import make_pairs\n"
        "print(make_pairs(list(islice(read_source('pydoc:'), 1500))))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


def test_what_is_measured_is_not_trained_on(documents: list[Document]) -> None:
    """Neither a question of the evaluation in other letters, nor a long one with one more word."""
    pairs = make_pairs(documents)
    long = next(pair for pair in pairs if len(words(pair.query)) > 12)
    short = next(pair for pair in pairs if pair.kind == "title")
    left = make_pairs(documents, [short.query.upper() + "?", long.query + " today"])
    gone = {pair.query for pair in pairs} - {pair.query for pair in left}
    assert {short.query, long.query} <= gone
    assert len(gone) < len(pairs) / 20


def test_held_back_documents_are_not_trained_on(documents: list[Document]) -> None:
    """A held-back document has one question, and none of its others is trained on."""
    trained, held = split_held_back(make_pairs(documents), 0.2, 30)
    assert len(held) == 30
    assert len({pair.document for pair in held}) == 30
    assert not {pair.document for pair in held} & {pair.document for pair in trained}


def test_copies_are_found_and_others_are_not() -> None:
    """A text with two words changed is in the group of the first; texts about other things are alone."""
    text = " ".join(f"word{place} of the text" for place in range(40))
    changed = text.replace("word7 ", "other ").replace("word30 ", "other ")
    other = " ".join(f"thing{place} in a list" for place in range(40))
    assert groups([other, text, changed, "", other[:80]]).tolist() == [0, 1, 1, 3, 4]


def test_bm25_is_a_dot_product() -> None:
    """By hand, of two documents of like length: Lucene's idf and saturation; an unknown word counts nothing."""
    lexical = Lexical(["fox fox dog", "cat dog bird"])
    teacher = SparseTeacher(1.0, lexical.queries(["fox unicorn"]), lexical.documents)
    idf = np.log1p((2 - 1 + 0.5) / 1.5)
    np.testing.assert_allclose(teacher.scores([0], [0, 1]), [[idf * 2 / (2 + 1.2), 0]], rtol=1e-5)


def test_negatives_are_no_answers(documents: list[Document]) -> None:
    """Neither the answer nor a copy of it, and they are what the model ranks high."""
    pairs = make_pairs(documents)[:40]
    texts = [document.passage for document in documents]
    copies = groups([*texts, texts[pairs[0].document]])
    lexical = Lexical([*texts, texts[pairs[0].document]])
    teacher = SparseTeacher(1.0, lexical.queries([pair.query for pair in pairs]), lexical.documents)
    found = mine([teacher], [pair.document for pair in pairs], copies, 3)
    ranked = list(teacher.best(20))
    for row, pair in enumerate(pairs):
        chosen = found[row][found[row] >= 0].tolist()
        assert not {copies[place] for place in chosen} & {copies[pair.document]}
        assert set(chosen) <= set(ranked[row])
    assert (found >= 0).mean() > 0.5


def test_teachers_are_read_from_disk_the_second_time(tmp_path: Path) -> None:
    """The same teacher and texts give the same scores without its model; other texts are not taken for them."""
    asked, texts = ["read a file", "start a thread"], ["open and read a file", "a thread is started", "sort a list"]
    made = [
        load_teacher(name, 1.0, asked, texts, tmp_path, Device()) for name in ("bm25", "minilm-l6", "splade-tiny-idf")
    ]
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = [
        load_teacher(name, 1.0, asked, texts, tmp_path, Device()) for name in ("bm25", "minilm-l6", "splade-tiny-idf")
    ]
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    for one, other in zip(made, again, strict=True):
        scores = one.scores([0, 1], [0, 1, 2])
        np.testing.assert_array_equal(scores, other.scores([0, 1], [0, 1, 2]))
        assert scores.argmax(1).tolist() == [0, 1]
    load_teacher("minilm-l6", 1.0, asked, texts[:2], tmp_path, Device())
    assert len(list(tmp_path.iterdir())) > len(written)
    mixed = ensemble(made, [0, 1], [0, 1, 2])
    assert mixed.min() >= 0
    assert mixed.max() <= 1 + 1e-6


def test_a_teacher_without_an_opinion_says_nothing() -> None:
    """Equal scores become zeros; others reach from 0 to 1, or have mean 0 and deviation 1."""
    scores = np.array([[3, 3, 3], [0, 1, 4]], np.float32)
    np.testing.assert_allclose(normalise(scores, "min-max"), [[0, 0, 0], [0, 0.25, 1]])
    np.testing.assert_allclose(normalise(scores, "z")[1].std(), 1, rtol=1e-6)


def test_a_schedule_is_a_function_of_seed_and_step() -> None:
    """Asked for any step in any order it says the same; an epoch has each pair once; a batch is of like length."""
    lengths = np.random.default_rng(5).integers(8, 128, 640).tolist()
    one, other = Schedule(lengths, 16, 3), Schedule(lengths, 16, 3)
    steps = [one.at(step) for step in range(2 * one.batches)]
    assert [other.at(step) for step in (70, 3, 41)] == [steps[70], steps[3], steps[41]]
    for epoch in (steps[: one.batches], steps[one.batches :]):
        assert sorted(place for batch in epoch for place in batch) == list(range(640))
    spread = np.mean([np.ptp([lengths[place] for place in batch]) for batch in steps])
    assert spread < 30
