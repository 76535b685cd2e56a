"""Odd documents: what sources give when they are not well, for Hypothesis."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from opensearch_splade.types import Document

RESERVED = ["_id", "_source", "_index", "_type", "_routing", "_version", "id", "hash", "encoded", "sparse", "dense"]
TITLED = ["text", "title", "metadata"]
HARD_KEYS = [
    "",
    " ",
    ".",
    "..",
    "a.b",
    ".a",
    "a.",
    "a..b",
    "*",
    "metadata.a",
    "_id.x",
    "k" * 600,
    "k" * 40_000,
    "\0",
    "ü",
]
TOKENS = [".", "...", "##.", "<dot>", ". . .", "[MASK] [CLS] [PAD] [UNK]", "a.b.c", "…", "##a ##.", "e.g. 5 p.m."]
CHARACTERS = [
    "\0\1\x1b",
    "\ufffe\uffff",
    "\U0001fffe",
    "\u202eRTL אבג",
    "ﷺ",
    "e\u0301" * 300,
    "👩‍👩‍👧",
    "\u2028\u2029",
    "\x85",
    "\ufeff",
]
LONG = ["x" * 33_000, "fox " * 9_000, "🦊" * 2_000]
HARD_NUMBERS = [2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40, 1e308, -1e308, 5e-324, -0.0]
NO_NUMBERS = [float("nan"), float("inf"), -float("inf")]
IDS = [
    "a",
    "b",
    "c",
    "x" * 512,
    "x" * 513,
    "ü" * 256,
    "ü" * 257,
    "",
    ".",
    "..",
    "_id",
    "a/b",
    " ",
    "%2F",
    "\n",
    "\0",
    '"\\',
]
OTHER_IDS = [0, -1, 7, 2**64, 1.5, True, None, [], {}]

CLEAN = st.text(max_size=30)
ANY = st.text(st.characters(exclude_categories=()), max_size=30)
"""Surrogates too, of which a lone one is no character."""
TEXT = st.one_of(CLEAN, CLEAN, ANY, st.sampled_from([*TOKENS, *CHARACTERS, *LONG]))
KEY = st.one_of(st.sampled_from([*RESERVED, *HARD_KEYS]), CLEAN)
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(HARD_NUMBERS)
SCALAR = st.none() | st.booleans() | NUMBER | TEXT


def deep(levels: int) -> Any:
    """Lists and objects in turn."""
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


DEEP = st.integers(1, 30).map(deep) | st.sampled_from([60, 99, 120, 250, 251, 253, 400]).map(deep)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=6
)
ID = st.sampled_from([*IDS, *IDS, *OTHER_IDS]) | CLEAN | st.integers()


def _records(more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    value = st.one_of(VALUE, VALUE, DEEP, more)
    return st.one_of(
        st.fixed_dictionaries(
            {"_id": ID, "text": TEXT}, optional={"title": TEXT, "metadata": st.dictionaries(KEY, value)}
        ),
        st.fixed_dictionaries({"text": TEXT}, optional=dict.fromkeys((*RESERVED[1:], "other"), value)),
        st.fixed_dictionaries({"id": ID, "text": TEXT, "odd": st.dictionaries(KEY, value, max_size=4)}),
        st.dictionaries(st.sampled_from([*RESERVED, *TITLED]) | KEY, value, max_size=5),
    )


LIKELY = st.fixed_dictionaries(
    {"_id": st.uuids().map(str) | st.text(min_size=1, max_size=20) | st.integers(), "text": TEXT.map("fox {}".format)},
    optional={
        "title": TEXT,
        "metadata": st.dictionaries(KEY, VALUE | st.integers(1, 200).map(deep), max_size=4),
        **dict.fromkeys((*RESERVED[1:], "other"), VALUE),
    },
)
"""Documents that are odd and most likely taken: a record that is refused at once says little about the way after it."""


def _line(value: Any) -> bytes:
    return json.dumps(value).encode()


RECORDS = _records(st.sampled_from(NO_NUMBERS))
LINES = st.one_of(
    *[LIKELY.map(_line)] * 6,
    *[RECORDS.map(_line)] * 3,
    RECORDS.map(_line).map(lambda line: line[: len(line) * 2 // 3]),
    RECORDS.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    VALUE.map(_line),
    st.binary(max_size=40),
).map(lambda line: line.replace(b"\n", b" "))
"""Lines of a file: JSON objects, half of one, other values, bytes."""


class Strange:
    """A value that nothing knows."""


class Abyss(dict[str, Any]):
    """Nested so deeply that hardly any program can follow; Hypothesis neither, so it is shown like this."""

    def __repr__(self) -> str:
        return "Abyss()"


OF_PYTHON = st.sampled_from([
    *NO_NUMBERS,
    b"\xff",
    {1: 2},
    {(1, 2): 3},
    {None: 1},
    {1},
    (1, 2),
    datetime(2026, 1, 1, tzinfo=UTC),
    Decimal("1.5"),
    Decimal("NaN"),
    Strange(),
    Strange,
    "\ud800",
    {"\ud800": 1},
    Abyss(a=deep(2_000)),
])  # fmt: skip
PYTHON_RECORDS = st.one_of(LIKELY, _records(OF_PYTHON))
"""Records as they come from Python: of any type."""
DOCUMENTS = st.builds(
    Document,
    st.sampled_from([*IDS, "\ud800"]) | ANY,
    TEXT,
    TEXT | st.just(""),
    st.dictionaries(KEY, VALUE | OF_PYTHON, max_size=3),
)
"""Documents that no source has looked at."""
