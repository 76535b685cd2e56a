"""Deletes: what the old index no longer holds, found by its ids, since it leaves no sequence number behind.

While an index is written to, an id may be overlooked in it; so what seems to be gone is looked up before it is deleted.
What is written again after that has a later number, and comes again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice

from opensearch_splade.errors import ClusterError
from opensearch_splade.ingest.bulk import Action, BulkWriter
from opensearch_splade.ingest.ledger import Entry, Ledger
from opensearch_splade.migration.history import History
from opensearch_splade.migration.job import Job
from opensearch_splade.plugin.scan import scan
from opensearch_splade.plugin.segments import refresh
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

_AT_ONCE = 500


def known_to(ledgers: Mapping[int, Ledger], ids: set[str]) -> set[str]:
    """Which of these the new index should hold."""
    found = [ledger.look_up([Entry(id_, "") for id_ in ids], "") for ledger in ledgers.values()]
    return {id_ for known in found for id_ in known.changed | known.unchanged}


class Deletes:
    """Deletes in the new index.

    Args:
        job: Begun.
        writer: Of the new index.
    """

    def __init__(self, job: Job, writer: BulkWriter) -> None:
        self._job, self._writer = job, writer

    def of_shard(self, history: History, ledger: Ledger) -> int:
        """Deletes what a shard had and has no longer; how many."""
        if history.count() == ledger.documents:
            return 0  # the ledger has each id that was read, so there is none that the source lacks
        deleted = 0
        for some in _gone(history, ledger):
            if ids := history.missing(some):
                ledger.forget(ids)
                self._delete(ids)
                deleted += len(ids)
        return deleted

    def unnoted(self, ledgers: Mapping[int, Ledger]) -> int:
        """Deletes what a killed process wrote, or began to delete, and no ledger knows, if the source has it no longer.

        A document that is still there is read again and so becomes known. Of what others wrote nothing is touched:
        only documents with the marker of this migration.
        """
        job, target = self._job, self._job.spec.target
        refresh(job.client, target)
        with asking(target):
            stored = int(job.client.count(index=target)["count"])
        if stored == sum(ledger.documents for ledger in ledgers.values()):
            return 0
        deleted, marker = 0, frozenset(job.marker)
        ours = (one.id for page in scan(job.client, target, job.capabilities) for one in page if one.encoded == marker)
        while some := set(islice(ours, _AT_ONCE)):
            if unknown := some - known_to(ledgers, some):
                ids = job.history(0).missing(sorted(unknown))
                self._delete(ids)
                deleted += len(ids)
        return deleted

    def _delete(self, ids: list[str]) -> None:
        if not ids:
            return
        routings = self._routings(ids)
        failures = self._writer.write([Action(id_, None, routings.get(id_, "")) for id_ in ids])
        if failures:
            raise ClusterError(f"the new index refuses to delete {failures[0].id!r}: {failures[0].reason}")

    def _routings(self, ids: list[str]) -> dict[str, str]:
        """A document with a routing of its own is found by nothing else."""
        body: Json = {"query": {"ids": {"values": ids}}, "size": len(ids), "_source": False}
        with asking(self._job.spec.target):
            refresh(self._job.client, self._job.spec.target)
            hits = self._job.client.search(index=self._job.spec.target, body=body)["hits"]["hits"]
        return {hit["_id"]: hit["_routing"] for hit in hits if "_routing" in hit}


def _gone(history: History, ledger: Ledger) -> Iterator[list[str]]:
    """Ids that the ledger knows and the source seems not to have, some at a time."""
    with closing(sqlite3.connect("", isolation_level=None)) as database:  # a file without a name, gone when closed
        database.execute("PRAGMA synchronous=OFF")
        database.execute("CREATE TABLE there (id TEXT PRIMARY KEY) WITHOUT ROWID")
        database.execute("BEGIN")
        for ids in history.ids():
            database.executemany("INSERT OR IGNORE INTO there VALUES (?)", [(id_,) for id_ in ids])
        database.execute("COMMIT")
        for ids in ledger.ids():
            places = ",".join("?" * len(ids))
            rows = database.execute(f"SELECT id FROM there WHERE id IN ({places})", ids)  # noqa: S608 - question marks
            if gone := set(ids) - {row[0] for row in rows}:
                yield sorted(gone)
