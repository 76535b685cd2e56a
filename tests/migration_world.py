"""The world around a migration: somebody who writes all the time, and somebody who reads all the time.

Both ask by the alias that applications use, and know nothing of a migration.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from opensearchpy import OpenSearch, exceptions

from opensearch_splade.plugin.client import connect
from opensearch_splade.types import Json

_PAUSE = 0.05


class _Running:
    """A thread that does something again and again until its context ends."""

    def __init__(self, url: str, alias: str) -> None:
        self.url, self.alias = url, alias
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Returns when it has ended; raises what went wrong in it."""
        self._stop.set()
        self._thread.join()
        if self.failure:
            failure, self.failure = self.failure, None
            raise failure

    def _loop(self) -> None:
        client = connect(self.url, timeout=10)
        try:
            while not self._stop.is_set():
                self.once(client)
                self._stop.wait(_PAUSE)
        except BaseException as error:  # noqa: BLE001 - raised again by who stops it
            self.failure = error

    def once(self, client: OpenSearch) -> None:
        """What it does."""
        raise NotImplementedError


class Writer(_Running):
    """Inserts, updates, replaces and deletes; each until it is acknowledged.

    Args:
        url: Of the cluster.
        alias: What is written to.
        there: Id to document: what the index holds, and from then on must hold.
        more: Documents that come new.
        luck: What decides.
    """

    def __init__(
        self, url: str, alias: str, there: Mapping[str, Json], more: list[tuple[str, Json]], luck: random.Random
    ) -> None:
        super().__init__(url, alias)
        self.there, self._more, self._luck = dict(there), more, luck
        self.written: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.blocked = 0.0
        """Seconds for which writes were refused by a block."""

    def once(self, client: OpenSearch) -> None:
        """One write."""
        kind = self._luck.choices(["insert", "update", "replace", "delete", "return"], [4, 4, 3, 2, 1])[0]
        if kind == "insert" and self._more:
            id_, source = self._more.pop()
            self._until_taken(kind, lambda: client.index(index=self.alias, id=id_, body=source))
            self.there[id_] = source
            return
        id_ = self._luck.choice(list(self.there))
        if kind == "delete":
            gone = self.there.pop(id_)
            self._until_taken(kind, lambda: client.delete(index=self.alias, id=id_, params={"ignore": 404}))
            self._more.append((id_, gone))  # it may come again
            return
        source = {**self.there[id_], "stamp": self._luck.randrange(10**9)}
        if kind == "replace":
            source["body"] = f"{source['title']} {self._luck.choice(['red', 'green', 'blue'])} {source['stamp']}"
            self._until_taken(kind, lambda: client.index(index=self.alias, id=id_, body=source))
        else:
            change = {"doc": {"stamp": source["stamp"]}}
            self._until_taken(kind, lambda: client.update(index=self.alias, id=id_, body=change))
        self.there[id_] = source

    def _until_taken(self, kind: str, write: Any) -> None:
        """The same write again is no other write, so one whose answer was lost may be repeated."""
        while True:
            begun = time.monotonic()
            try:
                write()
            except exceptions.TransportError as error:
                blocked = error.status_code == 403
                self.refused["blocked" if blocked else str(error.status_code)] += 1
                time.sleep(_PAUSE)
                self.blocked += (time.monotonic() - begun) if blocked else 0
                if self._stop.is_set() and self.refused.total() > 100_000:
                    raise
            else:
                self.written[kind] += 1
                return


class Reader(_Running):
    """Searches, and counts what an application would complain about.

    Args:
        url: Of the cluster.
        alias: What is read.
        least: Documents that there must be at least.
    """

    def __init__(self, url: str, alias: str, least: int) -> None:
        super().__init__(url, alias)
        self._least = least
        self.reads = 0
        self.errors: Counter[str] = Counter()
        self.empty = 0
        self.away = threading.Event()
        """Set while the node itself is down: nobody can read then, migration or not."""

    def once(self, client: OpenSearch) -> None:
        """One search for everything, and one for words."""
        down = self.away.is_set()
        try:
            everything = client.search(index=self.alias, body={"size": 0, "track_total_hits": True})
            client.search(index=self.alias, body={"query": {"match": {"body": "library"}}, "size": 3})
        except exceptions.TransportError as error:
            if not (down or self.away.is_set()):
                self.errors[f"{error.status_code} {error.error}"] += 1
            return
        self.reads += 1
        if everything["hits"]["total"]["value"] < self._least:
            self.empty += 1
