"""Query log: what users asked, from search slow logs of OpenSearch or Elasticsearch and from files of search bodies.

A slow log has a line for each shard that was slow, in one of two layouts: plain (``source[{…}]`` in the line) or JSON,
where ``source`` is the body as a string, which some versions escape twice. Any other line that is a JSON object is a
body itself, or holds it as ``source`` or ``body``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opensearch_splade.evaluation.collection_files import text_lines

LONGEST = 2_000
"""Characters of a question; what is longer was not typed."""
_DEEPEST = 100

_WORDS = {"match", "match_phrase", "match_phrase_prefix", "match_bool_prefix", "multi_match", "combined_fields"}
_SYNTAX = {"query_string", "simple_query_string"}
_MODELS = {"neural", "neural_sparse", "sparse_vector", "text_expansion", "semantic"}
_LEFT_OUT = {"filter", "must_not", "post_filter", "aggs", "aggregations", "highlight", "suggest", "sort", "rescore"}
"""Parts of a body that narrow or decorate, and so are no part of the question."""
BODY = re.compile(r"\bsource\[(?=\{)")
"""Where a search body begins in a line of a plain slow log."""
_OPERATORS = re.compile(
    r"(?:\bNOT\s+|(?<!\S)-)\S+|\b(?:AND|OR)\b|(?<!\S)[\w.*]+:(?=\S)|[\^~][\d.]*|[+!(){}\[\]\"*?\\|&]"
)


@dataclass
class QueryLog:
    """What was found.

    Attributes:
        questions: How often each was asked.
        lines: Read.
        without: Of them, those in which no question was found.
    """

    questions: Counter[str] = field(default_factory=Counter)
    lines: int = 0
    without: int = 0

    def read(self, path: Path) -> None:
        """Adds a file, which may be packed (``.gz``, ``.zst``).

        Raises:
            SourceError: It cannot be read to its end.
        """
        for line in text_lines(path):
            if not line.strip():
                continue
            self.lines += 1
            if question := question_in(line):
                self.questions[question] += 1
            else:
                self.without += 1


def question_in(line: str) -> str:
    """The question of a line; empty where there is none."""
    try:
        return asked_by(_body(line))
    except (ValueError, RecursionError):
        return ""


def asked_by(body: Any) -> str:
    """What a search body asks for, in words: the texts of its full-text clauses, each once, in their order."""
    query = body.get("query") if isinstance(body, dict) else None
    texts = [query] if isinstance(query, str) else [*_texts(query, 0)]
    found = " ".join(dict.fromkeys(" ".join(text.split()) for text in texts)).strip()
    return found if len(found) <= LONGEST else ""


def _body(line: str) -> Any:
    if not line.lstrip().startswith("{"):
        return _in_brackets(line)
    record = json.loads(line)
    for name in ("source", "body"):
        if isinstance(inner := record.get(name), dict):
            return inner
        if isinstance(inner, str):
            return _unescaped(inner)
    message = record.get("message")
    return _in_brackets(message) if isinstance(message, str) and BODY.search(message) else record


def _in_brackets(line: str) -> Any:
    """``source[{…}]``, whose texts may hold brackets themselves."""
    found = BODY.search(line)
    return json.JSONDecoder().raw_decode(line, found.end())[0] if found else None


def _unescaped(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return json.loads(json.loads(f'"{text}"'))


def _texts(node: Any, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if isinstance(node, list):
        for one in node:
            yield from _texts(one, depth + 1)
    if not isinstance(node, dict):
        return
    for name, value in node.items():
        if name in _WORDS | _MODELS:
            yield from _clause(value)
        elif name in _SYNTAX and isinstance(value, dict):
            yield from (_OPERATORS.sub(" ", text) for text in _clause(value))
        elif name not in _LEFT_OUT:
            yield from _texts(value, depth + 1)


def _clause(clause: Any) -> Iterator[str]:
    """``{"query": text}``, ``{field: text}`` or ``{field: {"query": text}}``; of models ``query_text`` and the like."""
    if not isinstance(clause, dict):
        return
    own = [clause[name] for name in ("query", "query_text", "model_text") if isinstance(clause.get(name), str)]
    if own:
        yield own[0]
    elif len(clause) == 1:
        [value] = clause.values()
        yield from [value] if isinstance(value, str) else _clause(value)
