"""Two-Step SPLADE (arXiv 2404.13357): the question's strongest features find the candidates, all of them score these.

Both queries are made of the one-step search, so a two-step has the scores of the one-step for every hit it finds. The
``rescore`` clause does it on any server version, for ``neural_sparse`` and weighted terms, with filters and in nested
passages; ``two_phase`` is the server's own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.clauses import is_seismic
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.rescoring import rescored

if TYPE_CHECKING:
    from opensearch_splade.query.pruning import QueryPruning
    from opensearch_splade.types import Json


def in_two_steps(body: Json, strongest: QueryPruning, *, window: int = CANDIDATES) -> Json:
    """The same search, with candidates found by the strongest features only.

    Args:
        body: A search body of one sparse ranking (``search_body``), with or without a filter.
        strongest: Which features find the candidates.
        window: How many candidates of a shard are scored by all features, at least to the page's end.

    Raises:
        QueryError: The body is no sparse ranking over ``rank_features``, collapses or sorts, or the window is not
            possible.

    Example:
        >>> one = {"size": 10, "query": {"neural_sparse": {"sparse": {"query_tokens": {"fox": 2.0, "dog": 0.5}}}}}
        >>> in_two_steps(one, QueryPruning(top_k=1))["query"]  # doctest: +SKIP
        {'neural_sparse': {'sparse': {'query_tokens': {'fox': 2.0}}}}
    """
    return rescored({**body, "query": _pruned(body["query"], strongest)}, _scoring(body["query"]), window=window)


def _pruned(query: Json, rule: QueryPruning) -> Json:
    """The query asked by fewer features; filters stay."""
    if query.keys() == {"neural_sparse"} and not is_seismic(query):
        [(field, clause)] = query["neural_sparse"].items()
        if "query_tokens" in clause:
            return {"neural_sparse": {field: {**clause, "query_tokens": rule.apply(clause["query_tokens"])}}}
    if query.keys() == {"nested"}:
        return {"nested": {**query["nested"], "query": _pruned(query["nested"]["query"], rule)}}
    if _is_filtered(query):
        return {"bool": {**query["bool"], "must": [_pruned(query["bool"]["must"][0], rule)]}}
    if _is_weighted_terms(query):
        clauses = {clause["rank_feature"]["field"]: clause for clause in query["bool"]["should"]}
        kept = rule.apply({field: clause["rank_feature"]["boost"] for field, clause in clauses.items()})
        return {"bool": {**query["bool"], "should": [clauses[field] for field in kept]}}
    if query.keys() == {"match_none"}:
        return query
    raise QueryError(
        "two steps go with one sparse ranking over a rank_features field: ask neural-sparse (by tokens) or "
        f"weighted-terms; this asks {', '.join(query) or 'nothing'}. A SEISMIC field has its own first step (top_n)"
    )


def _scoring(query: Json) -> Json:
    """The query without its filter: candidates match it already."""
    inner: Json = query["bool"]["must"][0] if _is_filtered(query) else query
    return inner


def _is_filtered(query: Json) -> bool:
    """Whether it is one of ``filtered``."""
    return query.keys() == {"bool"} and query["bool"].keys() == {"must", "filter"} and len(query["bool"]["must"]) == 1


def _is_weighted_terms(query: Json) -> bool:
    """Whether it is one of ``weighted_terms``."""
    if query.keys() != {"bool"} or query["bool"].keys() != {"should"}:
        return False
    clauses = query["bool"]["should"]
    return all(clause.keys() == {"rank_feature"} and "linear" in clause["rank_feature"] for clause in clauses)
