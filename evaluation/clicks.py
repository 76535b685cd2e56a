"""Clicks: a search log as graded judgements, by a rule that is stated and may be changed.

People click what stands on top, so a click is worth more the less its position is looked at. The *examination model*
says how likely a position is looked at: ``1 / position ** eta`` (Joachims, Swaminathan and Schnabel, "Unbiased learning
to rank with biased feedback", WSDM 2017; the inverse propensity is Wang, Bendersky, Metzler and Najork, "Learning to
rank with selection bias in personal search", SIGIR 2016). Of a question and a document

    relevance = clicks / examined,  examined = sum over impressions of 1 / position ** eta

which is the mean of clicks weighted by their inverse propensity, each impression counted as much as it was looked at:
the plain mean lets one click far down outvote hundreds of impressions on top, since its variance goes with the weight.

Grades are the number of thresholds that the relevance reaches. A pair that was examined less than ``least`` times is
left unjudged, and a question none of whose documents gets a grade is left out: it says nothing. What the logged
engine never showed was never clicked; engines that find other documents are judged too low, as judged@k shows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.collection_files import byte_lines, columns, kind_of, rows
from opensearch_splade.evaluation.collection_split import normalised

_NAMES = {
    "query": ("query", "question", "query-text", "text"),
    "document": ("document", "document-id", "doc-id", "docid", "docno", "doc"),
    "position": ("position", "rank"),
    "clicked": ("clicked", "click"),
    "clicks": ("clicks",),
    "count": ("count", "impressions"),
}
_FLAGS = {"1": 1, "true": 1, "yes": 1, "0": 0, "false": 0, "no": 0}
_EXPECTED = "expected query, document, position from 1, clicked (0 or 1) or clicks, and perhaps count"
_LARGEST = 2**53


@dataclass(frozen=True, slots=True)
class ClickRule:
    """How clicks become grades.

    Attributes:
        eta: Of the examination model ``1 / position ** eta``; 0 believes that all positions are looked at.
        least: Examined impressions that a pair needs to be judged.
        grades: Relevance from which on grade 1, 2, … is given; ascending, above 0.

    Raises:
        ValueError: A part is out of range.
    """

    eta: float = 1.0
    least: float = 10.0
    grades: tuple[float, ...] = (0.1, 0.3, 0.6)

    def __post_init__(self) -> None:
        ascending = all(low < high for low, high in zip((0.0, *self.grades), self.grades, strict=False))
        if not (0 <= self.eta <= 10 and 0 < self.least < math.inf and self.grades and ascending):
            raise ValueError("eta is 0 to 10, least above 0, grades ascending and above 0")

    @classmethod
    def from_json(cls, values: object, place: str) -> ClickRule:
        """What ``collection.json`` holds under ``clicks``.

        Raises:
            SourceError: It is no rule.
        """
        try:
            if not isinstance(values, dict):
                raise TypeError("it is no object")
            parts: dict[str, Any] = {
                name: tuple(map(float, v)) if name == "grades" else float(v) for name, v in values.items()
            }
            return cls(**parts)
        except (TypeError, ValueError) as error:
            raise SourceError(
                f'{place}: no rule for clicks ({error}). Example: {{"eta": 1, "least": 10, "grades": [0.1, 0.3, 0.6]}}.'
            ) from error

    def grade(self, clicks: float, examined: float) -> int:
        """The grade of a pair."""
        return sum(clicks >= threshold * examined for threshold in self.grades)


def read_clicks(path: Path, rule: ClickRule) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Query id to text, and query id to document id to grade. Questions are one where their normalised text is.

    A row is an impression: query (its text), document, position (from 1), clicked (0 or 1), by choice count
    (impressions that the row stands for, 1 by default). Or a sum: ``clicks`` for ``clicked``, of ``count`` impressions.
    Tables may have a header, in any order; JSON lines have these names as keys.

    Raises:
        SourceError: It cannot be read; says which line and what is expected there.
    """
    texts: dict[str, str] = {}
    sums: dict[str, dict[str, list[float]]] = {}
    for line, values in _records(path):
        try:
            query, document, position, clicks, count = _parsed(values)
        except ValueError as error:
            raise SourceError(f"{path.name}:{line}: {_EXPECTED} ({error}).") from error
        text = normalised(query)
        identity = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
        texts[identity] = min(query, texts.get(identity, query))  # whichever comes first in the file
        pair = sums.setdefault(identity, {}).setdefault(document, [0.0, 0.0])
        pair[0] += clicks
        pair[1] += count * position**-rule.eta
    qrels: dict[str, dict[str, int]] = {}
    for query, pairs in sums.items():
        judged = {one: rule.grade(*pair) for one, pair in pairs.items() if pair[1] >= rule.least}
        if any(judged.values()):
            qrels[query] = judged
    return {query: texts[query] for query in qrels}, qrels


def is_click_log(path: Path) -> bool:
    """Whether its first record has what a click is made of; a file of questions has a text and perhaps an id.

    Raises:
        SourceError: It cannot be read.
    """
    if kind_of(path) in {".jsonl", ".ndjson"}:
        first = next((line for line in byte_lines(path, "") if line.strip()), b"{}")
        return {"query", "document", "position"} <= _json_record(path, 1, first).keys()
    if kind_of(path) not in {".csv", ".tsv"}:
        return False
    _, cells = next(rows(path), (1, ()))
    numbers = [cell.strip().lower() for cell in cells[2:4]]
    unnamed = len(numbers) == 2 and numbers[0].isdigit() and numbers[1] in _FLAGS
    return unnamed or {"query", "document", "position"} <= columns(cells, _NAMES).keys()


def _records(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if kind_of(path) in {".jsonl", ".ndjson"}:
        for number, line in enumerate(byte_lines(path, ""), start=1):
            if line.strip():
                yield number, _json_record(path, number, line)
        return
    where: dict[str, int] | None = None
    for number, cells in rows(path):
        if where is None:
            where = columns(cells, _NAMES)
            if len(where) >= 4:
                continue
            where = dict(zip(("query", "document", "position", "clicked", "count"), range(len(cells)), strict=False))
        yield number, {role: cells[place].strip() for role, place in where.items() if place < len(cells)}


def _json_record(path: Path, number: int, line: bytes) -> dict[str, str]:
    try:
        record = orjson.loads(line)
    except ValueError as error:
        raise SourceError(f"{path.name}:{number}: not valid JSON ({error}).") from error
    if not isinstance(record, dict):
        raise SourceError(f"{path.name}:{number}: {_EXPECTED}, as a JSON object.")
    where = columns(list(record), _NAMES)
    values = list(record.values())
    return {role: str(values[place]).strip() for role, place in where.items() if values[place] is not None}


def _parsed(values: dict[str, str]) -> tuple[str, str, int, int, int]:
    if missing := [role for role in ("query", "document", "position") if not values.get(role)]:
        raise ValueError(f"no {missing[0]}")
    position, count = int(values["position"]), int(values.get("count") or 1)
    if "clicks" in values:
        clicks = int(values["clicks"] or 0)
    else:
        flag = values.get("clicked", "").lower()
        if flag not in _FLAGS:
            raise ValueError(f"clicked is {flag!r}")
        clicks = _FLAGS[flag] * count
    if not (0 < position <= _LARGEST and 0 <= clicks <= count <= _LARGEST):
        raise ValueError("a number is out of range; clicks are no more than count")
    return values["query"], values["document"], position, clicks, count
