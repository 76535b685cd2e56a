"""The server's own two steps: the ``neural_sparse_two_phase_processor`` of the neural-search plugin.

The processor looks for ``neural_sparse`` at the top of a query and in ``bool.should``, at any depth. Anywhere else it
does nothing and says nothing, so a search that it would skip is rewritten, or refused with the reason. Its window is
a multiple of ``size`` and knows no ``from``; here it is given in hits and reaches the page's end.

Unlike ``in_two_steps`` the weak features' scores are added to those of the strong ones, so they need no postings twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.body import MAX_RESULT_WINDOW
from opensearch_splade.query.clauses import is_seismic
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.pruning import QueryPruning
from opensearch_splade.query.requirements import TWO_PHASE, TWO_PHASE_TOP_K

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opensearch_splade.types import Capabilities, Json

SERVER_RULE = QueryPruning(max_ratio=0.4)
"""The processor's own default."""


def two_phase(
    body: Json, strongest: QueryPruning = SERVER_RULE, *, window: int = CANDIDATES, capabilities: Capabilities
) -> Json:
    """The same search with an inline pipeline that makes the server answer in two phases.

    Args:
        body: A search body whose query has ``neural_sparse`` clauses over ``rank_features`` fields.
        strongest: Which features find the candidates: one rule, by ratio or by number.
        window: How many candidates of a shard are scored by all features, in [1, 10,000].
        capabilities: What the server can do.

    Raises:
        CapabilityError: The server is older than 2.15 (2.19 for ``top_k``) or lacks the plugin.
        QueryError: The server would skip it silently, or refuse it; says where and what to do instead.
    """
    capabilities.require(TWO_PHASE)
    if strongest.top_k is not None:
        capabilities.require(TWO_PHASE_TOP_K)
    if not 1 <= window <= MAX_RESULT_WINDOW:
        raise QueryError(f"two phases with a window of {window}: it takes 1 to {MAX_RESULT_WINDOW:,} hits of a shard")
    if taken := body.keys() & {"collapse", "sort", "rescore", "search_pipeline"}:
        raise QueryError(f"two phases do not go with {min(taken)}: the server skips or refuses them; ask in one")
    query = _reachable(body["query"])
    _check(query)
    reached = max(window, body["size"] + body.get("from", 0))
    processor = {"two_phase_parameter": {**_rule(strongest), **_window(reached, body["size"])}}
    pipeline = {"request_processors": [{"neural_sparse_two_phase_processor": processor}]}
    return {**body, "query": query, "search_pipeline": pipeline}


def _rule(strongest: QueryPruning) -> Json:
    if (strongest.max_ratio is None) == (strongest.top_k is None):
        raise QueryError(f"two phases by {strongest or 'no rule'}: the server takes one rule, max_ratio or top_k")
    if strongest.top_k is not None:
        return {"prune_type": "top_k", "prune_ratio": strongest.top_k}
    return {"prune_ratio": strongest.max_ratio}  # before 2.19 there is no prune_type


def _window(window: int, size: int) -> Json:
    # The server cuts size * rate, in 32 bits, to a whole number: half a hit more keeps it from the one below.
    return {"expansion_rate": (window + 0.5) / size, "max_window_size": max(window, 50)}


def _reachable(query: Json) -> Json:
    """A filtered query, whose clause stands in ``must``, with it in ``should``: the same hits and scores."""
    clause = query.get("bool", {})
    if query.keys() == {"bool"} and clause.keys() == {"must", "filter"} and len(clause["must"]) == 1:
        return {"bool": {"should": clause["must"], "minimum_should_match": 1, "filter": clause["filter"]}}
    return query


def _check(query: Json) -> None:
    found = list(_places(query, "the top", seen=True))
    skipped = dict.fromkeys(place for place, _, seen in found if not seen)
    if skipped:
        raise QueryError(
            f"the server would skip the two phases silently: neural_sparse stands in {', '.join(skipped)}, and the "
            "processor sees it only at the top and in bool.should; use in_two_steps, which also takes nested passages"
        )
    if not found:
        raise QueryError(
            "the server would skip the two phases silently: the query has no neural_sparse clause; of weighted-terms "
            "in_two_steps makes two steps"
        )
    if any(is_seismic(clause) for _, clause, _ in found):
        raise QueryError("the server refuses two phases on a sparse_vector field: SEISMIC has its own (top_n)")


def _places(query: object, place: str, *, seen: bool) -> Iterator[tuple[str, Json, bool]]:
    """Each ``neural_sparse`` clause with the place where it stands and whether the processor sees it there."""
    if isinstance(query, list):
        for one in query:
            yield from _places(one, place, seen=seen)
    if not isinstance(query, dict):
        return
    for key, value in query.items():
        if key == "neural_sparse":
            yield place, {key: value}, seen
        elif key == "bool" and isinstance(value, dict):
            for occurrence, clauses in value.items():
                inside = seen and occurrence == "should"
                yield from _places(clauses, f"bool.{occurrence}" if seen else place, seen=inside)
        else:
            yield from _places(value, key if seen else place, seen=False)
