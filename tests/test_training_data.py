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

from opensearch_splade.evaluation.collection_split import normalised, words
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.onnx_models import Device
from opensearch_splade.training.columns import Columns
from opensearch_splade.training.lexical import Lexical
from opensearch_splade.training.near_duplicates import groups
from opensearch_splade.training.nearest import nearest
from opensearch_splade.training.neighbourhoods import Neighbourhoods
from opensearch_splade.training.pseudo_queries import Pair, make_pairs, split_held_back
from opensearch_splade.training.shown import shown
from opensearch_splade.training.teacher_cache import load_teacher
from opensearch_splade.training.teachers import SparseTeacher, ensemble, normalise
from opensearch_splade.types import Document


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """A part of Python's documentation."""
    return [one for one in islice(read_source("pydoc:"), 400) if isinstance(one, Document)]


def test_sentences_are_hidden_from_their_documents(documents: list[Document]) -> None:
    """What is asked as a title or sentence can be taken out of its text; spans and words stay; nothing is added."""
    pairs = make_pairs(documents)
    assert Counter(pair.kind for pair in pairs).keys() == {"title", "sentence", "span", "words"}
    for pair in pairs:
        document = documents[pair.document]
        text, gone = shown(document, [pair])
        assert (text == document.passage) == (not gone)
        assert not gone or pair.kind in {"title", "sentence"}
        assert not (gone and pair.kind == "sentence") or pair.query not in text
        assert set(words(text)) <= set(words(document.passage)), pair
    hidden = [pair for pair in pairs if shown(documents[pair.document], [pair])[1]]
    assert len(hidden) > len(documents)


def test_a_text_is_never_hidden_whole() -> None:
    """Of two sentences that are asked, the second stays where too little would be left."""
    document = Document("a", "One two three four five six. Seven eight nine ten eleven twelve thirteen.", "A title")
    asked = [Pair("One two three four five six.", 0, "sentence"), Pair("A title", 0, "title")]
    assert shown(document, asked) == ("A title Seven eight nine ten eleven twelve thirteen.", [0])


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


def test_near_documents_are_no_answers(documents: list[Document]) -> None:
    """Neither the answer nor a copy of it, and they are what the model ranks high, best first."""
    pairs = make_pairs(documents)[:40]
    texts = [document.passage for document in documents]
    copies = groups([*texts, texts[pairs[0].document]])
    lexical = Lexical([*texts, texts[pairs[0].document]])
    teacher = SparseTeacher(1.0, lexical.queries([pair.query for pair in pairs]), lexical.documents)
    found = nearest([teacher], [pair.document for pair in pairs], copies, 3)
    ranked = list(teacher.best(20))
    for row, pair in enumerate(pairs):
        chosen = found[row][found[row] >= 0].tolist()
        assert not {copies[place] for place in chosen} & {copies[pair.document]}
        assert chosen == [place for place in ranked[row] if copies[place] != copies[pair.document]][: len(chosen)]
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


def test_batches_are_a_function_of_seed_and_step(documents: list[Document]) -> None:
    """Asked for any step in any order it says the same; each question's answer is in its batch, near ones beside it."""
    pairs = make_pairs(documents)
    begin = list(range(0, len(pairs), 2))
    near = np.random.default_rng(5).integers(0, len(documents), (len(begin), 20)).astype(np.int32)
    near[:, 12:] = -1

    def made(seed: int) -> Neighbourhoods:
        return Neighbourhoods(pairs, begin, near, size=4, neighbours=5, questions=50, seed=seed)

    steps = [made(3).at(step) for step in range(40)]
    one = made(3)
    assert [one.at(step) for step in (30, 3, 21)] == [steps[30], steps[3], steps[21]]
    assert made(4).at(3) != steps[3]
    for batch in steps:
        assert {pairs[place].document for place in batch.pairs} <= set(batch.documents)
        assert len(set(batch.pairs)) == len(batch.pairs) <= 50
        assert len(set(batch.documents)) == len(batch.documents) <= 4 * 6
        for place in batch.pairs[:4]:
            row = near[begin.index(place)]
            assert len(set(row.tolist()) & set(batch.documents)) >= 4


def test_some_columns_stand_for_all() -> None:
    """The questions' own come first and count once; a sum over the drawn ones is right on average."""
    values = np.random.default_rng(1).random(1000).astype(np.float32)
    asked = [[7, 3], [900, 7]]
    whole = Columns.drawn(asked, 1000, None, np.random.default_rng(0))
    assert sorted(whole.ids.tolist()) == list(range(1000))
    assert set(whole.counts.tolist()) == {1.0}
    sums = []
    for seed in range(200):
        some = Columns.drawn(asked, 1000, 50, np.random.default_rng(seed))
        assert some.ids[:3].tolist() == [3, 7, 900]
        assert len(set(some.ids.tolist())) == 53
        sums.append(float((values[some.ids] * some.counts.numpy()).sum()))
    assert np.mean(sums) == pytest.approx(values.sum(), rel=0.02)
