"""Rescoring: the best hits of a cheap ranking scored again by a better query, on the server.

Two-Step SPLADE (arXiv 2404.13357) is one kind: candidates by the question's strongest features, scores by all of them.
The neural-search plugin has it as a search pipeline, which hybrids, nested fields and servers without the plugin lack;
the ``rescore`` clause is in every server.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.body import MAX_RESULT_WINDOW
from opensearch_splade.query.clauses import is_seismic
from opensearch_splade.query.mode import SPARSE_LEGS

if TYPE_CHECKING:
    from opensearch_splade.query.mode import Leg
    from opensearch_splade.types import Json

RESCORERS: tuple[Leg, ...] = ("bm25", *SPARSE_LEGS)
"""Rankings that can score the documents of another one."""
SECOND_ALONE = (0.0, 1.0)
"""Weights by which the second query's score replaces the first one's."""


def rescored(body: Json, query: Json, *, window: int, weights: tuple[float, float] = SECOND_ALONE) -> Json:
    """The same search with the best hits of each shard scored again.

    Hits beyond the window would keep scores of the first query's scale, so the window is at least as large as the page.

    Args:
        body: A search body of one ranking (``search_body``).
        query: What the best hits are scored by. Of these it need not match all: those score nothing by it.
        window: How many hits of a shard are scored again, in [1, 10,000].
        weights: Of the first and the second score, whose sum is the hit's.

    Raises:
        QueryError: The body is a hybrid's, collapses or sorts, or a query, the window or a weight is not possible.
    """
    if not 1 <= window <= MAX_RESULT_WINDOW:
        raise QueryError(f"rescoring with a window of {window}: it takes 1 to {MAX_RESULT_WINDOW:,} hits of a shard")
    if not all(0 <= weight < math.inf for weight in weights) or weights[1] == 0:
        raise QueryError(f"rescoring with the weights {weights}: both are finite, none negative, and the second not 0")
    _check(body, query)
    second = {"rescore_query": query, "query_weight": weights[0], "rescore_query_weight": weights[1]}
    page = body["size"] + body.get("from", 0)
    return {**body, "rescore": {"window_size": max(window, page), "query": second}}


def rescorer(name: str) -> Leg:
    """The ranking of that name.

    Raises:
        QueryError: There is none, or it cannot score given documents.
    """
    for leg in RESCORERS:
        if leg == name:
            return leg
    raise QueryError(f"rescore by {name!r}: choose one of {', '.join(RESCORERS)}")


def _check(body: Json, query: Json) -> None:
    if "hybrid" in body["query"] or "hybrid" in query:
        raise QueryError("a hybrid cannot be rescored: the server would do it before it fuses; rescore one ranking")
    if taken := body.keys() & {"collapse", "sort"}:
        raise QueryError(
            f"the server does not rescore where it has to {min(taken)}, as an index needs whose passages are documents "
            "of their own; ask such an index with one ranking or a hybrid"
        )
    if "knn" in query or is_seismic(query):
        raise QueryError(
            "a kNN or SEISMIC query finds its own best documents, so it cannot score those of another ranking; "
            "rescore by bm25, or by neural-sparse or weighted-terms over a rank_features field"
        )
