"""CSV and TSV: a header, then a record a row; quoted as RFC 4180 has it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from opensearch_splade.errors import SourceError
from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.ingest.documents import Placed
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.json_values import is_unicode
from opensearch_splade.ingest.rows import check_columns, row_placed

LONGEST_CELL = 100 * 2**20
"""Characters; what the cluster takes in one request (``http.max_content_length``). A quote that is never closed would
otherwise read the rest of the file into memory."""


def read_csv(stream: BinaryIO, name: str, fields: FieldMap, delimiter: str) -> Iterator[Placed]:
    """The document or dead letter of every row; its place is ``name:line``, the line that the row begins in.

    An empty cell is a field that is not there: CSV has no other word for it.

    Raises:
        SourceError: The header cannot be read or names no text.
        OSError: The stream cannot be read to its end; compressed ones have errors of their own.
    """
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))  # the module has one for everybody
    # Bytes that are no UTF-8 come as surrogates, so that they spoil their row alone.
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        read = list[str]()  # the lines of one row, to be kept where they are none
        reader = csv.reader(_remembered(lines, read), delimiter=delimiter, strict=True)
        header = _header(reader, name)
        if header is None:
            return
        check_columns(name, header, fields)
        while True:
            place = f"{name}:{reader.line_num + 1}"
            read.clear()
            try:
                row = next(reader, None)
            except csv.Error as error:
                yield place, DeadLetter(place, f"Not valid CSV: {error}.", _printable("".join(read)))
                continue
            if row is None:
                return
            if row:
                yield _placed(place, row, header, fields)


def _remembered(lines: Iterable[str], read: list[str]) -> Iterator[str]:
    for line in lines:
        read.append(line)
        yield line


def _header(reader: Iterator[list[str]], name: str) -> list[str] | None:
    try:
        header = next(filter(None, reader), None)
    except csv.Error as error:
        raise SourceError(f"{name}:1: the header is not valid CSV: {error}.") from error
    if header and not all(map(is_unicode, header)):
        raise SourceError(f"{name}:1: the header is not UTF-8; convert the file (iconv -t utf-8).")
    # pandas writes its row numbers under an empty name, which OpenSearch takes for no name.
    return header and [field or f"column {number}" for number, field in enumerate(header, start=1)]


def _placed(place: str, row: list[str], header: list[str], fields: FieldMap) -> Placed:
    if len(row) != len(header):
        reason = f"The row has {len(row)} cells and the header {len(header)}; quote cells that hold delimiters."
        return place, DeadLetter(place, reason, list(map(_printable, row)))
    cells = {field: cell for field, cell in zip(header, row, strict=True) if cell}
    unread = {field: "is not UTF-8" for field, cell in cells.items() if not is_unicode(cell)}
    return row_placed(place, {field: cell for field, cell in cells.items() if field not in unread}, fields, unread)


def _printable(cell: str) -> str:
    return cell.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
