"""Parquet and Arrow (Feather): tables read a batch of rows at a time, never whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from opensearch_splade.errors import MissingExtraError, SourceError
from opensearch_splade.ingest.documents import Placed
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.rows import check_columns, row_placed

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 1024
"""Rows that are in memory as Python objects at a time."""
_BUFFER = 2**20  # bytes of a column read ahead; without, a column of a row group is read at once


def read_parquet(
    stream: BinaryIO, name: str, fields: FieldMap, start: int = 0, end: int | None = None
) -> Iterator[Placed]:
    """The document or dead letter of every row; its place is ``name:row``, counted from 1.

    Args:
        stream: The file.
        name: What places call it.
        fields: Which field is what.
        start: The first row group to read.
        end: The first one not to read.

    Raises:
        MissingExtraError: pyarrow is not installed.
        SourceError: It is no such file, it cannot be read to its end, or it has no column of text.
    """
    arrow = load_pyarrow()
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(stream, buffer_size=_BUFFER, page_checksum_verification=True)
        columns = _columns(name, file.schema_arrow.names, fields)
        groups = range(file.num_row_groups)
        before = sum(file.metadata.row_group(group).num_rows for group in groups[:start])
        batches = file.iter_batches(batch_size=ROWS, columns=columns, row_groups=list(groups[start:end]))
        yield from _placed(batches, name, fields, before)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{name} cannot be read to its end: {_first_line(error)}.") from error


def read_arrow(stream: BinaryIO, name: str, fields: FieldMap, local: str | None = None) -> Iterator[Placed]:
    """The same for Arrow's own format, as a file (Feather) or as a stream (what Hugging Face's datasets write).

    Args:
        stream: The file.
        name: What places call it.
        fields: Which field is what.
        local: Its path where it lies on this machine: it is mapped then, so even one of a single batch is not held.

    Raises:
        MissingExtraError: pyarrow is not installed.
        SourceError: It is no such file, it cannot be read to its end, or it has no column of text.
    """
    arrow = load_pyarrow()
    try:
        batches, schema = _arrow_batches(arrow.memory_map(local) if local else stream, name)
        columns = _columns(name, schema.names, fields)
        parts = (part.select(columns) if columns else part for batch in batches for part in _sliced(_sound(batch)))
        yield from _placed(parts, name, fields)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{name} cannot be read to its end: {_first_line(error)}.") from error


def row_group_sizes(stream: BinaryIO, name: str) -> list[int]:
    """Bytes of each row group of a Parquet file, as its footer says; uncompressed, like texts in memory.

    Raises:
        MissingExtraError: pyarrow is not installed.
        SourceError: It is no such file.
    """
    arrow = load_pyarrow()
    from pyarrow import parquet

    try:
        found = parquet.read_metadata(stream)
        return [found.row_group(group).total_byte_size for group in range(found.num_row_groups)]
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{name} cannot be read to its end: {_first_line(error)}.") from error


def count_rows(path: str) -> int:
    """Rows of a Parquet file of this machine, as its footer says.

    Raises:
        MissingExtraError: pyarrow is not installed.
        SourceError: It is no such file.
    """
    arrow = load_pyarrow()
    from pyarrow import parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read to its end: {_first_line(error)}.") from error


def load_pyarrow() -> Any:
    """The library, imported when the first table is read.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        import pyarrow as arrow  # noqa: ICN001 - `pa` is the name for type checkers
    except ImportError as error:
        raise MissingExtraError("pyarrow", "tables") from error
    return arrow


def _arrow_batches(stream: Any, name: str) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
    from pyarrow import ipc

    start = stream.read(6)
    stream.seek(0)
    if start.startswith(b"FEA1"):
        raise SourceError(f"{name} is Feather of version 1, which is no longer written; save it as Parquet.")
    if start == b"ARROW1":
        file = ipc.open_file(stream)
        return (file.get_batch(number) for number in range(file.num_record_batches)), file.schema
    opened = ipc.open_stream(stream)
    return iter(opened), opened.schema


def _sound(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch, if its inner addresses stay inside of it: Arrow has no checksums, and would crash on damage."""
    try:
        batch.validate(full=True)
    except ValueError as error:
        if "UTF8" not in str(error):  # which spoils a single row, and is found there
            raise
    return batch


def _sliced(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    return (batch.slice(start, ROWS) for start in range(0, batch.num_rows, ROWS))


def _columns(name: str, there: list[str], fields: FieldMap) -> list[str] | None:
    """The columns to read, ``None`` for all."""
    check_columns(name, there, fields)
    return None if fields.read is None else [column for column in there if fields.matters(column)]


def _placed(batches: Iterator[pa.RecordBatch], name: str, fields: FieldMap, before: int = 0) -> Iterator[Placed]:
    number = before
    for batch in batches:
        for row, unread in _rows(batch):
            number += 1
            yield row_placed(f"{name}:{number}", row, fields, unread)


def _rows(batch: pa.RecordBatch) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """Rows, and of each the fields that Python has no value for, with the reason."""
    try:
        rows = batch.to_pylist()
    except (ValueError, OverflowError):  # one value in a thousand rows is enough: then one by one
        for place in range(batch.num_rows):
            yield _row(batch, place)
        return
    for row in rows:
        yield row, {}


def _row(batch: pa.RecordBatch, place: int) -> tuple[dict[str, Any], dict[str, str]]:
    row, unread = dict[str, Any](), dict[str, str]()
    for field, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[field] = _value(column[place])
        except (ValueError, OverflowError) as error:
            unread[field] = f"cannot be read ({_first_line(error)})"
    return row, unread


def _value(scalar: pa.Scalar[Any]) -> Any:
    from pyarrow import types

    try:
        return scalar.as_py()
    except (ValueError, OverflowError):
        # Nanoseconds, and years that Python does not count, can still be written out.
        if not types.is_temporal(scalar.type) or types.is_duration(scalar.type):
            raise
        text: str = scalar.cast("string").as_py()
        if text.startswith("<"):  # Arrow's words for what it does not count either
            raise
        return text.replace(" ", "T")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0].rstrip(".")
