"""Query weights kept with an index: the table that makes its inference-free queries fit its own words.

A table of 30,000 weights is too large for a mapping, which lives in the cluster state. It is one document of a small
hidden index, named by the hash of its content; the mapping's ``_meta`` points to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import orjson

from opensearch_splade.errors import TargetError
from opensearch_splade.index_meta import CountedWeights, IndexMeta, QueryWeightsMeta
from opensearch_splade.transport import asking
from opensearch_splade.types import Json

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

STORE = "osplade-query-weights"

_BODY: Json = {
    "settings": {"index": {"hidden": True, "number_of_shards": 1, "auto_expand_replicas": "0-1"}},
    "mappings": {"dynamic": "strict", "properties": {"table": {"type": "object", "enabled": False}}},
}


def save_query_weights(
    client: OpenSearch, index: str, table: Mapping[str, float], kind: CountedWeights = "idf"
) -> QueryWeightsMeta:
    """Stores a table and points the index to it, in this order: an index never points to nothing.

    Args:
        client: Connected to the cluster.
        index: An index made by this package.
        table: Feature to weight.
        kind: How it weighs a question; kept in the mapping, since ``idf`` and ``bm25`` have the same table.

    Raises:
        TargetError: There is no such index, or it is not one of ours.
        ClusterError: The cluster does not answer or refuses.
    """
    meta = IndexMeta.read(client, index)
    identity = hashlib.sha256(orjson.dumps(dict(table), option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    place = QueryWeightsMeta(STORE, identity, kind)
    with asking(STORE):
        # Two runs may get here at once: that it exists already is success.
        client.indices.create(index=STORE, body=_BODY, params={"ignore": 400})
        client.index(index=STORE, id=identity, body={"table": dict(table)}, params={"refresh": "true"})
    replace(meta, query_weights=place).write(client, index)
    return place


def load_query_weights(client: OpenSearch, place: QueryWeightsMeta) -> dict[str, float]:
    """The table that an index points to.

    Raises:
        TargetError: It is gone.
        ClusterError: The cluster does not answer or refuses.
    """
    with asking(place.index):
        found = client.get(index=place.index, id=place.id, params={"ignore": 404})
    if not found.get("found"):
        raise TargetError(
            f"The query weights {place.id} are gone from index {place.index!r}; count them again with "
            "`osplade ingest … --query-weights idf`, or ask with --query-side siamese."
        )
    table: dict[str, float] = found["_source"]["table"]
    return table
