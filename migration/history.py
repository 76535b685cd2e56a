"""History: the documents of a shard in the order in which they were last written, page by page.

Every write of a document has the shard's next sequence number, and a document that is written again has left its old
place and stands at the end. So one number says how far a shard was brought over, whatever happens meanwhile: to another
process, after a crash, after hours. Nothing is held open in the cluster, neither a scroll nor a point in time, that
could be lost.

Only what all copies of the shard have is read (its global checkpoint): numbers beyond may still have gaps, and may be
given again to other writes when the primary shard fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tenacity

from opensearch_splade.errors import ClusterError, SourceError, TargetError
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PAGE = 500
"""Documents a request."""
IDS_PAGE = 5_000
PATIENCE = 300.0
"""Seconds for which a page is asked for again while the cluster is away or busy."""
OURS = "osplade"
"""The name under which the cluster counts our searches, so that they can be told from others'."""
NOTHING = -1
"""Before the first sequence number."""

_BUSY = {429, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class History:
    """One shard of an index.

    Attributes:
        client: Connected to the source's cluster.
        index: The concrete index.
        shard: Its number.
        excludes: Fields that do not come.
    """

    client: OpenSearch
    index: str
    shard: int
    excludes: tuple[str, ...] = ()

    def checkpoint(self) -> int:
        """The sequence number up to which all is written everywhere and can be read from now on.

        Whatever was acknowledged before this was asked is within: an index of ``translog.durability: async`` tells it
        late, and a copy that is slow too, so it is waited for.

        Raises:
            SourceError: The shard does not answer, or a copy of it lags for too long.
        """
        with _reading(self.index):
            newest: int | None = None
            for attempt in _again():
                with attempt:
                    numbers = self._numbers()
                    # Fewer after a primary failed: what it alone had was acknowledged to nobody.
                    newest = min(numbers["max_seq_no"] if newest is None else newest, numbers["max_seq_no"])
                    if numbers["global_checkpoint"] < newest:
                        self._sync(attempt.retry_state.attempt_number)
                        raise _NotThereError(f"a copy of shard {self.shard} lags behind")
                    if self.client.indices.refresh(index=self.index)["_shards"]["failed"]:
                        raise _NotThereError("a shard could not be refreshed")
                    return int(numbers["global_checkpoint"])
        raise AssertionError("the last attempt raises")

    def _sync(self, attempt: int) -> None:
        """Has the index write its log to disk, if writes that were under way are not all that was missing."""
        from opensearchpy import exceptions

        if attempt > 1:
            with suppress(exceptions.AuthorizationException):  # it does so itself, some seconds later
                self.client.indices.flush(index=self.index)

    def _numbers(self) -> Json:
        stats = self.client.indices.stats(index=self.index, metric="docs", params={"level": "shards"})
        copies = stats["indices"].get(self.index, {}).get("shards", {}).get(str(self.shard), [])
        primary = next((copy for copy in copies if copy["routing"]["primary"]), None)
        if primary is None:
            raise _NotThereError(f"shard {self.shard} has no primary just now")
        numbers: Json = primary["seq_no"]
        return numbers

    def read(self, after: int, upto: int, page: int = PAGE) -> Iterator[list[Json]]:
        """Hits with their whole ``_source``, a page at a time.

        Args:
            after: The last number that is known.
            upto: A checkpoint.
            page: Hits a request.

        Raises:
            SourceError: The shard does not answer for too long.
        """
        source: Json | bool = {"excludes": list(self.excludes)} if self.excludes else True
        return self._pages(after, {"lte": upto}, source, page)

    def ids(self) -> Iterator[list[str]]:
        """The ids of all that is there, those written meanwhile included; some may come twice."""
        for hits in self._pages(NOTHING, {}, False, IDS_PAGE):
            yield [hit["_id"] for hit in hits]

    def count(self) -> int:
        """How many documents of the shard can be seen."""
        body: Json = {"size": 0, "track_total_hits": True, "stats": [OURS]}
        return int(self._answer(body)["hits"]["total"]["value"])

    def find(self, ids: list[str]) -> list[Json]:
        """Those of these that the shard holds and that can be seen, with their numbers."""
        body: Json = {
            "size": len(ids),
            "query": {"ids": {"values": ids}},
            "_source": {"excludes": list(self.excludes)},
            "seq_no_primary_term": True,
            "stats": [OURS],
        }
        return list(self._answer(body)["hits"]["hits"])

    def missing(self, ids: list[str]) -> list[str]:
        """Which of these the whole index does not hold."""
        there = {hit["_id"] for hit in self.look_up(ids, source=False)}
        return [one for one in ids if one not in there]

    def look_up(self, ids: Sequence[str], *, source: bool = True) -> list[Json]:
        """What the whole index holds under these ids just now; an id with several routings may be there several times.

        Args:
            ids: At most some hundreds.
            source: Whether their ``_source`` comes.

        Raises:
            SourceError: The index does not answer for too long.
        """
        body: Json = {
            "size": IDS_PAGE,
            "query": {"ids": {"values": list(ids)}},
            "_source": {"excludes": list(self.excludes)} if source else False,
            "seq_no_primary_term": True,
            "stats": [OURS],
        }
        with _reading(self.index):
            for attempt in _again():
                with attempt:
                    if self.client.indices.refresh(index=self.index)["_shards"]["failed"]:
                        raise _NotThereError("a shard could not be refreshed")
                    hits: list[Json] = _whole(self.client.search(index=self.index, body=body))["hits"]["hits"]
                    return hits
        raise AssertionError("the last attempt raises")

    def _pages(self, after: int, bounds: Json, source: Json | bool, page: int) -> Iterator[list[Json]]:
        while True:
            body: Json = {
                "size": page,
                "query": {"range": {"_seq_no": {"gt": after, **bounds}}},
                "sort": ["_seq_no"],
                "_source": source,
                "seq_no_primary_term": True,
                "track_total_hits": False,
                "stats": [OURS],
            }
            hits = self._answer(body)["hits"]["hits"]
            if hits:
                yield hits
                after = hits[-1]["sort"][0]
            if len(hits) < page:
                return

    def _answer(self, body: Json) -> Json:
        asked = {"preference": f"_shards:{self.shard}", "allow_partial_search_results": "false"}
        with _reading(self.index):
            for attempt in _again():
                with attempt:
                    return _whole(self.client.search(index=self.index, body=body, params=asked))
        raise AssertionError("the last attempt raises")


class _NotThereError(Exception):
    """It may be there soon."""


def _whole(answer: Json) -> Json:
    if answer.get("timed_out") or answer["_shards"]["failed"]:
        raise _NotThereError("a shard did not answer")
    return answer


def _again() -> tenacity.Retrying:
    from opensearchpy import exceptions

    def passes(error: BaseException) -> bool:
        if isinstance(error, _NotThereError | exceptions.ConnectionError):
            return True
        return isinstance(error, exceptions.TransportError) and error.status_code in _BUSY

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(passes),
        wait=tenacity.wait_random_exponential(0.5, 10),
        stop=tenacity.stop_after_delay(PATIENCE),
        reraise=True,
    )


@contextmanager
def _reading(index: str) -> Iterator[None]:
    try:
        with asking(index):
            yield
    except _NotThereError as error:
        raise SourceError(f"index {index!r} could not be read for {PATIENCE:g} s: {error}; run again.") from error
    except TargetError as error:
        raise SourceError(f"index {index!r} is gone: was it deleted or renamed meanwhile?") from error
    except ClusterError as error:
        raise SourceError(
            f"{error}. Run the same command again when the cluster is well: it goes on from here."
        ) from error
