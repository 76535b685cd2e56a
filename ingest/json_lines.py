"""JSON lines: one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import orjson

from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.ingest.documents import Placed, placed
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.json_values import DEEPEST, is_writable


def read_json_lines(stream: Iterable[bytes], name: str, fields: FieldMap) -> Iterator[Placed]:
    """The document or dead letter of every line that is not blank; its place is ``name:line``.

    Raises:
        OSError: The stream cannot be read to its end; compressed ones have errors of their own.
    """
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        place = f"{name}:{number}"
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield place, DeadLetter(place, f"Not valid JSON: {error}.", _raw(line))
            continue
        if line.count(b"{") + line.count(b"[") > DEEPEST and not is_writable(record):
            yield place, DeadLetter(place, f"Nested deeper than {DEEPEST} levels.", _raw(line))
            continue
        yield placed(place, record, fields)


def lines_between(stream: BinaryIO, start: int, end: int | None) -> Iterator[bytes]:
    """The lines that begin at a byte from ``start`` on and before ``end``, so that parts of a file share its lines."""
    place = start
    if start:
        stream.seek(start - 1)
        place += len(stream.readline()) - 1  # the end of the line before, if only its line feed
    while (end is None or place < end) and (line := stream.readline()):
        place += len(line)
        yield line


def _raw(line: bytes) -> str:
    # Not with U+FFFD in the place of bytes that are no UTF-8: retried, it would be a document that nobody wrote.
    return line.decode(errors="backslashreplace").rstrip("\r\n")
