"""Audit: proves by reading back that an index holds a source, the whole source, and nothing but the source.

Both sides stream. What the index holds goes into a temporary SQLite database on disk, what the source holds takes it
out again, and what is left nobody gave: memory is the same for any number of documents.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import InitVar, dataclass, field
from typing import Literal

from opensearch_splade.errors import ClusterError, DocumentError
from opensearch_splade.ingest.content import content_hash
from opensearch_splade.ingest.dead_letters import DeadLetter
from opensearch_splade.plugin.scan import Stored
from opensearch_splade.types import Document

Difference = Literal["lost", "extra", "duplicate", "incomplete", "stale_hash", "stale_marker"]
DIFFERENCES: dict[Difference, str] = {
    "lost": "in the source, not in the index",
    "extra": "in the index, not in the source",
    "duplicate": "more than once in the index",
    "incomplete": "with fewer passages in the index than it has",
    "stale_hash": "another content in the index than in the source",
    "stale_marker": "encoded by other bundles than the index says",
}
EXAMPLES = 5
_AT_ONCE = 500


@dataclass
class AuditReport:
    """What an audit found. Counts are documents.

    Attributes:
        source: Documents of the source.
        unreadable: Records of the source that are no documents, so that they cannot be in the index.
        stored: Documents of the index.
        counts: How many of each difference.
        examples: First ids of each.
        limit: How many of them are kept.
    """

    source: int = 0
    unreadable: int = 0
    stored: int = 0
    counts: dict[Difference, int] = field(default_factory=lambda: dict.fromkeys(DIFFERENCES, 0))
    examples: dict[Difference, list[str]] = field(default_factory=lambda: {kind: [] for kind in DIFFERENCES})
    limit: InitVar[int] = EXAMPLES

    def __post_init__(self, limit: int) -> None:
        self._limit = limit

    @property
    def is_clean(self) -> bool:
        """No difference at all."""
        return not any(self.counts.values())

    def add(self, kind: Difference, id_: str, count: int = 1) -> None:
        """Counts a difference."""
        self.counts[kind] += count
        if len(self.examples[kind]) < self._limit:
            self.examples[kind].append(id_)


def audit(
    records: Iterable[Document | DeadLetter],
    stored: Iterable[Sequence[Stored]],
    marker: frozenset[str],
    examples: int = EXAMPLES,
) -> AuditReport:
    """Compares every document.

    Args:
        records: The source.
        stored: All documents of the index, in pages.
        marker: The fingerprints that each must have been encoded by.
        examples: How many ids of each difference are kept.

    Raises:
        SourceError: The source cannot be read to its end.
        ClusterError: The index cannot, or there is no room for the temporary database.
    """
    report = AuditReport(limit=examples)
    with closing(sqlite3.connect("", isolation_level=None)) as database:  # a file without a name, gone when closed
        try:
            _keep(database, stored, marker, report)
            for batch in _batches(_documents(records, report)):
                _compare(database, batch, report)
            _leave(database, report)
        except sqlite3.OperationalError as error:
            raise ClusterError(
                f"The audit's temporary database failed ({error}): make room where temporary files lie, or name "
                "another place with SQLITE_TMPDIR."
            ) from error
    return report


def _keep(
    database: sqlite3.Connection, pages: Iterable[Sequence[Stored]], marker: frozenset[str], report: AuditReport
) -> None:
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", "cache_size=-65536"):
        database.execute(f"PRAGMA {pragma}")
    database.execute(
        "CREATE TABLE stored (id TEXT PRIMARY KEY, hash TEXT, fits INTEGER, parts INTEGER, copies INTEGER DEFAULT 1) "
        "WITHOUT ROWID"
    )
    for page in pages:
        report.stored += len(page)
        database.execute("BEGIN")
        database.executemany(
            # Passages of one document say the same of it; where they do not, one of them is stale.
            "INSERT INTO stored (id, hash, fits, parts) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            "copies = copies + 1, fits = min(fits, excluded.fits), "
            "hash = CASE WHEN hash = excluded.hash THEN hash ELSE '' END",
            sorted((one.id, one.hash, one.encoded == marker, one.parts) for one in page),
        )
        database.execute("COMMIT")


def _documents(records: Iterable[Document | DeadLetter], report: AuditReport) -> Iterator[tuple[str, str]]:
    for record in records:
        if isinstance(record, DeadLetter):
            report.unreadable += 1
            continue
        try:
            entry = record.id, content_hash(record)
        except DocumentError:
            report.unreadable += 1
            continue
        report.source += 1
        yield entry


def _batches(entries: Iterator[tuple[str, str]]) -> Iterator[dict[str, str]]:
    batch: dict[str, str] = {}
    for id_, content in entries:
        if len(batch) == _AT_ONCE or id_ in batch:  # the index must hold it as often as the source
            yield batch
            batch = {}
        batch[id_] = content
    if batch:
        yield batch


def _compare(database: sqlite3.Connection, batch: dict[str, str], report: AuditReport) -> None:
    places = ",".join("?" * len(batch))
    found = database.execute(
        f"SELECT id, hash, fits, parts, copies FROM stored WHERE id IN ({places})",  # noqa: S608 - question marks
        list(batch),
    ).fetchall()
    for id_, content, fits, parts, copies in found:
        if copies > parts:
            report.add("duplicate", id_, copies - parts)
        if copies < parts:
            report.add("incomplete", id_)
        if content != batch[id_]:
            report.add("stale_hash", id_)
        if not fits:
            report.add("stale_marker", id_)
    there = {row[0] for row in found}
    for id_ in batch:
        if id_ not in there:
            report.add("lost", id_)
    database.execute("BEGIN")
    database.executemany("DELETE FROM stored WHERE id = ?", [(row[0],) for row in found])
    database.execute("COMMIT")


def _leave(database: sqlite3.Connection, report: AuditReport) -> None:
    for id_, copies in database.execute("SELECT id, copies FROM stored ORDER BY id"):
        report.add("extra", id_ or "(a document without the field id)", copies)
