"""Sources: where documents come from.

* ``corpus.jsonl`` (or ``.jsonl.gz``, or ``-`` for standard input): one JSON object a line with ``text`` and, by choice,
  ``_id`` or ``id`` and ``title``; other fields are kept as metadata.
* a BEIR folder: its ``corpus.jsonl``.
* ``pydoc:`` the documentation of the Python standard library on this machine.
* ``ir_datasets:ID`` the documents of a collection that ir_datasets knows, downloaded by it when needed.

A record that is no document does not stop a source: it is yielded as a dead letter, with its line.
"""

from __future__ import annotations

import gzip
import hashlib
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from opensearch_splade.errors import DocumentError, MissingExtraError, SourceError
from opensearch_splade.ingest.dead_letters import CAME_BEFORE, DeadLetter
from opensearch_splade.types import Document

MAX_ID_BYTES = 512  # OpenSearch refuses longer ones
DEEPEST = 252  # levels of nesting that orjson can write, less the two around a record
_CORPUS_NAMES = ("corpus.jsonl", "corpus.jsonl.gz")
_Placed = tuple[str, Document | DeadLetter]
_JSON_KINDS = {dict: "object", list: "array", str: "string", int: "number", float: "number", bool: "boolean"}


def read_source(source: str) -> Iterator[Document | DeadLetter]:
    """Documents one by one, in the source's order; unreadable records as dead letters.

    Raises:
        SourceError: There is no such source, or it cannot be read to its end.
    """
    if source == "pydoc:":
        from opensearch_splade.ingest.pydoc_source import read_pydoc

        return iter(read_pydoc())
    if source.startswith("ir_datasets:"):
        return _without_duplicates(_read_ir_datasets(source.partition(":")[2]))
    if source == "-":
        return _without_duplicates(_read_lines(sys.stdin.buffer, "standard input"))
    return _without_duplicates(_read_file(corpus_file(source)))


def corpus_file(source: str) -> Path:
    """The JSON-lines file that a path names: itself, or the corpus of a BEIR folder.

    Raises:
        SourceError: There is none.
    """
    path = Path(source)
    if path.is_dir():
        for name in _CORPUS_NAMES:
            if (path / name).is_file():
                return path / name
        raise SourceError(f"{source} is a folder without {' or '.join(_CORPUS_NAMES)}, so it is no BEIR collection.")
    if not path.is_file():
        raise SourceError(
            f"There is no source {source}. Give a .jsonl or .jsonl.gz file, a BEIR folder, "
            "- for standard input, or pydoc:."
        )
    return path


def _read_ir_datasets(name: str) -> Iterator[_Placed]:
    try:
        import ir_datasets
    except ImportError as error:
        raise MissingExtraError("ir_datasets", "eval") from error
    try:
        records = iter(ir_datasets.load(name).docs_iter())
    except (KeyError, AttributeError) as error:  # the second: a collection of questions only
        raise SourceError(f"ir_datasets knows no documents of {name!r}; its catalogue lists the ids.") from error
    while True:
        try:
            record = next(records, None)
        except Exception as error:  # it downloads and unpacks while it reads, and raises whatever fails
            raise SourceError(f"ir_datasets cannot read {name} to its end: {error}.") from error
        if record is None:
            return
        fields = _ir_fields(record)
        place = f"{name} {record.doc_id}"
        try:
            yield place, to_document(fields)
        except DocumentError as error:
            yield place, DeadLetter(place, str(error), fields, record.doc_id)


def _ir_fields(record: Any) -> dict[str, Any]:
    if hasattr(record, "text"):
        return {"_id": record.doc_id, "title": getattr(record, "title", ""), "text": record.text}
    return {"_id": record.doc_id, "text": record.default_text()}  # which holds the title, if there is one


def _read_file(path: Path) -> Iterator[_Placed]:
    is_gzip = path.suffix == ".gz"
    try:
        with cast("BinaryIO", gzip.open(path)) if is_gzip else path.open("rb") as stream:
            yield from _read_lines(stream, path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"{path} cannot be read to its end: {error}.") from error


def _read_lines(stream: BinaryIO, name: str) -> Iterator[_Placed]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield place, DeadLetter(place, f"Not valid JSON: {error}.", _raw(line))
            continue
        if line.count(b"{") + line.count(b"[") > DEEPEST and not _is_writable(record):
            yield place, DeadLetter(place, f"Nested deeper than {DEEPEST} levels.", _raw(line))
            continue
        try:
            yield place, to_document(record)
        except DocumentError as error:
            identity = record.get("_id", record.get("id")) if isinstance(record, dict) else None
            yield place, DeadLetter(place, str(error), record, None if identity is None else str(identity))


def _raw(line: bytes) -> str:
    return line.decode(errors="replace").rstrip("\r\n")


def _is_writable(record: Any) -> bool:
    # orjson reads four times as many levels as it writes, and a record is written within two levels more.
    try:
        orjson.dumps([[record]])
    except TypeError:
        return False
    return True


def to_document(record: Any) -> Document:
    """One JSON value as a document.

    Raises:
        DocumentError: It is none; says which field and why.
    """
    if not isinstance(record, dict):
        raise DocumentError(f"A document is a JSON object, not {_kind(record)}.")
    title, text = (_text(record, field) for field in ("title", "text"))
    for field, value in (("title", title), ("text", text)):
        if not _is_unicode(value):
            raise DocumentError(f"'{field}' holds half a surrogate pair, which is no character.")
    if not (title.strip() or text.strip()):
        raise DocumentError("No text: neither 'text' nor 'title' holds a word.")
    used = {"_id", "title", "text", "metadata", _id_field(record)}
    rest = {key: value for key, value in record.items() if key not in used}
    metadata = record.get("metadata")
    if metadata is None:
        metadata = {}
    if not isinstance(metadata, dict):
        raise DocumentError(f"'metadata' must be a JSON object, not {_kind(metadata)}.")
    return Document(_identity(record, title, text), text, title, {**metadata, **rest})


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(record: dict[str, Any], field: str) -> str:
    value = record.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DocumentError(f"'{field}' must be a string, not {_kind(value)}.")
    return value


def _id_field(record: dict[str, Any]) -> str | None:
    """Which field names the document; an ``id`` beside an `_id` is metadata."""
    return next((field for field in ("_id", "id") if record.get(field) is not None), None)


def _identity(record: dict[str, Any], title: str, text: str) -> str:
    """The given id, or a hash of the content: either way the same document has the same id in every run."""
    field = _id_field(record)
    if field is None:
        return hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()[:32]
    value = record[field]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DocumentError(f"The id must be a non-empty string or a whole number, not {value!r}.")
    identity = str(value)
    if len(identity.encode()) > MAX_ID_BYTES:
        raise DocumentError(f"The id has {len(identity.encode())} bytes; OpenSearch takes {MAX_ID_BYTES}.")
    return identity


def _without_duplicates(records: Iterator[_Placed]) -> Iterator[Document | DeadLetter]:
    """A second document with an id would silently replace the first; it becomes a dead letter instead."""
    seen: set[int] = set()  # 64-bit hashes, not the ids: millions of them must fit
    for place, record in records:
        if isinstance(record, Document):
            key = int.from_bytes(hashlib.blake2b(record.id.encode(), digest_size=8).digest())
            if key in seen:
                content = {"_id": record.id, "title": record.title, "text": record.text, "metadata": record.metadata}
                yield DeadLetter(place, CAME_BEFORE, content, record.id)
                continue
            seen.add(key)
        yield record


def _kind(value: Any) -> str:
    return f"a JSON {_JSON_KINDS.get(type(value), 'null')}"
