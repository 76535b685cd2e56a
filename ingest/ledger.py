"""Ledger: the durable record of what the cluster acknowledged, so that a run sends only what is new or changed.

A row says: the index holds this id with this content, encoded by these bundles. Rows may be missing, which costs
encoding a document again, but no row may ever be wrong. So:

* a row is written only after the cluster acknowledged its document;
* the row of a changed document is deleted *before* the document is sent. Otherwise a crash between the cluster's
  acknowledgement and ours would leave the old row, and a source that goes back to its old content would be skipped;
* both are synced to the disk (``synchronous=FULL``): a power cut must not bring a deleted row back. A sync per bulk
  request costs nothing beside the request;
* the ledger begins anew when the index is another one than it knows, or was written without it (``claim``).

SQLite's exclusive lock keeps a second run out and ends with the process, however it ends. Memory is the page cache's,
whatever the number of documents; a row takes some 60 bytes of disk.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from opensearch_splade.errors import LedgerError
from opensearch_splade.ingest.ledger_file import CACHE_KIB, open_database, remedy

_TARGET = ("cluster uuid", "index name", "index uuid")
_AT_ONCE = 500  # ids in one question


class Target(NamedTuple):
    """The index that a ledger speaks of.

    Attributes:
        cluster: The cluster's uuid.
        name: The index' name as it is written to.
        uuid: The index' own, which a deleted and re-made index does not keep.
    """

    cluster: str
    name: str
    uuid: str


class Entry(NamedTuple):
    """One document as the ledger sees it.

    Attributes:
        id: Its id.
        hash: Its content hash, hexadecimal.
    """

    id: str
    hash: str


class Known(NamedTuple):
    """What the ledger says of some entries.

    Attributes:
        unchanged: Ids that the index holds just so.
        changed: Ids that it holds with another content or of other bundles.
    """

    unchanged: set[str]
    changed: set[str]


class Rows(Protocol):
    """What a run asks of a ledger, whole or in shards, here or in another process."""

    def look_up(self, entries: Sequence[Entry], marker: str) -> Known:
        """What the index holds of these."""
        ...

    def forget(self, ids: Sequence[str]) -> None:
        """These are about to be sent."""
        ...

    def acknowledge(self, entries: Sequence[Entry], marker: str) -> None:
        """The cluster has these."""
        ...


class Ledger:
    """An open, locked ledger. It may be used by several threads.

    Args:
        path: The file; made where there is none.
        cache_kib: Memory for pages of the file, KiB.

    Raises:
        LedgerError: Another run holds it, it is damaged, no ledger of ours, or cannot be written.
    """

    def __init__(self, path: Path, cache_kib: int = CACHE_KIB) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._translated():
            self._database = open_database(path, cache_kib)
            try:
                self._set("name", self._get("name") or uuid.uuid4().hex)
            except BaseException:
                self._database.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the lock back."""
        with self._lock, suppress(sqlite3.Error):  # what is not in the file yet is in its journal
            self._database.close()

    @property
    def name(self) -> str:
        """A name that no other ledger has; the index notes which ledger knows it."""
        with self._translated():
            return self._get("name")

    @property
    def documents(self) -> int:
        """How many the index should hold at least."""
        with self._translated():
            return int(self._get("documents") or 0)

    @property
    def position(self) -> int:
        """How far the source was read, by its own numbers; -1 where nothing is known."""
        with self._translated():
            return int(self._get("position") or -1)

    def reach(self, position: int) -> None:
        """All up to there is in the index or among the dead letters."""
        with self._translated():
            self._set("position", str(position))

    def ids(self) -> Iterator[list[str]]:
        """All ids that the index should hold, ascending, some at a time. Others may be noted meanwhile."""
        last = ""
        while True:
            with self._translated():
                rows = self._database.execute(
                    "SELECT id FROM acknowledged WHERE id > ? ORDER BY id LIMIT ?", (last, _AT_ONCE)
                ).fetchall()
            if not rows:
                return
            yield [row[0] for row in rows]
            last = rows[-1][0]

    def claim(self, target: Target, *, noted: str, stored: int) -> str:
        """Makes sure that every row is true of this index, by beginning anew where it might not be.

        Args:
            target: The index that is to be written.
            noted: The ledger that the index names, empty for none: another one, if documents were written without us.
            stored: Documents in the index.

        Returns:
            Why it began anew; empty if it did not.

        Raises:
            LedgerError: It speaks of another index or cluster.
        """
        with self._translated(), self._transaction():
            known = Target(*(self._get(field) for field in _TARGET))
            documents = int(self._get("documents") or 0)
            if known.name and known[:2] != target[:2]:
                place = "" if known.name != target.name else " on another cluster"
                raise LedgerError(
                    f"The ledger {self.path} is that of index {known.name!r}{place}: name another file with --ledger, "
                    "or delete this one if that index is gone."
                )
            if known.uuid == target.uuid and noted == self._get("name") and stored >= documents:
                return ""
            why = "the index was written without this ledger"
            if known.uuid != target.uuid:
                why = "the index was made anew"
            elif stored < documents:
                why = f"the index holds {stored:,} documents, fewer than the {documents:,} acknowledged"
            self._forget_all()
            for field, value in zip(_TARGET, target, strict=True):
                self._set(field, value)
        return why if documents else ""

    def begin_anew(self, name: str) -> None:
        """Forgets everything and takes another name, both or neither: what the index names is this ledger no more."""
        with self._translated(), self._transaction():
            self._forget_all()
            self._set("name", name)

    def forget_all(self) -> None:
        """Every document will be encoded again."""
        with self._translated(), self._transaction():
            self._forget_all()

    def look_up(self, entries: Sequence[Entry], marker: str) -> Known:
        """What the index holds of these, by content and marker."""
        given = {entry.id: bytes.fromhex(entry.hash) for entry in entries}
        known = Known(set(), set())
        with self._translated():
            number = self._number(marker)
            for id_, content, encoded_by in self._rows(sorted(given)):
                same = content == given[id_] and encoded_by == number
                (known.unchanged if same else known.changed).add(id_)
        return known

    def forget(self, ids: Sequence[str]) -> None:
        """Call it before documents are sent: what the index held under these ids is no longer sure.

        On the disk when this returns, if there was anything to forget.
        """
        with self._translated():
            there = [(id_,) for id_, _, _ in self._rows(sorted(ids))]
            if there:
                with self._transaction():
                    self._database.executemany("DELETE FROM acknowledged WHERE id = ?", there)
                    self._count(-len(there))

    def acknowledge(self, entries: Sequence[Entry], marker: str) -> None:
        """The cluster has these: one transaction, on the disk when this returns."""
        rows = sorted((entry.id, bytes.fromhex(entry.hash)) for entry in entries)
        with self._translated(), self._transaction():
            self._database.execute("INSERT OR IGNORE INTO markers (marker) VALUES (?)", (marker,))
            number = self._number(marker)
            there = sum(1 for _ in self._rows([id_ for id_, _ in rows]))
            self._database.executemany(
                "INSERT OR REPLACE INTO acknowledged VALUES (?, ?, ?)", [(*row, number) for row in rows]
            )
            self._count(len(rows) - there)

    def _rows(self, ids: Sequence[str]) -> Iterator[tuple[str, bytes, int]]:
        for start in range(0, len(ids), _AT_ONCE):
            some = ids[start : start + _AT_ONCE]
            places = ",".join("?" * len(some))
            yield from self._database.execute(
                f"SELECT id, hash, marker FROM acknowledged WHERE id IN ({places})",  # noqa: S608 - question marks
                some,
            )

    def _number(self, marker: str) -> int | None:
        row = self._database.execute("SELECT number FROM markers WHERE marker = ?", (marker,)).fetchone()
        return row[0] if row else None

    def _get(self, name: str) -> str:
        row = self._database.execute("SELECT value FROM header WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def _set(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO header VALUES (?, ?)", (name, value))

    def _count(self, more: int) -> None:
        self._set("documents", str(int(self._get("documents") or 0) + more))

    def _forget_all(self) -> None:
        self._database.execute("DELETE FROM acknowledged")
        self._set("documents", "0")
        self._set("position", "")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """One thread at a time, and SQLite's errors with their remedy."""
        with self._lock:
            try:
                yield
            except (sqlite3.Error, OSError) as error:
                raise LedgerError(remedy(self.path, error)) from error
