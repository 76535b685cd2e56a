"""Ledger file: the SQLite database of a ledger, opened, locked and checked; SQLite's errors with their remedy."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from opensearch_splade.errors import LedgerError

_APPLICATION = 0x6F73706C  # "ospl": marks the file as ours
_VERSION = 1
_CHECKED = 64 * 2**20  # a larger file is not read through at its opening; SQLite checks each page that it reads
CACHE_KIB = 65_536
"""Memory for pages of a ledger."""

_TABLES = """
BEGIN;
CREATE TABLE IF NOT EXISTS header (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS markers (number INTEGER PRIMARY KEY, marker TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS acknowledged (
    id TEXT PRIMARY KEY, hash BLOB NOT NULL, marker INTEGER NOT NULL REFERENCES markers
) WITHOUT ROWID;
COMMIT;
"""


def open_database(path: Path, cache_kib: int) -> sqlite3.Connection:
    """The database, made where there is none; nobody else can open it until it is closed.

    Raises:
        sqlite3.Error: It cannot be opened, is locked or damaged; see ``remedy``.
        LedgerError: It is no ledger of this version.
    """
    database = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        _prepare(database, path, cache_kib)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, path: Path, cache_kib: int) -> None:
    # Before WAL: then there is no shared-memory file, and the lock holds from the first access to the end.
    database.execute("PRAGMA locking_mode=EXCLUSIVE")
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if tables and (application, version) != (_APPLICATION, _VERSION):
        kind = "of another version of opensearch-splade" if application == _APPLICATION else "another database"
        raise LedgerError(f"{path} is {kind}, no ledger of this one: name another file with --ledger.")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.execute(f"PRAGMA cache_size=-{cache_kib}")
    database.execute(f"PRAGMA application_id={_APPLICATION}")
    database.execute(f"PRAGMA user_version={_VERSION}")
    database.executescript(_TABLES)
    if path.stat().st_size <= _CHECKED:
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(" ".join(verdict.split()))


def remedy(path: Path, error: Exception) -> str:
    """What is wrong and what to do, in a sentence."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return f"Another run uses the ledger {path}: wait for its end, or name another file with --ledger."
    if code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
        return (
            f"The ledger {path} cannot be written ({error}): make room on its disk and run the same command again. "
            "Nothing is lost: what it could not note is encoded again."
        )
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM} or isinstance(error, OSError):
        return f"The ledger {path} cannot be written ({error}): name another file with --ledger, or give --no-ledger."
    return (
        f"The ledger {path} is damaged ({error}): delete it and run the same command again. Nothing is lost: the "
        "documents are encoded once more."
    )
