"""Several rankings fused into one by the server: a ``hybrid`` query with its search pipeline, or one ``bool``.

Without a pipeline the server answers a hybrid query with raw delimiter scores (-9549512000) and duplicate hits, so
query and pipeline are built together and travel in one body.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from opensearch_splade.errors import CapabilityError, QueryError
from opensearch_splade.query.clauses import filtered, is_seismic
from opensearch_splade.query.fusion_spec import Fusion
from opensearch_splade.query.requirements import HYBRID, HYBRID_FILTER, PAGINATION_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opensearch_splade.query.fusion_spec import FusionMethod
    from opensearch_splade.types import Capabilities, Json

MAX_LEGS = 5
CANDIDATES = 200
"""How many hits of each leg are fused, at least: a page that ends later pools more. Up to there it is constant over
sizes and pages, since min-max depends on the pool: SciFact's BM25 + MiniLM has nDCG@10 .7187 of 10 and .7341 of 200."""
_POOLS = (CANDIDATES, 1_000, 10_000)


def pool_depth(end: int) -> int:
    """How many hits of each leg are fused for a page that ends at a rank.

    Few sizes, so that pages are cut from one ranking: all that end at 200 or before, at 1,000 or before, and the rest.
    """
    return next((pool for pool in _POOLS if end <= pool), _POOLS[-1])


def hybrid(
    legs: Sequence[Json],
    *,
    method: FusionMethod | Fusion = "min_max",
    weights: Sequence[float] | None = None,
    filter: Json | None = None,
    pagination_depth: int = CANDIDATES,
    capabilities: Capabilities,
) -> tuple[Json, Json | None]:
    """Fuse two to five queries.

    Args:
        legs: The queries, each a whole query object.
        method: How scores or ranks become one score; a ``Fusion`` also has bounds and a rank constant.
        weights: One for each leg, positive; scaled to sum to 1, but of ``linear`` as they are. None weighs all alike,
            or as the ``Fusion`` says.
        filter: One query object that hits must match; before 3.0 it is put into each leg.
        pagination_depth: Hits of each leg and shard that are fused; before 2.19 the server fuses ``size`` of them.
        capabilities: What the server can do.

    Returns:
        The query and its search pipeline, for ``query`` and ``search_pipeline`` of one search body. ``linear`` needs
        no pipeline, no plugin and no hybrid: it is ``linear``'s query and None.

    Raises:
        CapabilityError: The server is too old for hybrid (2.10), RRF (2.19), z-score or lower bounds (3.0), weighted
            RRF (3.1) or upper bounds (3.2), or lacks the plugin.
        QueryError: The number of legs, the method, the weights or the bounds are out of bounds, or a leg holds a
            hybrid itself.
    """
    fusion = chosen(method, weights)
    if fusion.normaliser == "raw":
        return linear(legs, weights=fusion.weights or None, filter=filter), None
    _require(fusion, capabilities)
    _check_legs(legs)
    fusion.check_legs(len(legs))
    query: Json = {"queries": list(legs)}
    if filter is not None and capabilities.supports(HYBRID_FILTER):
        query["filter"] = filter
        query["queries"] = [filtered(leg, filter) if is_seismic(leg) else leg for leg in legs]
    elif filter is not None:
        query["queries"] = [filtered(leg, filter) for leg in legs]
    if capabilities.supports(PAGINATION_DEPTH):
        query["pagination_depth"] = pagination_depth
    return {"hybrid": query}, fusion.pipeline(len(legs))


def linear(
    legs: Sequence[Json],
    *,
    weights: Sequence[float] | None = None,
    boosts: Sequence[Json] = (),
    filter: Json | None = None,
) -> Json:
    """The weighted sum of scores as they are, as one ``bool`` without any script: for every server.

    What a question of a known domain wants: BM25, plus cosine, plus something for a host or a term. It may stand inside
    other queries, be sorted, rescored and explained by the server, and has no limit of five. The weights carry the
    scales of the scores, so they are tuned (``osplade tune-search`` prints those of its linear combination). A
    document beyond the ``k`` neighbours of a kNN leg gets nothing of it.

    Args:
        legs: The queries; a hit matches at least one of them.
        weights: What each leg's score is multiplied by, positive. None takes 1.
        boosts: Queries whose scores are added to hits of the legs; alone they match nothing. For example
            ``{"constant_score": {"filter": {"term": {"metadata.host": "docs.python.org"}}, "boost": 2}}``.
        filter: One query object that hits must match; kNN and SEISMIC legs have it inside too.

    Raises:
        QueryError: There are no legs, or a weight is not positive and finite, or a leg is a hybrid.
    """
    if not legs:
        raise QueryError("a linear combination needs a query at least")
    _check_nested(legs)
    weights = [1.0] * len(legs) if weights is None else weights
    if len(weights) != len(legs):
        raise QueryError(f"{len(weights)} weights for {len(legs)} queries: a linear combination needs one each")
    _check_weights(weights)
    inside = [filtered(leg, filter) if filter and ("knn" in leg or is_seismic(leg)) else leg for leg in legs]
    summed = [_weighted(leg, weight) for leg, weight in zip(inside, weights, strict=True)]
    clause: Json = {"should": summed, "minimum_should_match": 1}
    if boosts:
        clause = {"must": [{"bool": clause}], "should": list(boosts)}
    if filter:
        clause["filter"] = [filter]
    return {"bool": clause}


def _weighted(leg: Json, weight: float) -> Json:
    """A boost of its own would multiply with the clause's."""
    return leg if weight == 1 else {"bool": {"should": [leg], "boost": weight}}


def _require(fusion: Fusion, capabilities: Capabilities) -> None:
    try:
        for requirement in (HYBRID, *fusion.requirements):
            capabilities.require(requirement)
    except CapabilityError as error:
        raise CapabilityError(
            f"{error}; every server can be asked leg by leg (`search_fused`), or for a linear combination (:linear)"
        ) from error


def chosen(method: FusionMethod | Fusion, weights: Sequence[float] | None) -> Fusion:
    """The fusion that a method and weights beside it amount to."""
    fusion = method if isinstance(method, Fusion) else Fusion.parse(method)
    if weights is not None:
        _check_weights(weights)
        return replace(fusion, weights=tuple(weights))
    _check_weights(fusion.weights)
    return fusion


def _check_weights(weights: Sequence[float]) -> None:
    for weight in weights:
        if not (math.isfinite(weight) and weight > 0):
            raise QueryError(f"a hybrid weight is {weight}: it must be positive and finite; leave a query out instead")


def _check_legs(legs: Sequence[Json]) -> None:
    if len(legs) > MAX_LEGS:
        raise QueryError(
            f"a hybrid fuses 2 to {MAX_LEGS} queries, not {len(legs)}: add those of one scale up to one leg "
            "(`linear`), or fuse rankings in the client (`fuse`)"
        )
    if len(legs) < 2:
        raise QueryError(f"a hybrid fuses 2 to {MAX_LEGS} queries, not {len(legs)}")
    _check_nested(legs)


def _check_nested(legs: Sequence[Json]) -> None:
    for place, leg in enumerate(legs, 1):
        if any(_hybrids(leg)):
            raise QueryError(
                f"query {place} holds a hybrid, which the server takes at the top level only (elsewhere its scores are "
                "wrong or it fails): give its queries as legs, or add them up with `linear`"
            )


def _hybrids(query: Any) -> Iterator[bool]:
    """True for each hybrid clause, however deep."""
    if isinstance(query, list):
        for one in query:
            yield from _hybrids(one)
    elif isinstance(query, dict):
        for key, value in query.items():
            if key == "hybrid" and isinstance(value, dict) and "queries" in value:  # no field of that name
                yield True
            yield from _hybrids(value)
