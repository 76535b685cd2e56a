"""Dead letters: no letter is lost, mixed with another or unreadable, whatever it holds and however a run ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from odd_documents import Abyss, Strange

from opensearch_splade.ingest.dead_letters import DeadLetter, DeadLetterFile
from opensearch_splade.ingest.retried_letters import RetriedLetters
from opensearch_splade.types import Document

FIRST, SECOND = (DeadLetter(f"a:{number}", "why", {"_id": str(number), "text": "a"}, str(number)) for number in (1, 2))


def written(path: Path, *letters: DeadLetter) -> list[bytes]:
    """The lines of the file after these came to it."""
    with DeadLetterFile(path) as file:
        for letter in letters:
            file.add(letter)
    return path.read_bytes().splitlines()


@pytest.mark.parametrize("cut", [1, 10, -1])
def test_half_a_letter_does_not_spoil_the_next(tmp_path: Path, cut: int) -> None:
    """A run that was killed may leave one; the next run's letters stand on lines of their own, and are retried."""
    path = tmp_path / "dead.jsonl"
    whole = written(path, FIRST)[0]
    path.write_bytes(whole + b"\n" + whole[:cut])
    lines = written(path, SECOND)
    assert lines[:2] == [whole, whole[:cut]]
    assert json.loads(lines[2])["id"] == "2"
    with RetriedLetters(path) as letters:
        *documents, half = sorted(letters.records(), key=lambda one: isinstance(one, DeadLetter))
    assert documents == [Document("1", "a"), Document("2", "a")]
    assert isinstance(half, DeadLetter)
    assert half.reason == "The line is no dead letter."


def test_a_file_that_ends_well_is_continued_as_it_is(tmp_path: Path) -> None:
    """No empty lines between runs; one that an editor left is no letter."""
    path = tmp_path / "dead.jsonl"
    written(path, FIRST)
    assert len(written(path, SECOND)) == 2
    path.write_bytes(path.read_bytes() + b"\n \n")
    with RetriedLetters(path) as letters:
        assert list(letters.records()) == [Document("1", "a"), Document("2", "a")]


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        ({"text": "a", "page": float("nan")}, {"text": "a", "page": None}),
        ({"text": "a", 1: 2}, {"text": "a", "1": 2}),
        ({"text": "a", (1, 2): 3}, {"text": "a", "(1, 2)": "3"}),
        ({"text": "a", "when": datetime(2026, 1, 2, tzinfo=UTC)}, {"text": "a", "when": "2026-01-02 00:00:00+00:00"}),
        ({"text": "a", "deep": Abyss(a=1)}, {"text": "a", "deep": {"a": 1}}),
        ({"text": "\ud800"}, {"text": "\ud800"}),
        ({"text": "a", "page": [float("inf"), "\ud800"]}, {"text": "a", "page": "[inf, '\\ud800']"}),
        (float("nan"), None),
        ("plain", "plain"),
    ],
    ids=ascii,
)
def test_what_json_lacks_is_kept(tmp_path: Path, record: Any, kept: Any) -> None:
    """As near as JSON comes to it; every line is valid JSON."""
    (line,) = written(tmp_path / "dead.jsonl", DeadLetter("a:1", "why", record))
    assert json.loads(line, parse_constant=pytest.fail)["record"] == kept


@pytest.mark.parametrize("value", [Strange(), Strange, "nested"], ids=["object", "class", "nested"])
def test_what_nobody_can_say_does_not_stop_a_run(tmp_path: Path, value: Any) -> None:
    """It is told by its type; the rest of the record is kept."""
    if value == "nested":
        for _ in range(100_000):
            value = [value]
    (line,) = written(tmp_path / "dead.jsonl", DeadLetter("a:1", "why", {"text": "a", "odd": value}))
    record = json.loads(line)["record"]
    assert record["text"] == "a"
    assert "Strange" in record["odd"] or record["odd"] == "(list, nested too deeply)"


def test_two_letters_that_are_mended_to_one_id(tmp_path: Path) -> None:
    """The second would replace the first in silence, so it stays a letter."""
    lines = [DeadLetter(f"a:{number}", "Not valid JSON.", f'{{"_id": "x", "text": "{number}"}}') for number in (1, 2)]
    written(tmp_path / "dead.jsonl", *lines)
    with RetriedLetters(tmp_path / "dead.jsonl") as letters:
        first, second = letters.records()
    assert first == Document("x", "1")
    assert isinstance(second, DeadLetter)
    assert second.reason == "This id came before in the same source."


def test_a_line_that_was_not_mended_stays(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, and nesting too deep, are not retried as something that nobody wrote."""
    path = tmp_path / "dead.jsonl"
    nested = '{"text": "a", "deep": ' + "[" * 253 + "]" * 253 + "}"
    bad = [DeadLetter("a:1", "Not valid JSON.", '{"text": "\\xff"}'), DeadLetter("a:2", "Nested too deeply.", nested)]
    written(path, *bad)
    with RetriedLetters(path) as letters:
        assert list(letters.records()) == bad
