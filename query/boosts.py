"""Scores beside the words: static numbers of a document, matches that count a constant, and queries of one's own."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.types import Contribution

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearch_splade.types import Json


def feature_boost(field: str, how: Json, boost: float = 1.0) -> Json:
    """A static number of the document, such as its popularity, in a ``rank_feature`` field.

    Args:
        field: A field of type ``rank_feature``, or ``FIELD.FEATURE`` of a ``rank_features`` one.
        how: One of ``rank_functions``.
        boost: What its value is multiplied by, at least 0.

    Raises:
        QueryError: The boost is negative or not finite.
    """
    return {"rank_feature": {"field": field, "boost": _checked(boost), **how}}


def constant_boost(filter: Json, boost: float) -> Json:
    """The same score for each document that matches, such as those of one host or one section.

    Raises:
        QueryError: The boost is negative or not finite, or the filter is not one query object.
    """
    return {"constant_score": {"filter": user_query(filter), "boost": _checked(boost)}}


def boosted(query: Json, boosts: Sequence[Json]) -> Json:
    """The query's hits, with the scores of some boosts added: they find no document of their own.

    Raises:
        QueryError: The query is a hybrid, which the server takes at the top only: boost its legs.
    """
    if "hybrid" in query:
        raise QueryError("a hybrid query stands at the top of a search, not within boosts: boost each of its legs")
    return {"bool": {"must": [query], "should": list(boosts)}} if boosts else query


def boost_part(boost: Json, score: float) -> Contribution:
    """What a boost gave to one hit: its own factor times the rest, under a name that tells it from others.

    Args:
        boost: One of ``feature_boost``, ``constant_boost``, or another query.
        score: Its score for the hit.
    """
    [(kind, clause)] = boost.items()
    factor = float(clause.get("boost", 1.0)) if kind in {"rank_feature", "constant_score"} else 1.0
    name = (
        clause["field"] if kind == "rank_feature" else _named(clause["filter"] if kind == "constant_score" else boost)
    )
    return Contribution(name, factor, score / factor if factor else 0.0)


def _named(query: Json) -> str:
    """``field=value`` of a term, the JSON of anything else."""
    if query.keys() == {"term"}:
        [(field, value)] = query["term"].items()
        if isinstance(value, str | int | float):
            return f"{field}={value}"
    return json.dumps(query, ensure_ascii=False)


def user_query(query: object) -> Json:
    """A query of the application's own, to stand inside ours; it is a copy, so later changes do not reach it.

    The server checks what is in it. Checked here is what would be misread: it is one JSON object with one key, which
    is no hybrid anywhere within. Text of users belongs into values of it, never into its keys.

    Args:
        query: A dictionary, or an object of opensearch-py's DSL.

    Raises:
        QueryError: It is something else.
    """
    plain = query.to_dict() if hasattr(query, "to_dict") else query
    try:
        copied = json.loads(json.dumps(plain, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise QueryError(f"the query is no JSON: {error}") from error
    if not isinstance(copied, dict) or len(copied) != 1:
        raise QueryError("a query is a JSON object with one key, its kind, e.g. {'term': {'host': 'docs'}}")
    if _holds_hybrid(copied):
        raise QueryError("a hybrid query stands at the top of a search: within another the server refuses it")
    return copied


def _holds_hybrid(node: object) -> bool:
    if isinstance(node, dict):
        inner = node.get("hybrid")
        return (isinstance(inner, dict) and "queries" in inner) or any(map(_holds_hybrid, node.values()))
    return isinstance(node, list) and any(map(_holds_hybrid, node))


def _checked(boost: float) -> float:
    if not (math.isfinite(boost) and boost >= 0):
        raise QueryError(f"boost is {boost}: it must be finite and at least 0")
    return boost
