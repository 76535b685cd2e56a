"""Documents of an index: OpenSearch's own, or Elasticsearch's.

Each shard is read in the order that it stores documents in, from a point in time of its own: that order is the cheapest
one, and only within one shard does it say where the next page begins. Where there are no points in time, or this user
may not make one, the index is scrolled. Either way what came is counted against what the cluster said there is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import tenacity

from opensearch_splade.errors import ClusterError, SourceError, TargetError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.ingest.documents import Placed
from opensearch_splade.ingest.field_map import FieldMap
from opensearch_splade.ingest.rows import row_placed
from opensearch_splade.plugin.client import address, connect, redacted
from opensearch_splade.plugin.connection import SOURCE
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

PAGE = 500
"""Documents a request."""
KEPT_ALIVE = "15m"
"""How long the cluster keeps our place between two pages: a slow target must not cost it."""
PATIENCE = 120.0
"""Seconds that a page is asked for again while the cluster is away or busy."""
_OURS = ["sparse", "dense", "encoded", "hash", "id", "passages", "static", "number", "passage_count", "start", "end"]
"""What an index of this package holds beside the document."""
_BUSY = {429, 502, 503, 504}


def read_index(source: str, fields: FieldMap, client: OpenSearch | None = None) -> Iterator[Placed]:
    """The document or dead letter of every record; its place is ``index/_id``.

    An index of this package gives the documents that it was made of: its vectors are left out.

    Args:
        source: ``NAME`` (an index, alias or pattern) or ``http(s)://[user:password@]host[:port][/prefix]/NAME``.
        fields: Which field is what; ``_id`` names the document unless told otherwise.
        client: The cluster of a bare name, and of its own URL; by default the one that ``connect`` finds. A URL of
            another one is asked by what the URL or the variables ``OPENSEARCH_SOURCE_…`` say.

    Raises:
        SourceError: There is no such index, it keeps no ``_source``, or it could not be read to its end.
        ClusterError: The URL is none, or no cluster is named at all.
    """
    url, slash, name = source.rpartition("/")
    if not name or (slash and "://" not in url):
        raise SourceError(f"index:{redacted(source)} names no index: write index:NAME or index:https://host:9200/NAME.")
    reader = _Reader(_client(url, client), name, fields)
    for hit in reader.hits():
        if "_source" not in hit:
            raise SourceError(f"index {hit['_index']!r} keeps no _source, so its documents cannot be read from it.")
        yield row_placed(f"{hit['_index']}/{hit['_id']}", {**hit["_source"], "_id": hit["_id"]}, fields)


def _client(url: str, client: OpenSearch | None) -> OpenSearch:
    """Another cluster's is sent nothing of what proves us to this one."""
    if not url:
        return client or connect()
    other = connect(url, environment=SOURCE)
    is_same = client is not None and address(client) == address(other) and "@" not in url
    return client if client is not None and is_same else other


class _Reader:
    """One index, alias or pattern on one cluster."""

    def __init__(self, client: OpenSearch, name: str, fields: FieldMap) -> None:
        self._client, self._name, self._fields = client, name, fields

    def hits(self) -> Iterator[Json]:
        """Every document."""
        with self._reading("there is no such index; GET _cat/indices lists what there is"):
            source = self._wanted()
        for query, index, shard in self._parts():
            place = self._point_in_time(index, shard) if shard is not None else None
            body: Json = {"query": query, "_source": source, "size": PAGE, "sort": ["_doc"], "track_total_hits": True}
            if place is None:
                yield from self._counted(self._scroll(index, shard, body), index)
                continue
            try:
                yield from self._counted(self._pages(place, body), index)
            finally:
                self._let_go(place)

    def _wanted(self) -> Json | bool:
        mappings = self._client.indices.get_mapping(index=self._name)
        if not mappings:
            raise SourceError(f"No index matches {self._name!r} on {address(self._client)}.")
        try:
            IndexMeta.from_mappings(self._name, mappings)
        except TargetError:
            leave_out: list[str] = []
        else:
            leave_out = _OURS
        if self._fields.read is not None:
            return {"includes": [field for field in self._fields.read if field != "_id" and field not in leave_out]}
        return {"excludes": leave_out} if leave_out else True

    def _parts(self) -> list[tuple[Json, str, int | None]]:
        """Query, concrete index and shard; the whole under its name where this user may not ask for the shards."""
        from opensearchpy import exceptions

        try:
            found = self._client.search_shards(index=self._name)
        except exceptions.TransportError:
            return [({"match_all": {}}, self._name, None)]
        filters = {index: about.get("filter") for index, about in found.get("indices", {}).items()}  # of an alias
        shards = sorted({(copy["index"], copy["shard"]) for copies in found["shards"] for copy in copies})
        return [(filters.get(index) or {"match_all": {}}, index, shard) for index, shard in shards]

    def _point_in_time(self, index: str, shard: int | None) -> Json | None:
        """The cluster's name of a frozen shard, in the words of its kind; ``None`` where it knows none."""
        from opensearchpy import exceptions

        asked = {"keep_alive": KEPT_ALIVE, "preference": f"_shards:{shard}"}
        for path, key in (("_search/point_in_time", "pit_id"), ("_pit", "id")):  # OpenSearch's, Elasticsearch's
            try:
                answer = self._client.transport.perform_request("POST", f"/{index}/{path}", params=asked)
            except exceptions.ConnectionError as error:
                raise self._broken(error.error) from error
            except exceptions.TransportError:
                continue
            return {key: answer[key]}
        return None

    def _pages(self, place: Json, body: Json) -> Iterator[Json]:
        ((key, held),) = place.items()
        while True:
            page = self._searched({**body, "pit": {"id": held, "keep_alive": KEPT_ALIVE}})
            place[key] = held = page.get("pit_id", held)  # Elasticsearch may rename it
            yield page
            hits = page["hits"]["hits"]
            if not hits:
                return
            body["search_after"] = hits[-1]["sort"]

    def _searched(self, body: Json) -> Json:
        from opensearchpy import exceptions

        def is_passing(error: BaseException) -> bool:
            if isinstance(error, exceptions.ConnectionError):
                return True
            return isinstance(error, exceptions.TransportError) and error.status_code in _BUSY

        # A page from a point in time is the same however often it is asked for; one of a scroll is not.
        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_passing),
            wait=tenacity.wait_random_exponential(0.5, 20),
            stop=tenacity.stop_after_delay(PATIENCE),
            reraise=True,
        )
        with self._reading("the cluster no longer knows our place in it; run again"):
            page: Json = again(self._client.search, body=body)
        return page

    def _scroll(self, index: str, shard: int | None, body: Json) -> Iterator[Json]:
        only = {} if shard is None else {"preference": f"_shards:{shard}"}
        with self._reading("the cluster no longer knows our place in it; run again"):
            page = self._client.search(index=index, body=body, params={"scroll": KEPT_ALIVE, **only})
        try:
            while True:
                yield page
                if not page["hits"]["hits"]:
                    return
                held = {"scroll_id": page["_scroll_id"], "scroll": KEPT_ALIVE}
                with self._reading("the cluster no longer knows our place in it; run again"):
                    page = self._client.scroll(body=held)
        finally:
            self._let_go({"scroll_id": page["_scroll_id"]})

    def _counted(self, pages: Iterator[Json], index: str) -> Iterator[Json]:
        """The hits, if each page is whole, and in the end all came."""
        count, total = 0, 0
        for page in pages:
            if page.get("timed_out") or page["_shards"]["failed"]:
                raise self._broken("a shard did not answer")
            total = total or _total(page)
            count += len(page["hits"]["hits"])
            yield from page["hits"]["hits"]
        if count != total:
            raise self._broken(f"{count:,} of {total:,} documents of {index} came")

    def _let_go(self, place: Json) -> None:
        """Frees the cluster's memory; forgotten, it does so itself after ``KEPT_ALIVE``."""
        from opensearchpy import exceptions

        paths = {"pit_id": "/_search/point_in_time", "id": "/_pit", "scroll_id": "/_search/scroll"}
        ((key, held),) = place.items()
        try:
            self._client.transport.perform_request("DELETE", paths[key], body={key: held if key == "id" else [held]})
        except exceptions.OpenSearchException:
            return

    @contextmanager
    def _reading(self, missing: str) -> Iterator[None]:
        try:
            with asking(self._name):
                yield
        except TargetError as error:
            raise self._broken(missing) from error
        except ClusterError as error:
            raise self._broken(str(error)) from error

    def _broken(self, reason: Any) -> SourceError:
        return SourceError(f"index {self._name!r} on {address(self._client)} cannot be read to its end: {reason}.")


def _total(page: Json) -> int:
    total = page["hits"]["total"]
    return int(total["value"] if isinstance(total, dict) else total)  # a number before version 7
