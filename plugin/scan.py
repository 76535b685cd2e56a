"""Scan: every document of an index, as it was at one point in time: its doc values, or parts of its source.

One shard after the other, in the order in which Lucene holds them (``_doc``): going on after the last document seen is
a jump then. Sorted by id, each page would look at all documents of the index again. ``_doc`` numbers are those of a
shard, so two shards at once would mistake each other's documents.

There is no way around a point in time (since 2.4), because an index of ours needs 2.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from opensearch_splade.errors import ClusterError, TargetError
from opensearch_splade.index_meta import IndexMeta
from opensearch_splade.plugin.segments import refresh
from opensearch_splade.transport import asking
from opensearch_splade.types import Capabilities, Json, Requirement

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

POINT_IN_TIME = Requirement("a scan of an index (point in time)", (2, 4))
PAGE = 10_000  # index.max_result_window, unless it was lowered
SOURCES_PAGE = 500
_KEEP_ALIVE = "5m"


class Stored(NamedTuple):
    """One document of the index, by its doc values.

    Attributes:
        id: Its field ``id``, which our documents have equal to ``_id``; empty for another's document.
        hash: Its content hash; empty if an older version wrote it.
        encoded: Fingerprints of the bundles that encoded it.
        parts: Documents of the index that its document has: more than one where passages are documents.
    """

    id: str
    hash: str
    encoded: frozenset[str]
    parts: int = 1


def scan(client: OpenSearch, index: str, capabilities: Capabilities, page: int = PAGE) -> Iterator[list[Stored]]:
    """Every document, a page at a time. Refreshes first, so that all that was acknowledged is seen.

    Raises:
        CapabilityError: The server has no point in time.
        TargetError: There is no such index.
        ClusterError: The cluster does not answer or refuses, or a shard fails: part of an index proves nothing.
    """
    try:
        meta = IndexMeta.read(client, index)
    except TargetError:  # an index of others, whose documents have none of these fields
        meta = IndexMeta()
    names = {meta.name(ours): ours for ours in ("id", "hash", "encoded", "passage_count")}
    wanted: Json = {"stored_fields": "_none_", "docvalue_fields": list(names)}
    for hits in _scan(client, index, capabilities, wanted, page):
        yield [_stored({names[field]: values for field, values in hit.get("fields", {}).items()}) for hit in hits]


def scan_sources(
    client: OpenSearch, index: str, capabilities: Capabilities, fields: Sequence[str], page: int = SOURCES_PAGE
) -> Iterator[list[Json]]:
    """Every hit (``_id`` and ``_source``), a page at a time, like ``scan``.

    Args:
        client: Connected to the cluster.
        index: An index or alias.
        capabilities: What the server can do.
        fields: Which of the source come; names of parts have dots.
        page: Hits a request.

    Raises:
        CapabilityError: As ``scan``, and likewise the others.
    """
    yield from _scan(client, index, capabilities, {"_source": {"includes": list(fields)}}, page)


def _scan(client: OpenSearch, index: str, capabilities: Capabilities, wanted: Json, page: int) -> Iterator[list[Json]]:
    capabilities.require(POINT_IN_TIME)
    with asking(index):
        refresh(client, index)
        settings = client.indices.get_settings(index=index)
    for name in sorted(settings):
        for shard in range(int(settings[name]["settings"]["index"]["number_of_shards"])):
            yield from _scan_shard(client, name, shard, wanted, page)


def _scan_shard(client: OpenSearch, index: str, shard: int, wanted: Json, page: int) -> Iterator[list[Json]]:
    with _point_in_time(client, index, shard) as identity:
        body: Json = {
            "size": page,
            "query": {"match_all": {}},
            "sort": ["_doc"],
            "pit": {"id": identity, "keep_alive": _KEEP_ALIVE},
            "track_total_hits": False,
            **wanted,
        }
        while True:
            with asking(index):
                answer = client.search(body=body, params={"allow_partial_search_results": "false"})
            if answer.get("timed_out") or answer["_shards"]["failed"]:
                raise ClusterError(f"Index {index!r} could not be read whole: a shard failed or timed out. Try again.")
            hits = answer["hits"]["hits"]
            if hits:
                yield hits
            if len(hits) < page:
                return
            body["search_after"] = hits[-1]["sort"]
            body["pit"]["id"] = answer.get("pit_id", identity)


@contextmanager
def _point_in_time(client: OpenSearch, index: str, shard: int) -> Iterator[str]:
    from opensearchpy.exceptions import OpenSearchException

    with asking(index):
        made = client.create_pit(index=index, params={"keep_alive": _KEEP_ALIVE, "preference": f"_shards:{shard}"})
    try:
        yield made["pit_id"]
    finally:
        with suppress(OpenSearchException):  # it ends by itself
            client.delete_pit(body={"pit_id": [made["pit_id"]]})


def _stored(fields: Json) -> Stored:
    encoded = frozenset(fields.get("encoded", ()))
    return Stored(_one(fields, "id"), _one(fields, "hash"), encoded, int(_one(fields, "passage_count") or 1))


def _one(fields: Json, name: str) -> str:
    values: list[Any] = fields.get(name, [])
    return str(values[0]) if values else ""
