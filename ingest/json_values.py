"""JSON values: what tables and databases hold, as values that JSON can say.

Dates and times become ISO 8601, durations seconds, decimals, UUIDs and whole numbers beyond 64 bits their digits, bytes
base64, and what is not a number (NaN, infinities) null.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson

from opensearch_splade.errors import DocumentError

DEEPEST = 252  # levels of nesting that orjson can write, less the two around a record
_LONG = range(-(2**63), 2**64)  # whole numbers that orjson writes


def json_value(value: Any, deep: int = 0) -> Any:
    """One value, all the way down.

    Raises:
        DocumentError: JSON cannot say it; the sentence lacks its subject, which the caller knows.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        if not is_unicode(value):
            raise DocumentError("holds half a surrogate pair, which is no character")
        return value
    if isinstance(value, int):
        return value if value in _LONG else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping | Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return _container(value, deep + 1)
    return _scalar(value)


def _container(value: Mapping[Any, Any] | Sequence[Any], deep: int) -> Any:
    if deep > DEEPEST:
        raise DocumentError(f"is nested deeper than {DEEPEST} levels")
    if isinstance(value, Mapping):
        return _object(list(value.items()), deep)
    if value and all(isinstance(one, tuple) and len(one) == 2 for one in value):  # how Arrow gives a map
        return _object(value, deep)
    return [json_value(one, deep) for one in value]


def _object(pairs: Sequence[tuple[Any, Any]], deep: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        name = key if isinstance(key, str) else str(json_value(key, deep))
        if not is_unicode(name):
            raise DocumentError("has a key with half a surrogate pair, which is no character")
        if name in found:
            raise DocumentError(f"holds the key {name!r} twice")
        found[name] = json_value(value, deep)
    return found


def _scalar(value: Any) -> Any:
    if isinstance(value, date | time | datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return str(value) if value.is_finite() else None
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    raise DocumentError(f"holds a value of the type {type(value).__name__}, which JSON has no words for")


def is_unicode(text: str) -> bool:
    """Whether a string is made of characters: a half of a surrogate pair is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_writable(record: Any) -> bool:
    """Whether what was read as JSON is nested no deeper than can be written.

    orjson reads four times as many levels as it writes, and a record is written within two levels more.
    """
    try:
        orjson.dumps([[record]])
    except TypeError:
        return False
    return True
