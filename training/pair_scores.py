"""Pair scores: what a cross-encoder said of questions and documents, on disk, so that training reads it again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from hashlib import blake2b
from pathlib import Path

from opensearch_splade.errors import TrainingError

_TABLE = (
    "CREATE TABLE IF NOT EXISTS scores (query BLOB, document BLOB, score REAL, PRIMARY KEY (query, document)) "
    "WITHOUT ROWID"
)


def text_key(text: str) -> bytes:
    """Of a question or a document: the hash of its text."""
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


class PairScores:
    """One model's scores in one SQLite file.

    The first score of a pair stays: floats depend in their last bits on what else was in the batch, and a run that goes
    on must read what it read before.

    Args:
        path: The file; made where there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def of(self, query: bytes) -> dict[bytes, float]:
        """Document to score, of all that were scored for a question.

        Raises:
            TrainingError: The file cannot be read.
        """
        with self._open() as database:
            return dict(database.execute("SELECT document, score FROM scores WHERE query = ?", (query,)))

    def add(self, scores: Iterable[tuple[bytes, bytes, float]]) -> None:
        """Questions, documents and scores: all of them or, after a kill, none.

        Raises:
            TrainingError: The file cannot be written.
        """
        with self._open() as database, database:
            database.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?, ?)", scores)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """For one call, from whatever thread."""
        try:
            with closing(sqlite3.connect(self._path)) as database:
                database.execute(_TABLE)
                yield database
        except sqlite3.Error as error:
            raise TrainingError(
                f"{self._path} cannot be read or written ({error}): make room on its disk, or remove it; its pairs are "
                "then scored again."
            ) from error
