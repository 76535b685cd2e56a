"""Boosts as a line of text has them: for the command line and for specs of systems."""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.boosts import constant_boost, feature_boost
from opensearch_splade.query.rank_functions import LINEAR, logarithm, saturation, sigmoid

if TYPE_CHECKING:
    from collections.abc import Callable

    from opensearch_splade.types import Json

_FUNCTIONS: dict[str, tuple[Callable[..., Json], range]] = {
    "saturation": (saturation, range(2)),
    "log": (logarithm, range(1, 2)),
    "sigmoid": (sigmoid, range(2, 3)),
    "linear": (lambda: LINEAR, range(1)),
}
"""Name to what makes it and to how many numbers it takes."""


def parse_boost(text: str) -> Json:
    """Reads a constant boost, ``FIELD=VALUE*BOOST``, or one by a number, ``FIELD:FUNCTION[:NUMBER…][*BOOST]``.

    Raises:
        QueryError: It is neither, or a number is out of bounds.

    Example:
        >>> parse_boost("metadata.host=docs.python.org*0.5")
        {'constant_score': {'filter': {'term': {'metadata.host': 'docs.python.org'}}, 'boost': 0.5}}
        >>> parse_boost("static.pagerank:saturation:10*2")
        {'rank_feature': {'field': 'static.pagerank', 'boost': 2.0, 'saturation': {'pivot': 10.0}}}
    """
    what, star, factor = text.rpartition("*")
    what, factor = (what, factor) if star else (text, "1")
    field, equals, value = what.partition("=")
    try:
        boost = float(factor)
        if equals and field and value and star:
            return constant_boost({"term": {field: value}}, boost)
        field, name, *numbers = what.split(":")
        function, counts = _FUNCTIONS[name]
        if field and len(numbers) in counts:
            return feature_boost(field, function(*map(float, numbers)), boost)
    except (KeyError, ValueError) as error:
        raise QueryError(_wrong(text)) from error
    raise QueryError(_wrong(text))


def _wrong(text: str) -> str:
    return (
        f"boost {text!r}: write FIELD=VALUE*BOOST, e.g. metadata.host=docs*0.5, or FIELD:FUNCTION*BOOST for a number "
        "of the document, e.g. static.pagerank:saturation:10*2; functions are saturation[:PIVOT], log:FACTOR, "
        "sigmoid:PIVOT:EXPONENT and linear"
    )
