"""Thresholds and evaluation files: what lets a pipeline fail, and on what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from opensearch_splade.errors import MeasureError, SourceError
from opensearch_splade.evaluation.evaluation_file import evaluation_to_json, read_evaluation, write_evaluation
from opensearch_splade.evaluation.measures import measure_each
from opensearch_splade.evaluation.results import Evaluation, Latency, SystemResult
from opensearch_splade.evaluation.significance import compare_all
from opensearch_splade.evaluation.thresholds import Threshold, below, no_regression

QUESTIONS = [f"q{number}" for number in range(20)]


def evaluation(**places: Mapping[str, int]) -> Evaluation:
    """Systems by name, with the place of the one relevant document for each question, else the first."""
    qrels = {question: {"right": 1} for question in QUESTIONS}
    systems = []
    for name, at in places.items():
        run = {question: ranking(at.get(question, 1)) for question in QUESTIONS}
        measured = measure_each(run, qrels, ["RR@10", "Judged@10"])
        systems.append(SystemResult(name, f"mode {name}", run, measured, Latency(1.5, 3.0, 1.0), "here/train"))
    queries = {question: f"what is {question}?" for question in QUESTIONS}
    comparisons = compare_all(systems, systems[0].name, ["RR@10"])
    return Evaluation("here", "test", "people", "docs", "3.3.0", queries, qrels, systems, comparisons, ["a note"])


def ranking(place: int) -> dict[str, float]:
    """The relevant document at this place."""
    return {f"x{rank}" if rank != place else "right": 1 / rank for rank in range(1, place + 1)}


def test_an_evaluation_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every field, every digit; without runs they are empty."""
    one = evaluation(bm25={"q1": 3}, knn={"q2": 7})
    write_evaluation(tmp_path / "e.json", one)
    assert read_evaluation(tmp_path / "e.json") == one
    write_evaluation(tmp_path / "small.json", one, runs=False)
    assert read_evaluation(tmp_path / "small.json") == replace(one, systems=[replace(s, run={}) for s in one.systems])
    assert (tmp_path / "small.json").stat().st_size < (tmp_path / "e.json").stat().st_size
    bare = replace(one, systems=[replace(one.systems[0], latency=None)], comparisons=[])
    write_evaluation(tmp_path / "e.json", bare)
    assert read_evaluation(tmp_path / "e.json") == bare


def test_machines_read_the_means() -> None:
    """Beside the format's name and version."""
    one = evaluation(bm25={"q1": 2})
    told = orjson.loads(evaluation_to_json(one))
    assert (told["format"], told["version"], told["systems"][0]["measures"]["RR@10"]) == (
        "osplade-evaluation",
        1,
        0.975,
    )


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda told: told.pop(key)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_without("format"), "is not an evaluation"),
        (lambda told: told.update(version=2), "has version 2 .* reads 1"),
        (_without("qrels"), "qrels is wrong"),
        (lambda told: told.update(systems=5), "systems is wrong"),
        (lambda told: told["systems"].append(5), "systems.1"),
        (lambda told: told["systems"][0].pop("per_question"), r"systems\.0\.per_question is wrong"),
        (lambda told: told["systems"][0]["per_question"]["RR@10"].update(q1="high"), r"RR@10\.q1 is wrong"),
    ],
)
def test_a_damaged_evaluation_is_named(tmp_path: Path, damage: Callable[[dict[str, Any]], None], reason: str) -> None:
    """File and field."""
    told = orjson.loads(evaluation_to_json(evaluation(bm25={})))
    damage(told)
    path = tmp_path / "e.json"
    path.write_bytes(orjson.dumps(told))
    with pytest.raises(SourceError, match=rf"e\.json.*{reason}"):
        read_evaluation(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_what_is_no_evaluation_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever it is."""
    path = tmp_path / "e.json"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"e\.json is not"):
        read_evaluation(path)
    with pytest.raises(SourceError, match=r"none\.json cannot be read"):
        read_evaluation(tmp_path / "none.json")
    with pytest.raises(SourceError, match=r"cannot be written"):
        write_evaluation(tmp_path, evaluation(bm25={}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nDCG@10=.70", Threshold("nDCG@10", 0.7)),
        ("MAP=0.3", Threshold("AP", 0.3)),
        ("bm25:RR@10=1", Threshold("RR@10", 1.0, "bm25")),
        ("bm25+knn:rrf:P(rel=2)@5=.1", Threshold("P(rel=2)@5", 0.1, "bm25+knn:rrf")),
        ("neural-sparse (siamese): AP = .2", Threshold("AP", 0.2, "neural-sparse (siamese)")),
    ],
)
def test_thresholds_are_read(text: str, expected: Threshold) -> None:
    """With and without a system, whose name may have colons too."""
    assert Threshold.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nDCG@10", "is not a threshold"),
        ("=.7", "is not a threshold"),
        ("nDCG@10=high", "is not a threshold"),
        ("nDCG@10=nan", "is not a threshold"),
        ("nDGC@10=.7", "nDGC"),
        ("bm25:nDGC@10=.7", "'nDGC@10' is not a measure"),
    ],
)
def test_a_bad_threshold_is_named(text: str, reason: str) -> None:
    """With what it should be."""
    with pytest.raises(MeasureError, match=reason):
        Threshold.parse(text)


def test_a_mean_below_the_threshold_is_told() -> None:
    """Of the system that was named, else of the best; what is shown as equal is equal."""
    one = evaluation(bm25={"q1": 2}, knn={"q1": 4, "q2": 4})
    assert below(one, [Threshold("RR@10", 0.975), Threshold("RR@10", 0.925, "knn")]) == []
    assert below(one, [Threshold("RR@10", 0.98)]) == ["bm25, the best, has RR@10 0.9750, below the 0.98 asked for."]
    assert below(one, [Threshold("RR@10", 0.95, "knn")]) == ["knn has RR@10 0.9250, below the 0.95 asked for."]
    third = evaluation(bm25=dict.fromkeys(QUESTIONS, 3))
    assert below(third, [Threshold("RR@10", 0.3333)]) == []
    with pytest.raises(MeasureError, match="no system 'dense'"):
        below(one, [Threshold("RR@10", 0.9, "dense")])
    with pytest.raises(MeasureError, match="AP was not measured"):
        below(one, [Threshold("AP", 0.9)])


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    """A file of two systems that find everything at once."""
    write_evaluation(tmp_path / "baseline.json", evaluation(bm25={}, knn={}), runs=False)
    return tmp_path / "baseline.json"


def test_no_regression_where_nothing_or_little_changed(baseline: Path) -> None:
    """A lower mean on five questions may be chance (p = .0625); a better one or another system is none either."""
    assert no_regression(evaluation(bm25={}, knn={}, new={"q1": 9}), baseline) == []
    assert no_regression(evaluation(bm25=dict.fromkeys(QUESTIONS[:5], 2), knn={}), baseline) == []


def test_a_regression_is_told(baseline: Path) -> None:
    """Six questions that all became worse are p = 2/64."""
    (found,) = no_regression(evaluation(bm25=dict.fromkeys(QUESTIONS[:6], 2), knn={}), baseline)
    assert found == "RR@10 of bm25 fell from 1.0000 to 0.8500 on 20 questions (p = 0.031)."


def test_better_is_no_regression(tmp_path: Path) -> None:
    """However sure."""
    write_evaluation(tmp_path / "b.json", evaluation(bm25=dict.fromkeys(QUESTIONS, 3)))
    assert no_regression(evaluation(bm25={}), tmp_path / "b.json") == []
    assert no_regression(evaluation(bm25={}), tmp_path / "b.json", tolerance=0.0) == []


def test_a_tolerance_takes_the_place_of_the_test(baseline: Path) -> None:
    """One question from first to second place costs .025."""
    now = evaluation(bm25={"q1": 2}, knn={})
    assert no_regression(now, baseline, tolerance=0.025) == []
    (found,) = no_regression(now, baseline, tolerance=0.02)
    assert found == "RR@10 of bm25 fell from 1.0000 to 0.9750 on 20 questions (more than 0.02)."
    six_third = evaluation(bm25=dict.fromkeys(QUESTIONS[:6], 3), knn={})
    assert no_regression(six_third, baseline, tolerance=0.2) == []  # .2, and a little more as the sum of floats


def test_only_questions_of_both_with_the_same_judgements_are_compared(baseline: Path) -> None:
    """What was judged anew meanwhile says nothing about the system."""
    now = evaluation(bm25=dict.fromkeys(QUESTIONS[:6], 2), knn={})
    qrels = {question: {"right": 1, "other": 1} if question == "q0" else {"right": 1} for question in QUESTIONS[:19]}
    assert no_regression(replace(now, qrels=qrels), baseline) == []  # five of six are left
    (found,) = no_regression(replace(now, qrels=qrels), baseline, tolerance=0.0)
    assert "on 18 questions" in found


def test_what_is_no_longer_measured_is_told(baseline: Path) -> None:
    """A gate that nothing goes through any more is no gate."""
    (found,) = no_regression(evaluation(bm25={}), baseline)
    assert found.startswith("knn is in the baseline and was not measured now")
    now = evaluation(bm25={}, knn={})
    less = [replace(system, per_question={"AP": {}}) for system in now.systems]
    assert [told[:17] for told in no_regression(replace(now, systems=less), baseline)] == [
        "RR@10 of bm25 is ",
        "RR@10 of knn is i",
    ]


def test_a_baseline_of_something_else_is_refused(baseline: Path) -> None:
    """Other collection, other split, no common question."""
    now = evaluation(bm25={}, knn={})
    with pytest.raises(MeasureError, match=r"is of here \(test\), and this is there \(test\)"):
        no_regression(replace(now, collection="there"), baseline)
    with pytest.raises(MeasureError, match=r"this is here \(train\)"):
        no_regression(replace(now, split="train"), baseline)
    with pytest.raises(MeasureError, match="no question in common"):
        no_regression(replace(now, qrels={"other": {"a": 1}}), baseline)
