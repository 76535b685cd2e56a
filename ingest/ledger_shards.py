"""Ledger shards: one ledger in several files, so that several processes can keep it, each its own part.

A row lies in the shard that its *id* decides and nothing else: not the file that the document came from, not the
number of workers. So there is one row of a document at most wherever it stands and whoever sends it. A file may be
moved, renamed or cut otherwise and a document may move between files: no row becomes wrong. All shards have one name,
which the index notes, and are counted together.
"""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from opensearch_splade.errors import LedgerError
from opensearch_splade.ingest.ledger import Entry, Known, Ledger, Target
from opensearch_splade.ingest.ledger_file import CACHE_KIB, remedy

SHARDS = 16
"""Files of a ledger in shards. Never to be changed: rows would be looked for in the wrong file."""

_T = TypeVar("_T")


def id_key(id_: str) -> int:
    """64 bits of an id, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(id_.encode(), digest_size=8).digest())


def by_share(items: Iterable[tuple[str, _T]], count: int) -> dict[int, list[_T]]:
    """Items by what their ids leave when divided by ``count``, a divisor of the number of shards."""
    found = defaultdict[int, list[_T]](list)
    for id_, item in items:
        found[id_key(id_) % count].append(item)
    return found


class LedgerShards:
    """An open, locked ledger in shards. It may be used by several threads.

    Args:
        path: A folder, made where there is none; or the file of a ledger in one piece, which is a single shard.
        part: Which shards to open: those whose number leaves the first when divided by the second.

    Raises:
        LedgerError: Another run holds a shard, one is damaged, no ledger of ours, or cannot be written.
    """

    def __init__(self, path: Path, part: tuple[int, int] = (0, 1)) -> None:
        self.path = path
        self._is_single = path.is_file()
        self._opened = ExitStack()
        self._shards: dict[int, Ledger] = {}
        first, step = (0, 1) if self._is_single else part
        try:
            if not self._is_single:
                path.mkdir(parents=True, exist_ok=True)
            for number in range(first, 1 if self._is_single else SHARDS, step):
                file = path if self._is_single else path / f"{number:02}.sqlite"
                cache = CACHE_KIB if self._is_single else CACHE_KIB // 4
                self._shards[number] = self._opened.enter_context(Ledger(file, cache))
        except OSError as error:
            raise LedgerError(remedy(path, error)) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives the locks back."""
        self._opened.close()

    @property
    def name(self) -> str:
        """That of the first shard; the others have it from ``claim`` on."""
        return self._shards[0].name

    @property
    def documents(self) -> int:
        """How many the index should hold at least."""
        return sum(shard.documents for shard in self._shards.values())

    def claim(self, target: Target, *, noted: str, stored: int) -> str:
        """As ``Ledger.claim``, once for all shards, all of which must be open.

        A shard that is missing or from elsewhere begins anew by itself. Where all must, the first takes another name in
        the same transaction: whenever this breaks off, the next claim finds the rest by their old name.
        """
        name = self.name
        for shard in self._shards.values():
            if shard.name != name:
                shard.begin_anew(name)
        # Each may judge its index and name; the count is that of all.
        whys = [shard.claim(target, noted=noted, stored=sys.maxsize) for shard in self._shards.values()]
        if stored < (documents := self.documents):
            name = uuid.uuid4().hex
            for shard in self._shards.values():
                shard.begin_anew(name)
            return f"the index holds {stored:,} documents, fewer than the {documents:,} acknowledged"
        return next(filter(None, whys), "")

    def forget_all(self) -> None:
        """Every document will be encoded again."""
        for shard in self._shards.values():
            shard.forget_all()

    def look_up(self, entries: Sequence[Entry], marker: str) -> Known:
        """As ``Ledger.look_up``."""
        known = Known(set(), set())
        for shard, some in self._by_shard((entry.id, entry) for entry in entries):
            found = shard.look_up(some, marker)
            known.unchanged.update(found.unchanged)
            known.changed.update(found.changed)
        return known

    def forget(self, ids: Sequence[str]) -> None:
        """As ``Ledger.forget``."""
        for shard, some in self._by_shard((id_, id_) for id_ in ids):
            shard.forget(some)

    def acknowledge(self, entries: Sequence[Entry], marker: str) -> None:
        """As ``Ledger.acknowledge``; a transaction a shard."""
        for shard, some in self._by_shard((entry.id, entry) for entry in entries):
            shard.acknowledge(some, marker)

    def _by_shard(self, items: Iterable[tuple[str, _T]]) -> list[tuple[Ledger, list[_T]]]:
        count = 1 if self._is_single else SHARDS
        return [(self._shards[number], some) for number, some in by_share(items, count).items()]
