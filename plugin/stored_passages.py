"""Stored passages: how many an index holds of a document whose passages are documents of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError
from opensearch_splade.transport import asking

if TYPE_CHECKING:
    from opensearchpy import OpenSearch


def stored_passages(client: OpenSearch, index: str, ids: Sequence[str]) -> dict[str, int]:
    """Passages of these documents, up to the highest number there is. Only what was refreshed is seen.

    Args:
        client: Connected to the cluster.
        index: One whose passages are documents.
        ids: Of documents.

    Raises:
        TargetError: There is no such index.
        ClusterError: The cluster does not answer or refuses, or a shard fails.
    """
    if not ids:
        return {}
    body = {
        "size": 0,
        "query": {"terms": {"id": list(ids)}},
        "aggs": {
            "documents": {
                "terms": {"field": "id", "size": len(ids)},
                "aggs": {"last": {"max": {"field": "number"}}},
            }
        },
    }
    with asking(index):
        answer = client.search(index=index, body=body, params={"allow_partial_search_results": "false"})
    if answer.get("timed_out") or answer["_shards"]["failed"]:
        raise ClusterError(f"Index {index!r} could not be asked for its passages: a shard failed. Try again.")
    return {
        bucket["key"]: int(bucket["last"]["value"]) + 1 for bucket in answer["aggregations"]["documents"]["buckets"]
    }
