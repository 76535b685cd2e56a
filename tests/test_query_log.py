"""Questions of users: out of slow logs as a real node writes them, out of bodies, and out of files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.query_log import LONGEST, asked_by, question_in
from opensearch_splade.evaluation.questions import Question, drawn, from_logs, read_questions

# As OpenSearch 3.6.0 wrote them, both layouts of one search.
PLAIN = (
    "[2026-11-28T20:54:29,225][TRACE][i.s.s.query              ] [local] [products][0] took[107.8micros], "
    "took_millis[0], total_hits[1 hits], stats[], search_type[QUERY_THEN_FETCH], total_shards[1], "
    'source[{"size":3,"query":{"bool":{"must":[{"match":{"t":{"query":"red \\"shoes\\"] née","operator":"OR",'
    '"boost":1.0}}}],"filter":[{"match":{"t":{"query":"red","operator":"OR","boost":1.0}}}],"boost":1.0}}}], '
    "id[a]b], request_id[], "
)
IN_JSON = (
    '{"type": "index_search_slowlog", "timestamp": "2026-11-28T20:54:29,225+0000", "level": "TRACE", "message": '
    '"[products][0]", "took": "107.8micros", "total_shards": "1", "source": "{\\\\\\"size\\\\\\":3,\\\\\\"query\\\\\\":'
    '{\\\\\\"bool\\\\\\":{\\\\\\"must\\\\\\":[{\\\\\\"match\\\\\\":{\\\\\\"t\\\\\\":{\\\\\\"query\\\\\\":\\\\\\"red '
    '\\\\\\\\\\\\\\"shoes\\\\\\\\\\\\\\"] née\\\\\\",\\\\\\"operator\\\\\\":\\\\\\"OR\\\\\\"}}}]}}}", "id": "a]b"  }'
)


@pytest.mark.parametrize("line", [PLAIN, IN_JSON, json.dumps({"message": PLAIN})])
def test_both_layouts_of_a_slow_log_are_read(line: str) -> None:
    """With quotes, a bracket and an accent in the question; what only filters is no part of it."""
    assert question_in(line) == 'red "shoes"] née'


@pytest.mark.parametrize(
    ("body", "question"),
    [
        ({"query": {"match": {"t": "red shoes"}}}, "red shoes"),
        ({"query": {"match_phrase": {"t": {"query": "red  shoes "}}}}, "red shoes"),
        ({"query": {"multi_match": {"query": "red shoes", "fields": ["a", "b"]}}}, "red shoes"),
        ({"query": {"dis_max": {"queries": [{"match": {"a": "shoes"}}, {"match": {"b": "shoes"}}]}}}, "shoes"),
        ({"query": {"bool": {"must": {"match": {"a": "red"}}, "should": [{"match": {"b": "nike"}}]}}}, "red nike"),
        ({"query": {"bool": {"must": [{"match": {"a": "red"}}], "must_not": [{"match": {"a": "blue"}}]}}}, "red"),
        ({"query": {"function_score": {"query": {"match": {"a": "red"}}, "functions": []}}}, "red"),
        ({"query": {"nested": {"path": "p", "query": {"match": {"p.a": "red"}}}}}, "red"),
        (
            {"query": {"query_string": {"query": 'title:red AND (shoes^2 OR boots~1) -blue NOT "green"'}}},
            "red shoes boots",
        ),
        ({"query": {"simple_query_string": {"query": "state-of-the-art +shoes"}}}, "state-of-the-art shoes"),
        ({"query": {"neural_sparse": {"v": {"query_text": "red", "model_id": "m"}}}}, "red"),
        (
            {"query": {"hybrid": {"queries": [{"match": {"a": "red"}}, {"neural": {"v": {"query_text": "red"}}}]}}},
            "red",
        ),
        ({"query": {"term": {"sku": "17"}}}, ""),
        ({"query": {"match_all": {}}, "aggs": {"a": {"filter": {"match": {"a": "red"}}}}}, ""),
        ({"query": "red shoes"}, "red shoes"),
        ({"query": {"match": {"t": "a" * (LONGEST + 1)}}}, ""),
        ({"index": "products"}, ""),
        ([1], ""),
    ],
)
def test_the_question_is_what_was_typed(body: object, question: str) -> None:
    """The texts of full-text clauses, each once, without operators; ids, filters and aggregations are none."""
    assert asked_by(body) == question
    assert question_in(json.dumps(body)) == question
    if isinstance(body, dict):
        assert question_in(json.dumps({"source": json.dumps(body)})) == question
        assert question_in(json.dumps({"source": json.dumps(json.dumps(body))[1:-1]})) == question


@given(st.text(max_size=200))
def test_no_line_ends_it(line: str) -> None:
    """Whatever stands in a log, it has a question or none."""
    assert isinstance(question_in(line), str)
    assert question_in(f"source[{line}") == "" or "{" in line
    typed = " ".join(line.split())
    assert question_in(json.dumps({"query": {"match": {"t": line}}})) == typed


def test_deep_nesting_is_no_question() -> None:
    """Neither a crash nor minutes."""
    assert question_in('{"query":' + '{"bool":{"must":[' * 5_000 + "]}}" * 5_000 + "}") == ""


def test_logs_count_how_often_a_question_was_asked(tmp_path: Path) -> None:
    """Over several files, the most frequent first; a log without a question says what was expected."""
    plain, other, empty = tmp_path / "a.log", tmp_path / "b.jsonl", tmp_path / "empty.log"
    plain.write_text(f"{PLAIN}\n{PLAIN}\n\ngarbage\n", encoding="utf-8")
    other.write_text(f'{IN_JSON}\n{{"query":{{"match":{{"t":"boots"}}}}}}\n', encoding="utf-8")
    questions, log = from_logs([plain, other])
    assert questions == [Question("1", 'red "shoes"] née', 3), Question("2", "boots", 1)]
    assert (log.lines, log.without) == (5, 1)
    empty.write_text("garbage\n", encoding="utf-8")
    with pytest.raises(
        SourceError, match=r"no question was found in 1 lines of .*empty.log: expected search slow logs"
    ):
        from_logs([empty])


def test_files_of_questions_are_read_in_each_form(tmp_path: Path) -> None:
    """One a line with how often it stands there; or with ids, by which judgements name them."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    lines = written("plain.txt", "\ufeffred shoes\n\nboots\nred shoes\n")
    assert read_questions(lines) == [Question("1", "red shoes", 2), Question("2", "boots", 1)]
    ids = [Question("q7", "red shoes"), Question("q8", "boots")]
    assert read_questions(written("q.tsv", "q7\tred shoes\nq8\tboots\n")) == ids
    assert read_questions(written("q.txt", "q7\tred shoes\nq8\tboots\n")) == ids
    assert read_questions(written("q.jsonl", '{"_id":"q7","text":"red shoes"}\n{"_id":"q8","text":"boots"}\n')) == ids
    topics = "<top><num>q7<title>red shoes</top>\n<top><num>q8<title>boots</top>\n"
    assert read_questions(written("topics.txt", topics)) == ids
    with pytest.raises(SourceError, match="holds no question: write one a line"):
        read_questions(written("none.txt", " \n"))


def test_what_is_asked_often_is_drawn_often() -> None:
    """All where they are few; else a draw by frequency, the same for the same seed."""
    questions = [Question(str(number), f"q{number}", count) for number, count in enumerate([900, *[1] * 100])]
    assert drawn(questions, 101) == questions
    found = drawn(questions, 50, seed=1)
    assert found == drawn(questions, 50, seed=1) != drawn(questions, 50, seed=2)
    counts = Counter({one.id: one.count for one in found})
    assert counts.total() == 50
    assert counts["0"] > 35
