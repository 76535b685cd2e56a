"""Documents: one record of a source as a document, or as a dead letter with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from opensearch_splade.errors import DocumentError
from opensearch_splade.ingest.dead_letters import CAME_BEFORE, DeadLetter
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.json_values import is_unicode
from opensearch_splade.ingest.seen_ids import SeenIds
from opensearch_splade.types import Document

MAX_ID_BYTES = 512  # OpenSearch refuses longer ones
PLAIN = FieldMap()
"""The fields of a record that nobody named otherwise."""

Placed = tuple[str, Document | DeadLetter]
"""What became of one record, and where it stood."""

_JSON_KINDS = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "boolean"}


def placed(place: str, record: Any, fields: FieldMap) -> Placed:
    """A JSON value and its place as a document, or as a dead letter."""
    try:
        return place, to_document(record, fields)
    except DocumentError as error:
        return place, DeadLetter(place, str(error), record, given_id(record, fields))


def given_id(record: Any, fields: FieldMap) -> str | None:
    """What a record calls itself, be it fit for an id or not."""
    if not isinstance(record, dict):
        return None
    value = value_at(record, fields.id) if fields.id else record.get("_id", record.get("id"))
    return None if value is None else str(value)


def to_document(record: Any, fields: FieldMap = PLAIN) -> Document:
    """One JSON value as a document.

    Raises:
        DocumentError: It is none; says which field and why.
    """
    if not isinstance(record, dict):
        raise DocumentError(f"A document is a JSON object, not {_kind(record)}.")
    title = _string(record, fields.title)
    texts = [_string(record, field) for field in fields.texts]
    text = texts[0] if len(texts) == 1 else "\n\n".join(filter(str.strip, texts))
    if not (title.strip() or text.strip()):
        raise DocumentError(f"No text: neither {' nor '.join(map(repr, fields.spoken))} holds a word.")
    return Document(_identity(record, fields, title, text), text, title, _metadata(record, fields))


def value_at(record: dict[str, Any], field: str) -> Any:
    """The value of a field; of ``a.b`` where there is no such field, the member ``b`` of ``a``."""
    value: Any = record
    for name in [field] if field in record else field.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _string(record: dict[str, Any], field: str) -> str:
    value = value_at(record, field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DocumentError(f"'{field}' must be a string, not {_kind(value)}.")
    if not is_unicode(value):
        raise DocumentError(f"'{field}' holds half a surrogate pair, which is no character.")
    return value


def _metadata(record: dict[str, Any], fields: FieldMap) -> dict[str, Any]:
    used = (*fields.spoken, "metadata", _id_field(record, fields), "_id" if fields.id is None else None)
    rest = {key: value for key, value in record.items() if key not in used}
    members = {} if "metadata" in fields.spoken or fields.id == "metadata" else record.get("metadata")
    if members is None:
        members = {}
    if not isinstance(members, dict):
        if fields.keep is None:
            raise DocumentError(f"'metadata' must be a JSON object, not {_kind(members)}.")
        rest["metadata"], members = members, {}  # a field like others, if it is kept at all
    if fields.keep is None:
        return {**members, **rest}
    kept = {*fields.keep, *(members if "metadata" in fields.keep else ())}
    return {key: value for key, value in {**members, **rest}.items() if key in kept}


def _id_field(record: dict[str, Any], fields: FieldMap) -> str | None:
    """Which field names the document; an ``id`` beside an `_id` is metadata."""
    if fields.id is not None:
        return fields.id
    return next((field for field in ("_id", "id") if record.get(field) is not None), None)


def _identity(record: dict[str, Any], fields: FieldMap, title: str, text: str) -> str:
    """The given id, or a hash of the content: either way the same document has the same id in every run."""
    field = _id_field(record, fields)
    value = None if field is None else value_at(record, field)
    if value is None:
        return hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()[:32]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DocumentError(f"The id must be a non-empty string or a whole number, not {value!r}.")
    require_id(str(value))
    return str(value)


def require_id(identity: str) -> None:
    """Refuses what OpenSearch does not take as an ``_id``: sent, it would spoil a whole bulk request.

    Raises:
        DocumentError: Says why.
    """
    if not isinstance(identity, str) or not identity:
        raise DocumentError(f"The id must be a non-empty string, not {identity!r}.")
    if not is_unicode(identity):
        raise DocumentError("The id holds half a surrogate pair, which is no character.")
    if len(identity.encode()) > MAX_ID_BYTES:
        raise DocumentError(f"The id has {len(identity.encode())} bytes; OpenSearch takes {MAX_ID_BYTES}.")


def without_duplicates(records: Iterator[Placed]) -> Iterator[Document | DeadLetter]:
    """A second document with an id would silently replace the first; it becomes a dead letter instead."""
    with SeenIds() as seen:
        for place, record in records:
            if isinstance(record, Document) and not seen.add(record.id):
                content = {"_id": record.id, "title": record.title, "text": record.text, "metadata": record.metadata}
                yield DeadLetter(place, CAME_BEFORE, content, record.id)
            else:
                yield record


def _kind(value: Any) -> str:
    return f"a JSON {_JSON_KINDS.get(type(value), 'null')}"
