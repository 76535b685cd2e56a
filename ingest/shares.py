"""Shares: the files of a source in pieces of about one size, each of which one worker reads by itself.

Small files share a piece, large ones are cut: uncompressed JSON lines anywhere (a line belongs to the piece that its
first byte lies in), Parquet between row groups. Others have to be read from their start, so they are never cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from opensearch_splade.errors import SourceError
from opensearch_splade.ingest.arrow_tables import row_group_sizes
from opensearch_splade.ingest.files import SourceFile

LARGEST = 64 * 2**20
"""Bytes of a share at most, where its files can be cut: what a worker that dies reads again."""
SMALLEST = 64 * 2**10
EACH = 4
"""Shares a worker, so that the last of them do not wait for one."""

Share = list[SourceFile]


def cut(files: Iterable[SourceFile], workers: int) -> list[Share]:
    """All of the source in shares, in its order.

    Raises:
        SourceError: A file cannot be looked up.
        MissingExtraError: A large table's library is not installed.
    """
    sized = [(_anywhere(file), file.store.size(file.path)) for file in files]
    size = min(LARGEST, max(SMALLEST, sum(size for _, size in sized) // (workers * EACH)))
    shares, room = list[Share](), 0
    for file, length in sized:
        for piece, piece_length in _pieces(file, length, size):
            if piece_length > room or not shares:
                shares.append([])
                room = size
            shares[-1].append(piece)
            room -= piece_length
    return shares


def _anywhere(file: SourceFile) -> SourceFile:
    """A worker has another working directory."""
    return replace(file, path=str(Path(file.path).absolute())) if file.is_local else file


def _pieces(file: SourceFile, length: int, size: int) -> Iterator[tuple[SourceFile, int]]:
    if length <= size or file.packing or file.form not in {"lines", "parquet"}:
        yield file, length
    elif file.form == "lines":
        for start in range(0, length, size):
            name = f"{file.name}+{start}" if start else file.name
            end = start + size if start + size < length else None
            yield replace(file, name=name, start=start, end=end), min(size, length - start)
    else:
        yield from _row_groups(file, size)


def _row_groups(file: SourceFile, size: int) -> Iterator[tuple[SourceFile, int]]:
    try:
        with closing(file.store.open(file.path)) as stream:
            groups = row_group_sizes(stream, file.name)
    except OSError as error:
        raise SourceError(f"{file.path} cannot be read to its end: {error}.") from error
    start, held = 0, 0
    for number, length in enumerate(groups):
        if held and held + length > size:
            yield replace(file, start=start, end=number), held
            start, held = number, 0
        held += length
    yield replace(file, start=start), held
