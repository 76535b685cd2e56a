"""Several rankings fused into one by the server: a ``hybrid`` query with its search pipeline.

Without a pipeline the server answers a hybrid query with raw delimiter scores (-9549512000) and duplicate hits, so
query and pipeline are built together and travel in one body.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

from opensearch_splade.errors import QueryError
from opensearch_splade.query.clauses import filtered, is_seismic
from opensearch_splade.query.requirements import HYBRID, HYBRID_FILTER, PAGINATION_DEPTH, RRF, RRF_WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearch_splade.types import Capabilities, Json

FusionMethod = Literal["min_max", "rrf"]
"""``min_max``: scores of each leg scaled to [0, 1], then the weighted mean. ``rrf``: reciprocal rank fusion
(Cormack et al., SIGIR 2009), sum of 1 / (60 + rank)."""

FUSION_METHODS: tuple[FusionMethod, ...] = get_args(FusionMethod)
MAX_LEGS = 5
RANK_CONSTANT = 60
CANDIDATES = 200
"""How many hits of each leg are fused, at least: a page that ends later pools more. Up to there it is constant over
sizes and pages, since min-max depends on the pool: SciFact's BM25 + MiniLM has nDCG@10 .7187 of 10 and .7341 of 200."""


def hybrid(
    legs: Sequence[Json],
    *,
    method: FusionMethod = "min_max",
    weights: Sequence[float] | None = None,
    filter: Json | None = None,
    pagination_depth: int = CANDIDATES,
    capabilities: Capabilities,
) -> tuple[Json, Json]:
    """Fuse two to five queries.

    Args:
        legs: The queries, each a whole query object.
        method: How scores or ranks become one score.
        weights: One for each leg, positive; scaled to sum to 1. None weighs all alike.
        filter: One query object that hits must match; before 3.0 it is put into each leg.
        pagination_depth: Hits of each leg and shard that are fused; before 2.19 the server fuses ``size`` of them.
        capabilities: What the server can do.

    Returns:
        The query and its search pipeline, for ``query`` and ``search_pipeline`` of one search body.

    Raises:
        CapabilityError: The server is too old for hybrid (2.10), RRF (2.19) or weighted RRF (3.1), or lacks the plugin.
        QueryError: The number of legs, the method or the weights are out of bounds.
    """
    capabilities.require(HYBRID)
    if not 2 <= len(legs) <= MAX_LEGS:
        raise QueryError(f"a hybrid fuses 2 to {MAX_LEGS} queries, not {len(legs)}")
    pipeline = _pipeline(method, len(legs), weights, capabilities)
    query: Json = {"queries": list(legs)}
    if filter is not None and capabilities.supports(HYBRID_FILTER):
        query["filter"] = filter
        query["queries"] = [filtered(leg, filter) if is_seismic(leg) else leg for leg in legs]
    elif filter is not None:
        query["queries"] = [filtered(leg, filter) for leg in legs]
    if capabilities.supports(PAGINATION_DEPTH):
        query["pagination_depth"] = pagination_depth
    return {"hybrid": query}, pipeline


def _pipeline(method: FusionMethod, legs: int, weights: Sequence[float] | None, capabilities: Capabilities) -> Json:
    shares = _shares(weights, legs)
    if method == "min_max":
        processor: Json = {
            "normalization-processor": {
                "normalization": {"technique": "min_max"},
                "combination": {"technique": "arithmetic_mean", "parameters": {"weights": shares}},
            }
        }
    elif method == "rrf":
        capabilities.require(RRF)
        combination: Json = {"technique": "rrf", "rank_constant": RANK_CONSTANT}
        if weights is not None:
            capabilities.require(RRF_WEIGHTS)
            combination["parameters"] = {"weights": shares}
        processor = {"score-ranker-processor": {"combination": combination}}
    else:
        raise QueryError(f"unknown fusion {method!r}: choose one of {', '.join(FUSION_METHODS)}")
    return {"phase_results_processors": [processor]}


def _shares(weights: Sequence[float] | None, legs: int) -> list[float]:
    if weights is None:
        return [1 / legs] * legs
    if len(weights) != legs:
        raise QueryError(f"{len(weights)} weights for {legs} queries: a hybrid needs one each")
    for weight in weights:
        if not (math.isfinite(weight) and weight > 0):
            raise QueryError(f"a hybrid weight is {weight}: it must be positive and finite; leave a query out instead")
    total = math.fsum(weights)
    return [weight / total for weight in weights]
