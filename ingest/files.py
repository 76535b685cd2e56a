"""Files: which ones a path, folder, glob or URL stands for, and the documents in each by its format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from os.path import commonpath
from pathlib import PurePath

from opensearch_splade.errors import SourceError
from opensearch_splade.ingest.arrow_tables import read_arrow, read_parquet
from opensearch_splade.ingest.compression import BROKEN, COMPRESSED, unpacked
from opensearch_splade.ingest.csv_tables import read_csv
from opensearch_splade.ingest.documents import Placed
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.file_stores import FileStore, LocalDisk, store_of
from opensearch_splade.ingest.json_lines import lines_between, read_json_lines

FORMATS = {
    ".jsonl": "lines",
    ".ndjson": "lines",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""Endings by which a folder's files are known; a file named by itself and ending otherwise is read as JSON lines."""
_BEIR = ("corpus.jsonl", "corpus.jsonl.gz", "corpus.jsonl.zst")
_PATTERN = "*?["


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of documents.

    Attributes:
        path: Where it lies in its store.
        name: How places call it: alone its last part, beside others what they differ by.
        store: The local disk or a remote store.
        start: The first byte that is read, or row group of a Parquet file; the line that holds the byte before belongs
            to what comes before.
        end: Where reading ends; ``None`` for the file's end.
    """

    path: str
    name: str
    store: FileStore
    start: int = 0
    end: int | None = None

    @property
    def packing(self) -> str:
        """``.gz``, ``.zst`` or nothing."""
        return next((ending for ending in COMPRESSED if self.path.endswith(ending)), "")

    @property
    def form(self) -> str:
        """What it holds: a value of ``FORMATS``."""
        return form_of(self.path) or "lines"

    @property
    def is_local(self) -> bool:
        """Whether it lies on this machine."""
        return isinstance(self.store, LocalDisk)


def form_of(path: str) -> str | None:
    """The format that a file's ending speaks of, a value of ``FORMATS``."""
    bare = path
    for ending in COMPRESSED:
        bare = bare.removesuffix(ending)
    return FORMATS.get(PurePath(bare).suffix.lower())


def find_files(source: str) -> list[SourceFile]:
    """The files that a path, folder, glob pattern or URL stands for, in sorted order.

    A folder is a BEIR collection where it holds a ``corpus.jsonl``; else all its files of one format are taken.

    Raises:
        SourceError: There is none, or a folder holds files of several formats.
        MissingExtraError: It is a URL and fsspec is not installed.
    """
    store = store_of(source)
    if store.is_file(source):
        paths = [source]
    elif store.is_folder(source):
        paths = _of_folder(store, source)
    elif any(sign in source for sign in _PATTERN):
        paths = sorted(store.matches(source))
    else:
        paths = []
    if not paths:
        raise SourceError(
            f"There is no source {source}. Give a .jsonl, .csv, .tsv, .parquet, .arrow or .feather file, a folder or a "
            "quoted glob of them, a URL (s3://…), a BEIR folder, index:NAME, - for standard input, or pydoc:."
        )
    whole = [PurePath(path) for path in paths]  # shortens the // of a URL, so its paths are for names only
    base = commonpath([path.parent for path in whole])
    names = [path.relative_to(base) if base else path for path in whole]
    return [SourceFile(path, str(name), store) for path, name in zip(paths, names, strict=True)]


def _of_folder(store: FileStore, folder: str) -> list[str]:
    paths = sorted(store.children(folder))
    names = [PurePath(path).name for path in paths]
    for corpus in _BEIR:
        if corpus in names:
            return [paths[names.index(corpus)]]
    if "queries.jsonl" in names or store.is_folder(f"{folder.rstrip('/')}/qrels"):
        raise SourceError(f"{folder} is a folder without {' or '.join(_BEIR)}, so it is no whole BEIR collection.")
    found = [path for path, name in zip(paths, names, strict=True) if form_of(name) and not name.startswith(".")]
    if not found:
        raise SourceError(
            f"{folder} is a folder without {' or '.join(_BEIR)} and without files that end in {', '.join(FORMATS)}."
        )
    if len(first := {form_of(path): PurePath(path).name for path in reversed(found)}) > 1:
        raise SourceError(
            f"{folder} holds files of several formats ({', '.join(sorted(first.values()))}): name those that are meant "
            f"by a quoted glob, such as '{folder.rstrip('/')}/*.jsonl'."
        )
    return found


def read_files(files: list[SourceFile], fields: FieldMap) -> Iterator[Placed]:
    """The document or dead letter of every record, file by file.

    Raises:
        SourceError: A file cannot be read to its end, or a table has no column of text.
        MissingExtraError: A format's library is not installed.
    """
    for file in files:
        yield from _read(file, fields)


def _read(file: SourceFile, fields: FieldMap) -> Iterator[Placed]:
    if file.packing and file.form in {"parquet", "arrow"}:
        raise SourceError(f"{file.path}: {file.form} files cannot be read through {file.packing}; unpack it first.")
    try:
        with closing(file.store.open(file.path)) as raw, closing(unpacked(raw, file.packing)) as stream:
            match file.form:
                case "parquet":
                    yield from read_parquet(stream, file.name, fields, file.start, file.end)
                case "arrow":
                    yield from read_arrow(stream, file.name, fields, file.path if file.is_local else None)
                case "csv" | "tsv":
                    yield from read_csv(stream, file.name, fields, "\t" if file.form == "tsv" else ",")
                case _:
                    yield from read_json_lines(lines_between(stream, file.start, file.end), file.name, fields)
    except BROKEN as error:
        raise SourceError(f"{file.path} cannot be read to its end: {error}.") from error
