"""What users asked as something to learn from: clicks are answers, and questions have one where one stands out."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest

from opensearch_splade.errors import TrainingError
from opensearch_splade.evaluation.clicks import is_click_log
from opensearch_splade.evaluation.collection import Collection
from opensearch_splade.evaluation.collection_split import split_of
from opensearch_splade.evaluation.questions import read_asked
from opensearch_splade.ingest.sources import read_source
from opensearch_splade.training.lessons import gather
from opensearch_splade.training.query_logs import log_pairs
from opensearch_splade.types import Document

BODY = {"query": {"match": {"text": {"query": "wait for a barrier of threads"}}}}


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """A part of Python's documentation."""
    return [one for one in islice(read_source("pydoc:"), 400) if isinstance(one, Document)]


def written(path: Path, text: str) -> Path:
    """The file, packed if its name says so."""
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_every_form_of_what_users_asked_is_read(tmp_path: Path) -> None:
    """A question a line, with ids, in both layouts of a slow log, as bodies, packed: the form is seen in the file."""
    source = json.dumps(BODY)
    plain = f"[2026-11-28T20:54:29,225][TRACE][i.s.s.query] [local] [docs][0] took[1ms], source[{source}], id[]"
    for name, text in (
        ("asked.txt", "wait for a barrier of threads\n"),
        ("asked.txt.gz", "wait for a barrier of threads\n"),
        ("queries.jsonl", json.dumps({"_id": "1", "text": "wait for a barrier of threads"})),
        ("queries.tsv", "1\twait for a barrier of threads\n"),
        ("queries.csv", "query_id,question\n1,wait for a barrier of threads\n"),
        ("slow.log", f"no search\n{plain}\n"),
        ("slow.json", json.dumps({"type": "index_search_slowlog", "source": source})),
        ("bodies.jsonl", source),
        ("said.jsonl", json.dumps({"query": "wait for a barrier of threads"})),
    ):
        path = written(tmp_path / name, text)
        assert not is_click_log(path), name
        assert [one.text for one in read_asked(path)] == ["wait for a barrier of threads"], name


def test_an_answer_must_stand_out(documents: list[Document], tmp_path: Path) -> None:
    """One document's own words find it; words of many documents find none; a copy of the answer is no rival."""
    alone = next(one for one in documents if len(one.text.split()) > 40)
    question = " ".join(alone.text.split()[:12])
    path = written(tmp_path / "asked.txt", f"{question}\n{question.upper()}\nreturn the value\nzzzz\n")
    [pair] = log_pairs([path], documents, language="english")
    assert (pair.query, documents[pair.document], pair.kind) == (question, alone, "log")
    copy = Document("copy", alone.text, alone.title)
    [again] = log_pairs([path], [*documents, copy], language="english")
    assert again.query == question
    rivals = [Document("a", "red shoes that run in snow"), Document("b", "red shoes for a warm evening")]
    path = written(tmp_path / "rivals.txt", "red shoes\n")
    with pytest.raises(TrainingError, match="none has an answer that stands out"):
        log_pairs([path], rivals)


def test_clicks_are_answers(documents: list[Document], tmp_path: Path) -> None:
    """Graded by the rule of click logs, among these documents only, and the half that is for testing is left out."""
    asked = [f"question {number}" for number in range(40)]
    lines = [f"{one},{documents[place].id},1,1,20" for place, one in enumerate(asked)]
    lines += [f"{asked[0]},{documents[50].id},2,0,90", f"{asked[0]},not-there,1,1,20"]
    headed = written(tmp_path / "clicks.csv", "query,document,position,clicked,count\n" + "\n".join(lines) + "\n")
    bare = written(tmp_path / "bare.csv", "\n".join(lines) + "\n")
    assert is_click_log(headed)
    assert is_click_log(bare)
    pairs = log_pairs([headed], documents)
    learned = [place for place, one in enumerate(asked) if split_of(one) == "train"]
    assert [(pair.query, pair.document) for pair in pairs] == [(asked[place], place) for place in learned]
    assert {pair.kind for pair in pairs} == {"judged"}
    assert log_pairs([bare], documents) == pairs


def test_guessed_answers_are_not_held_back_and_measured_questions_not_learned(
    documents: list[Document], tmp_path: Path
) -> None:
    """Questions of a log are trained on, but for those that will be measured."""
    asked = [" ".join(one.text.split()[3:13]) for one in documents[:200]]
    pairs = log_pairs([written(tmp_path / "asked.txt", "\n".join(asked))], documents, language="english")
    assert len(pairs) > 50
    assert [pair.query for pair in pairs] == [
        pair.query for pair in log_pairs([tmp_path / "asked.txt"], documents, language="english")
    ]
    measured = Collection("later", "", {"1": pairs[0].query.upper()}, {"1": {documents[0].id: 1}})
    material = gather(documents, None, measured, 0, pairs)
    learned = [pair.query for pair in material.trained if pair.kind == "log"]
    assert len(learned) > 40
    assert pairs[0].query not in learned
    assert material.held_back
    assert "log" not in {pair.kind for pair in material.held_back}
    assert not {pair.document for pair in material.held_back} & {pair.document for pair in material.trained}
