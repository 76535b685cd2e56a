"""What a ``rank_feature`` clause makes of a stored number, before the clause's boost multiplies it.

Only ``LINEAR`` keeps a sum of clauses a dot product. The others flatten: their values lie below 1 or grow slowly, which
is what a boost by a static number (popularity, length of the URL) wants. Bounds are those of Lucene's ``FeatureField``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError

if TYPE_CHECKING:
    from opensearch_splade.types import Json

LINEAR: Json = {"linear": {}}
"""The stored number S itself."""


def saturation(pivot: float | None = None) -> Json:
    """``S / (S + pivot)``, in (0, 1): one half at the pivot; without one the server takes a mean of the field.

    Raises:
        QueryError: The pivot is not positive and finite.
    """
    return {"saturation": {} if pivot is None else {"pivot": _positive("pivot", pivot)}}


def logarithm(scaling_factor: float) -> Json:
    """``log(scaling_factor + S)``, unbounded.

    Raises:
        QueryError: The factor is less than 1, with which scores might become negative, or not finite.
    """
    if not (math.isfinite(scaling_factor) and scaling_factor >= 1):
        raise QueryError(f"scaling_factor is {scaling_factor}: it must be finite and at least 1")
    return {"log": {"scaling_factor": scaling_factor}}


def sigmoid(pivot: float, exponent: float) -> Json:
    """``S^e / (S^e + pivot^e)``, in (0, 1): one half at the pivot, steeper the larger the exponent.

    Raises:
        QueryError: A number is not positive and finite.
    """
    return {"sigmoid": {"pivot": _positive("pivot", pivot), "exponent": _positive("exponent", exponent)}}


def _positive(name: str, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise QueryError(f"{name} is {value}: it must be positive and finite")
    return value
