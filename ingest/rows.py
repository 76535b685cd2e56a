"""Rows: records of tables and databases, whose values JSON may not have, as documents or dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from opensearch_splade.errors import DocumentError, SourceError
from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.ingest.documents import Placed, given_id, placed
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.json_values import json_value


def row_placed(place: str, row: Mapping[str, Any], fields: FieldMap, unread: Mapping[str, str] | None = None) -> Placed:
    """A row and its place as a document, or as a dead letter.

    Args:
        place: Where it stood.
        row: Field to value.
        fields: Which field is what.
        unread: Fields whose values could not be read, and why; such a value is not in the row.
    """
    record: dict[str, Any] = {}
    problems = dict(unread or {})
    for field, value in row.items():
        try:
            record[field] = _plain(field, value, fields)
        except DocumentError as error:
            problems[field] = str(error)
            record[field] = ascii(value)  # for the eye: a dead letter is JSON too
    for field, problem in problems.items():
        if fields.matters(field):
            return place, DeadLetter(place, f"{field!r} {problem}.", record, given_id(record, fields))
    return placed(place, {field: value for field, value in record.items() if field not in problems}, fields)


def _plain(field: str, value: Any, fields: FieldMap) -> Any:
    if isinstance(value, bytes) and (field in fields.spoken or field in {fields.id, "_id", "id"}):
        try:
            return value.decode()  # Parquet of some writers does not say that its strings are strings
        except UnicodeDecodeError as error:
            raise DocumentError(f"holds bytes that are not UTF-8 ({error.reason} at byte {error.start})") from error
    if field == "metadata" and isinstance(value, str):
        return _parsed(value)
    return json_value(value)


def _parsed(text: str) -> Any:
    """An object that a table could only hold as text."""
    try:
        found = orjson.loads(text)
        orjson.dumps([[found]])  # reads deeper than it writes
    except (orjson.JSONDecodeError, UnicodeEncodeError, TypeError):
        return json_value(text)
    return found if isinstance(found, dict) else text


def check_columns(name: str, columns: list[str], fields: FieldMap) -> None:
    """Refuses a table without any text: each of its rows would become a dead letter.

    Raises:
        SourceError: It has no column of text, or two columns of a name; says which columns there are.
    """
    there = ", ".join(map(repr, columns)) or "none"
    if twice := next((column for column in columns if columns.count(column) > 1), None):
        raise SourceError(f"{name} has two columns {twice!r}; rename one. Its columns: {there}.")
    if not set(columns) & {name for one in fields.spoken for name in (one, one.partition(".")[0])}:
        wanted = " or ".join(map(repr, fields.spoken))
        raise SourceError(
            f"{name} has no column {wanted}; name its columns with --text-field and --title-field. "
            f"Its columns: {there}."
        )
    if fields.id and fields.id not in columns:
        raise SourceError(f"{name} has no column {fields.id!r} for --id-field. Its columns: {there}.")
