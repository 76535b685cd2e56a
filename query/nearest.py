"""kNN by distance instead of by count, and the kinds of vectors that a kNN clause takes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from opensearch_splade.errors import QueryError
from opensearch_splade.query.requirements import KNN_BINARY, KNN_BYTE, KNN_RADIAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearch_splade.types import Capabilities, Json

VectorKind = Literal["float", "byte", "binary"]
"""``data_type`` of a ``knn_vector`` field. Binary vectors are packed: one signed byte holds eight bits."""

_NEEDS = {"byte": KNN_BYTE, "binary": KNN_BINARY}


def knn_within(
    vector: Sequence[float],
    field: str = "dense",
    *,
    min_score: float | None = None,
    max_distance: float | None = None,
    filter: Json | None = None,
    kind: VectorKind = "float",
    capabilities: Capabilities,
) -> Json:
    """All vectors that are near enough, however many there are: radial search.

    Args:
        vector: As long as the field's dimension.
        field: The ``knn_vector`` field.
        min_score: The least score of a hit, above 0. Either this or ``max_distance``.
        max_distance: The largest distance of a hit, as the field's space measures it.
        filter: One query object that hits must match.
        kind: The field's ``data_type``; binary vectors have no radial search.
        capabilities: What the server can do.

    Raises:
        CapabilityError: The server is older than 2.14 or lacks the k-NN plugin.
        QueryError: Not exactly one bound is given, it is out of range, or the vector is not one of the kind.
    """
    capabilities.require(KNN_RADIAL)
    if kind == "binary":
        raise QueryError("binary vectors have no radial search: ask for the k nearest")
    bounds = {"min_score": min_score, "max_distance": max_distance}
    given = {name: bound for name, bound in bounds.items() if bound is not None}
    if len(given) != 1:
        raise QueryError("a radial kNN query takes either min_score or max_distance")
    if not all(map(math.isfinite, given.values())):
        raise QueryError(f"{given}: the bound of a radial kNN query is a finite number")
    if min_score is not None and min_score <= 0:
        raise QueryError(f"min_score is {min_score}: a kNN query takes one above 0")
    clause: Json = {"vector": checked_vector(vector, kind, capabilities), **given}
    if filter is not None:
        clause["filter"] = filter
    return {"knn": {field: clause}}


def checked_vector(vector: Sequence[float], kind: VectorKind, capabilities: Capabilities) -> list[float]:
    """The vector as a clause takes it.

    Raises:
        CapabilityError: The server is too old for the kind.
        QueryError: It is empty, or a component is not finite, or of a byte or binary vector no integer of a byte.
    """
    if kind in _NEEDS:
        capabilities.require(_NEEDS[kind])
    if not vector or not all(map(math.isfinite, vector)):
        raise QueryError("the query vector is empty or holds a component that is not finite")
    if kind == "float":
        return list(vector)
    if odd := [each for each in vector if each != int(each) or not -128 <= each <= 127]:
        raise QueryError(f"{odd[0]} is no component of a {kind} vector: these are whole numbers from -128 to 127")
    return [int(each) for each in vector]
