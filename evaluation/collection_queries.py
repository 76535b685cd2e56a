"""Questions: BEIR's ``queries.jsonl``, CSV and TSV, and TREC topics, in SGML or separated by tabs."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import orjson

from opensearch_splade.errors import SourceError
from opensearch_splade.evaluation.collection_files import byte_lines, columns, kind_of, rows, text_lines

_HINT = "A BEIR folder holds queries.jsonl; others hold queries or topics as .jsonl, .csv, .tsv or TREC topics."
_NAMES = {
    "text": ("text", "question", "query", "query-text", "querytext", "title"),
    "id": ("query-id", "queryid", "qid", "id", "-id", "topic", "number", "num", "query"),
}
_TOP = re.compile(r"<top>(.*?)(?=<top>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(/?)(num|title|desc|narr|top)\b[^>]*>", re.IGNORECASE)
_LABEL = re.compile(r"\s*(number|topic|description|narrative)\s*:", re.IGNORECASE)  # <num> Number: 301


def read_queries(path: Path) -> dict[str, str]:
    """Query id to text.

    * JSON lines (``.jsonl``): ``_id`` and ``text``.
    * Tables (``.csv``, ``.tsv``, or any file separated by tabs): a header with a column of ids (query-id, qid, id …)
      and one of texts (text, question, query …) in any order, or no header and id, text.
    * TREC topics: ``<top>`` with ``<num>`` and ``<title>``; the description where there is no title.

    Raises:
        SourceError: It cannot be read; says which line and what is expected there.
    """
    queries: dict[str, str] = {}
    for line, query, text in _read(path):
        if not query or not text:
            raise SourceError(f"{path.name}:{line}: a question needs an id and a text; remove it or write both.")
        if queries.setdefault(query, text) != text:
            raise SourceError(f"{path.name}:{line}: question {query!r} came before with another text; rename one.")
    return queries


def _read(path: Path) -> Iterator[tuple[int, str, str]]:
    if kind_of(path) in {".jsonl", ".ndjson"}:
        return _json_lines(path)
    if kind_of(path) not in {".csv", ".tsv"}:
        text = "".join(text_lines(path, _HINT))
        if text.lstrip().startswith("<"):
            return _topics(path, text)
    return _table(path)


def _json_lines(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(byte_lines(path, _HINT), start=1):
        if not line.strip():
            continue
        try:
            record = orjson.loads(line)
            query, text = record["_id"], record["text"]
            if isinstance(query, bool) or not isinstance(query, str | int) or not isinstance(text, str):
                raise TypeError("_id is a string or number, text a string")
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path.name}:{number}: not a question with _id and text ({error}).") from error
        yield number, str(query).strip(), text.strip()


def _table(path: Path) -> Iterator[tuple[int, str, str]]:
    where: dict[str, int] | None = None
    for line, cells in rows(path, _HINT):
        if where is None:
            found = columns(cells, _NAMES)
            where = found if len(found) == len(_NAMES) else {"id": 0, "text": 1}
            if where is found:
                width = len(cells)
                continue
            width = 2
        if len(cells) != width:
            raise SourceError(
                f"{path.name}:{line}: expected {width} cells, found {len(cells)}: a query id and a text, separated by "
                "tabs (or commas in .csv), or under a header such as query-id, text."
            )
        yield line, cells[where["id"]].strip(), cells[where["text"]].strip()


def _topics(path: Path, text: str) -> Iterator[tuple[int, str, str]]:
    found = False
    for top in _TOP.finditer(text):
        found = True
        parts = _parts(top[1])
        line = text.count("\n", 0, top.start()) + 1
        yield line, parts.get("num", ""), parts.get("title") or parts.get("desc", "")
    if not found:
        raise SourceError(f"{path.name}:1: looks like SGML and holds no <top>; TREC topics have <top>, <num>, <title>.")


def _parts(top: str) -> dict[str, str]:
    """Tag to its text. Most topics close no tag: a part ends where the next one begins."""
    parts: dict[str, str] = {}
    tags = list(_TAG.finditer(top))
    for place, tag in enumerate(tags):
        end = tags[place + 1].start() if place + 1 < len(tags) else len(top)
        if not tag[1]:
            words = html.unescape(_LABEL.sub("", top[tag.end() : end], count=1)).split()
            parts.setdefault(tag[2].lower(), " ".join(words))
    return parts
