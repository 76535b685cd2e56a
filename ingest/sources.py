"""Sources: where documents come from.

* a file of JSON lines: one JSON object a line with ``text`` and, by choice, ``_id`` or ``id`` and ``title``; other
  fields are kept as metadata. ``.csv`` and ``.tsv`` with a header; any of these may end in ``.gz`` or ``.zst``.
* a ``.parquet``, ``.arrow`` or ``.feather`` file.
* a folder of such files, a glob pattern, or either behind a URL that fsspec knows (``s3://``, ``gs://``, ``az://`` …).
* a BEIR folder: its ``corpus.jsonl``.
* ``-`` for JSON lines on standard input.
* ``index:NAME`` or ``index:https://host:9200/NAME``: the documents of an OpenSearch or Elasticsearch index.
* ``pydoc:`` the documentation of the Python standard library on this machine.
* ``ir_datasets:ID`` the documents of a collection that ir_datasets knows, downloaded by it when needed.

A record that is no document does not stop a source: it is yielded as a dead letter, with its place.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.ingest.documents import PLAIN, without_duplicates
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.files import SourceFile, find_files, read_files
from opensearch_splade.ingest.ir_source import read_ir_datasets
from opensearch_splade.ingest.json_lines import read_json_lines
from opensearch_splade.plugin.client import redacted
from opensearch_splade.types import Document

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

_INDEX, _IR_DATASETS, _PYDOC, _STDIN = "index:", "ir_datasets:", "pydoc:", "-"


def read_source(
    source: str, fields: FieldMap = PLAIN, client: OpenSearch | None = None
) -> Iterator[Document | DeadLetter]:
    """Documents one by one, in the source's order; unreadable records as dead letters.

    Args:
        source: One of the kinds above.
        fields: Which field is what; ``pydoc:`` has no others.
        client: The cluster of ``index:NAME``; by default ``OPENSEARCH_URL``, else the running local node.

    Raises:
        SourceError: There is no such source, or it cannot be read to its end.
        MissingExtraError: Its format needs a library that is not installed; the error has the line that installs it.
    """
    if source == _PYDOC:
        from opensearch_splade.ingest.pydoc_source import read_pydoc

        return iter(read_pydoc())
    if source.startswith(_IR_DATASETS):
        return without_duplicates(read_ir_datasets(source.removeprefix(_IR_DATASETS), fields))
    if source.startswith(_INDEX):
        from opensearch_splade.ingest.index_source import read_index

        return without_duplicates(read_index(source.removeprefix(_INDEX), fields, client))
    if source == _STDIN:
        return without_duplicates(read_json_lines(sys.stdin.buffer, "standard input", fields))
    return without_duplicates(read_files(find_files(source), fields))


def is_files(source: str) -> bool:
    """Whether it stands for files, here or behind a URL."""
    return source not in {_PYDOC, _STDIN} and not source.startswith((_INDEX, _IR_DATASETS))


def count_records(source: str) -> int | None:
    """How many records a source holds where that is cheap to know; else ``None``.

    Raises:
        SourceError: There is no such source.
    """
    if source == _PYDOC:
        return sum(1 for _ in read_source(source))
    if not is_files(source):
        return None
    counts = [_count(file) for file in find_files(source)]
    return None if None in counts else sum(filter(None, counts))


def _count(file: SourceFile) -> int | None:
    # Not a pipe, which can be read but once; and a table behind a URL is opened when it is read.
    if file.packing or not (file.is_local and Path(file.path).is_file()):
        return None
    if file.form == "parquet":
        from opensearch_splade.ingest.arrow_tables import count_rows

        return count_rows(file.path)
    if file.form != "lines":
        return None
    with file.store.open(file.path) as stream:
        return sum(1 for line in stream if line.strip())


def shown(source: str) -> str:
    """The source as messages name it: an index' URL without user and password."""
    is_url = source.startswith(_INDEX) and "://" in source
    return _INDEX + redacted(source.removeprefix(_INDEX)) if is_url else source
