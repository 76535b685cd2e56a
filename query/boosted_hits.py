"""Boosts of a hybrid: added to its fused scores, which the server cannot do, since a hybrid stands at the top only.

Put into its legs instead they would be normalised with them, and mean another thing in each: half a point is little of
BM25 and a quarter of the range of a cosine. Here a boost of .1 is a tenth of the best score that min-max can give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import ClusterError
from opensearch_splade.query.batches import together
from opensearch_splade.query.body import ranking_only, search_body
from opensearch_splade.query.hit_json import document_key, flat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearch_splade.query.conversation import Conversation
    from opensearch_splade.query.plan import Plan
    from opensearch_splade.types import Json


def add_boosts(index: str, asked: Sequence[tuple[Plan, Json]], patience_s: float | None) -> Conversation[None]:
    """Adds to the hits of each answer what the boosts of its plan give them, and puts them into their new order.

    Args:
        index: Where they were asked.
        asked: Plans with their answers, which are changed; those without such boosts stay.
        patience_s: How long one search may take.

    Raises:
        ClusterError: A boost was refused.
    """
    chosen = [(plan, answer) for plan, answer in asked if plan.boosts_afterwards and answer["hits"]["hits"]]
    bodies = [_body(plan, answer["hits"]["hits"]) for plan, answer in chosen]
    given = (yield from together(index, bodies, patience_s=patience_s)) if bodies else []
    for (_, answer), boosts in zip(chosen, given, strict=True):
        if isinstance(boosts, ClusterError):
            raise boosts
        more = {document_key(hit): hit["_score"] for hit in map(flat, boosts["hits"]["hits"])}
        hits = answer["hits"]["hits"]
        for hit in hits:
            hit["_score"] += more.get(document_key(flat(hit)), 0.0)
        hits.sort(key=lambda hit: -hit["_score"])  # stable: ties stay in the hybrid's order


def among(hits: Sequence[Json]) -> Json:
    """A filter that these hits match."""
    return {"ids": {"values": [hit["_id"] for hit in map(flat, hits) if hit["_id"] is not None]}}


def _body(plan: Plan, hits: Sequence[Json]) -> Json:
    query = {"bool": {"filter": [among(hits)], "should": list(plan.wanted.boosts)}}
    return ranking_only(search_body(query, size=len(hits)))
