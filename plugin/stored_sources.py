"""Stored sources: some documents of an index by ``_id``, an alias or several shards included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


def stored_sources(client: OpenSearch, index: str, ids: Sequence[str], fields: Sequence[str]) -> list[Json]:
    """These fields of the ``_source`` of each document, in the order given; those that are not there are left out.

    Args:
        client: Connected to the cluster.
        index: An index or alias.
        ids: 10,000 at most.
        fields: Names of fields.

    Raises:
        TargetError: There is no such index.
        ClusterError: The cluster does not answer or refuses, or a shard fails.
    """
    body = {"size": len(ids), "query": {"ids": {"values": list(ids)}}, "_source": {"includes": list(fields)}}
    with asking(index):
        answer = client.search(index=index, body=body, params={"allow_partial_search_results": "false"})
    if answer.get("timed_out") or answer["_shards"]["failed"]:
        raise ClusterError(f"Index {index!r} could not be asked for its documents: a shard failed. Try again.")
    found = {hit["_id"]: hit["_source"] for hit in answer["hits"]["hits"]}
    return [found[id_] for id_ in ids if id_ in found]
