"""Ray keepers: what a run on Ray has to keep, in processes on the machine of the command, and how workers reach it.

A keeper is a Ray actor with a part of the ledger's shards. The first one also has the dead letters and the progress.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeVar

from opensearch_splade.errors import LedgerError, OspladeError
from opensearch_splade.ingest.dead_letters import CAME_BEFORE, DeadLetter, DeadLetterFile, to_record
from opensearch_splade.ingest.documents import Placed
from opensearch_splade.ingest.ledger import Entry, Known
from opensearch_splade.ingest.ledger_shards import LedgerShards, by_share, id_key
from opensearch_splade.ingest.report import IngestReport
from opensearch_splade.types import Document

_ASK = 256  # ids in one question

_T = TypeVar("_T")


class Keeper:
    """One part of what a run keeps; lives on the machine of the command.

    An id belongs to the share that came with it first in this run: two workers that send one document at the same time
    could leave the cluster with the one content and the ledger with the other.
    """

    def open(self, ledger: Path, part: tuple[int, int], dead_letters: Path, names: Sequence[str]) -> None:
        """Not the constructor, whose errors Ray does not hand on.

        Args:
            ledger: Of all keepers.
            part: Of the ledger, as ``LedgerShards`` takes it.
            dead_letters: File of all.
            names: Of the shares.
        """
        self._ledger = LedgerShards(ledger, part)
        self._dead_letters, self._buried = DeadLetterFile(dead_letters), set[int]()
        self._names = names
        self._told: dict[int, IngestReport] = {}
        self._lock = threading.Lock()
        self._taken = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a nameless file on disk
        for pragma in ("journal_mode=OFF", "synchronous=OFF", "temp_store=FILE", "cache_size=-65536"):
            self._taken.execute(f"PRAGMA {pragma}")
        self._taken.execute("CREATE TABLE taken (id INTEGER PRIMARY KEY, share INTEGER)")

    def take(self, ids: Sequence[str], share: int) -> list[str]:
        """Whose each id is: the name of another share, or nothing for this one."""
        keys = [(id_key(id_) - 2**63,) for id_ in ids]
        with self._lock:
            self._taken.execute("BEGIN")
            self._taken.executemany(f"INSERT OR IGNORE INTO taken VALUES (?, {share:d})", keys)  # noqa: S608 - a number
            self._taken.execute("COMMIT")
            owners = [self._taken.execute("SELECT share FROM taken WHERE id = ?", key).fetchone()[0] for key in keys]
        return ["" if owner == share else self._names[owner] for owner in owners]

    def look_up(self, entries: Sequence[Entry], marker: str) -> Known:
        """As the ledger does, and so the next two."""
        return self._ledger.look_up(entries, marker)

    def forget(self, ids: Sequence[str]) -> None:
        """These are about to be sent."""
        self._ledger.forget(ids)

    def acknowledge(self, entries: Sequence[Entry], marker: str) -> None:
        """The cluster has these."""
        self._ledger.acknowledge(entries, marker)

    def bury(self, letter: DeadLetter) -> None:
        """Keeps a dead letter, once: a share that is begun again finds the same ones."""
        key = id_key(f"{letter.place}\n{letter.reason}")
        with self._lock:
            if key not in self._buried:
                self._dead_letters.add(letter)
                self._buried.add(key)

    def tell(self, share: int, report: IngestReport) -> None:
        """How far a share is."""
        self._told[share] = report

    def told(self) -> dict[int, IngestReport]:
        """The latest report of each share that was begun."""
        return dict(self._told)

    def close(self) -> None:
        """Gives the locks back."""
        self._ledger.close()


class Keepers:
    """The keepers as a worker sees them: ids and ledger rows, each kept where its id says."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._actors = actors

    def of_share(self, share: int, records: Iterator[Placed]) -> Iterator[Placed]:
        """The records of a share; documents that another share came with first become dead letters."""
        while batch := list(islice(records, _ASK)):
            ids = {record.id for _, record in batch if isinstance(record, Document)}
            parts = self._parts((id_, id_) for id_ in ids)
            answers = self._ask({keeper: ("take", some, share) for keeper, some in parts.items()})
            owners = dict(
                chain.from_iterable(zip(some, answers[keeper], strict=True) for keeper, some in parts.items())
            )
            for place, record in batch:
                if isinstance(record, Document) and (owner := owners[record.id]):
                    reason = f"{CAME_BEFORE} It is in {owner}."
                    yield place, DeadLetter(place, reason, to_record(record), record.id)
                else:
                    yield place, record

    def look_up(self, entries: Sequence[Entry], marker: str) -> Known:
        """As the ledger does, and so the next two."""
        known = Known(set(), set())
        parts = self._parts((entry.id, entry) for entry in entries)
        for found in self._ask({keeper: ("look_up", some, marker) for keeper, some in parts.items()}).values():
            known.unchanged.update(found.unchanged)
            known.changed.update(found.changed)
        return known

    def forget(self, ids: Sequence[str]) -> None:
        """These are about to be sent."""
        self._ask({keeper: ("forget", some) for keeper, some in self._parts((id_, id_) for id_ in ids).items()})

    def acknowledge(self, entries: Sequence[Entry], marker: str) -> None:
        """The cluster has these."""
        parts = self._parts((entry.id, entry) for entry in entries)
        self._ask({keeper: ("acknowledge", some, marker) for keeper, some in parts.items()})

    def bury(self, letter: DeadLetter) -> None:
        """Keeps a dead letter."""
        self._ask({0: ("bury", letter)})

    def tell(self, share: int, report: IngestReport) -> None:
        """How far a share is; nobody waits for that."""
        self._actors[0].tell.remote(share, report)

    def _parts(self, items: Iterable[tuple[str, _T]]) -> dict[int, list[_T]]:
        return by_share(items, len(self._actors))

    def _ask(self, questions: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """All at once, answers by keeper."""
        asked = {
            keeper: getattr(self._actors[keeper], method).remote(*arguments)
            for keeper, (method, *arguments) in questions.items()
        }
        return dict(zip(asked, kept(list(asked.values())), strict=True))


class KeptLetters(DeadLetterFile):
    """The run's dead letters as a worker on any machine writes them."""

    def __init__(self, keepers: Keepers) -> None:
        super().__init__(Path())
        self._keepers = keepers

    def add(self, letter: DeadLetter) -> None:
        """Keeps one. Raises what the file does."""
        self._keepers.bury(letter)
        with self._lock:
            self.count += 1


def kept(references: list[Any]) -> list[Any]:
    """Answers of keepers."""
    return answers(references, LedgerError("The process that keeps the ledger died. Run the same command again."))


def answers(references: list[Any], dead: OspladeError) -> list[Any]:
    """What actors return, or our own error as they raised it.

    Args:
        references: What they were asked.
        dead: Raised where one of them is dead.
    """
    import ray
    from ray.exceptions import RayActorError, RayTaskError

    try:
        return ray.get(references)  # type: ignore[no-any-return]
    except RayTaskError as error:
        cause: BaseException = error
        while isinstance(cause, RayTaskError):
            cause = cause.cause
        if isinstance(cause, OspladeError):
            raise cause from None
        raise
    except RayActorError as error:
        raise dead from error
