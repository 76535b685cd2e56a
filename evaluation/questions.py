"""Questions: the users' own, from a file or from logs, with how often each was asked."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.collection_files import kind_of, text_lines
from opensearch_splade.evaluation.collection_queries import read_queries
from opensearch_splade.evaluation.query_log import BODY, QueryLog

_TABLES = {".jsonl", ".ndjson", ".csv", ".tsv"}


@dataclass(frozen=True, slots=True)
class Question:
    """One of them.

    Attributes:
        id: By which judgements name it; a number where the file has no ids.
        text: What was asked.
        count: How often.
    """

    id: str
    text: str
    count: int = 1


def read_questions(path: Path) -> list[Question]:
    """Questions of a file: one a line, or with ids as ``read_queries`` takes them.

    Raises:
        SourceError: It cannot be read, or holds no question.
    """
    lines = [line.strip() for line in text_lines(path)] if kind_of(path) not in _TABLES else []
    first = next(filter(None, lines), "")
    if kind_of(path) in _TABLES or "\t" in first or first.startswith("<"):
        found = [Question(id_, text) for id_, text in read_queries(path).items()]
    else:
        found = _numbered(Counter(filter(None, lines)))
    if not found:
        raise SourceError(f"{path} holds no question: write one a line, or an id, a tab and a question.")
    return found


def read_asked(path: Path) -> list[Question]:
    """Questions of a file or of a log, whichever it is.

    A log has ``source[{…}]`` in a line, or JSON lines that are no questions with ``_id`` and ``text``.

    Raises:
        SourceError: It cannot be read, or holds no question.
    """
    return from_logs([path])[0] if _is_log(path) else read_questions(path)


def _is_log(path: Path) -> bool:
    if kind_of(path) in {".csv", ".tsv"}:
        return False
    first = next((line for line in text_lines(path) if line.strip()), "")
    if not first.lstrip().startswith("{"):
        return any(BODY.search(line) for line in text_lines(path))
    try:
        return not {"_id", "text"} <= json.loads(first).keys()
    except ValueError:
        return False


def from_logs(paths: Sequence[Path]) -> tuple[list[Question], QueryLog]:
    """Questions of logs, the most frequent first, and what was found there.

    Raises:
        SourceError: One cannot be read, or none holds a question.
    """
    log = QueryLog()
    for path in paths:
        log.read(path)
    if not log.questions:
        names = ", ".join(map(str, paths))
        raise SourceError(
            f"no question was found in {log.lines:,} lines of {names}: expected search slow logs (source[{{…}}]) or "
            "one search body a line, with match, multi_match or query_string in it."
        )
    return _numbered(log.questions), log


def _numbered(counts: Mapping[str, int]) -> list[Question]:
    ordered = sorted(counts.items(), key=lambda each: -each[1])
    return [Question(str(number), text, count) for number, (text, count) in enumerate(ordered, start=1)]


def drawn(questions: Sequence[Question], most: int, seed: int = 0) -> list[Question]:
    """All of them, or so many drawn as users ask them: by frequency, with replacement.

    Args:
        questions: With how often each was asked.
        most: Draws; what is drawn several times comes once, with their number as its count.
        seed: The same gives the same.
    """
    if len(questions) <= most:
        return list(questions)
    random_ = random.Random(seed)  # noqa: S311 - no secret
    counts = Counter(random_.choices(range(len(questions)), [each.count for each in questions], k=most))
    return [replace(questions[place], count=count) for place, count in sorted(counts.items())]
