"""Files of questions and judgements as rows of cells: CSV, separated by tabs or spaces, JSON lines; packed or not.

``.csv`` is quoted as RFC 4180 has it and separated by commas, or by semicolons or tabs where its first line has no
comma. ``.tsv`` is separated by tabs and knows no quotes, as BEIR writes it. Any other file is separated by tabs where
its first line holds one, else by spaces, as TREC writes it.
"""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from opensearch_splade.errors import SourceError
from opensearch_splade.ingest.compression import BROKEN, COMPRESSED, unpacked

Row = tuple[int, Sequence[str]]
"""The line that a row begins in, and its cells."""


def kind_of(path: Path) -> str:
    """A file's ending without that of its compression, e.g. ``.csv``."""
    name = path.with_suffix("") if path.suffix in COMPRESSED else path
    return name.suffix.lower()


def byte_lines(path: Path, hint: str) -> Iterator[bytes]:
    """The lines of a file, unpacked, with their ends.

    Args:
        path: May end in ``.gz`` or ``.zst``.
        hint: What the error says where it cannot be opened.

    Raises:
        SourceError: It cannot be read to its end.
        MissingExtraError: It is .zst and zstandard is not installed.
    """
    try:
        with path.open("rb") as stream:
            yield from unpacked(stream, path.suffix)
    except BROKEN as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise SourceError(f"{path} cannot be read: {reason}. {hint}".rstrip()) from error


def text_lines(path: Path, hint: str = "") -> Iterator[str]:
    """The same as text.

    Raises:
        SourceError: It cannot be read to its end, or is not UTF-8.
    """
    before = 0
    for line in byte_lines(path, hint):
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            place = before + error.start
            raise SourceError(
                f"{path} is not UTF-8 text ({error.reason} at byte {place}); convert it: iconv -f latin1 -t utf-8."
            ) from error
        yield text if before else text.removeprefix("\ufeff")
        before += len(line)


def rows(path: Path, hint: str = "") -> Iterator[Row]:
    """The rows of a table that are not blank.

    Raises:
        SourceError: It cannot be read to its end; says which line is damaged.
    """
    if kind_of(path) == ".csv":
        yield from _csv_rows(path, hint)
        return
    separator = "\t" if kind_of(path) == ".tsv" else None
    for number, line in enumerate(text_lines(path, hint), start=1):
        if not line.strip():
            continue
        if separator is None:
            separator = "\t" if "\t" in line else " "
        yield number, line.rstrip("\r\n").split("\t") if separator == "\t" else line.split()


def _csv_rows(path: Path, hint: str) -> Iterator[Row]:
    first = next(text_lines(path, hint), "")
    separator = next((sign for sign in ",;\t" if sign in first), ",")
    reader = csv.reader(text_lines(path, hint), delimiter=separator, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise SourceError(f"{path.name}:{line}: not valid CSV: {error}. Quote cells that hold quotes.") from error
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield line, cells


def columns(header: Sequence[str], names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Where each role stands that this row, as a header, has a column of.

    Args:
        header: The first row.
        names: Role to the names it goes by, the preferred one first; roles choose in this order, a column each.
    """
    found: dict[str, int] = {}
    given = [unicodedata.normalize("NFKC", cell).strip().lower().replace("_", "-").replace(" ", "-") for cell in header]
    for role, known in names.items():
        place = next((given.index(n) for n in known if n in given and given.index(n) not in found.values()), None)
        if place is not None:
            found[role] = place
    return found
