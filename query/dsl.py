"""The query classes that opensearch-py's DSL lacks: importing this module makes ``Q`` and ``Search`` know them.

``Q("neural_sparse", sparse={...})``, ``Q("knn", dense={...})``, ``Q("hybrid", queries=[...])`` work then, and so does
``Q`` of whatever the functions of this room return: ``Q(neural_sparse(weights, capabilities=...))``. Only the functions
check weights and the server's version, and ``check_body`` a whole ``Search``: a plain ``Bool`` of opensearch-py takes a
hybrid, which no class here can catch.
"""

from __future__ import annotations

from typing import Any

from opensearchpy.helpers.query import Bool, MatchAll, Q, Query

from opensearch_splade.errors import QueryError

__all__ = ["Hybrid", "Knn", "NeuralSparse", "Q"]


class _OneField(Query):
    """A clause of one field, whose parameters may hold queries, such as a filter."""

    def to_dict(self) -> Any:
        """Plain dictionaries all the way down: the base class leaves queries within a parameter as they are."""
        return _plain(super().to_dict())


class NeuralSparse(_OneField):
    """The dot product with a sparse field: ``NeuralSparse(sparse={"query_tokens": {"hello": 1.5}})``."""

    name = "neural_sparse"


class Knn(_OneField):
    """The nearest vectors: ``Knn(dense={"vector": [0.6, 0.8], "k": 10, "filter": Q("term", lang="en")})``."""

    name = "knn"


class Hybrid(Bool):
    """Several rankings, fused by the search pipeline: ``Hybrid(queries=[...], filter=Q("term", lang="en"))``.

    A server takes it at the top of a search only. So it is combined with filters alone, which become its own (server
    3.0): ``Search().query(hybrid).filter(...)``. It is a ``Bool`` for one reason: Python lets the right side of ``&``
    speak first where its class is a subclass, which ``Search().filter(...).query(hybrid)`` needs.
    """

    name = "hybrid"
    _param_defs = {"queries": {"type": "query", "multi": True}, "filter": {"type": "query"}}  # noqa: RUF012

    def __and__(self, other: Any) -> Any:
        if isinstance(other, MatchAll):
            return self._clone()
        if not (isinstance(other, Bool) and set(_filled(other)) == {"filter"}):
            raise QueryError("a hybrid query stands at the top of a search: combine its legs, or add filters to it")
        own = [self.filter] if "filter" in self._params else []
        filters = [*own, *other.filter]
        joined = self._clone()
        joined.filter = filters[0] if len(filters) == 1 else Bool(filter=filters)
        return joined

    __rand__ = __add__ = __radd__ = __and__

    def __or__(self, other: Any) -> Any:
        raise QueryError("a hybrid query stands at the top of a search: it cannot be one of several alternatives")

    __ror__ = __or__

    def __invert__(self) -> Any:
        raise QueryError("a hybrid query stands at the top of a search: it cannot be negated")


def _filled(query: Any) -> dict[str, Any]:
    return {name: value for name, value in query._params.items() if value not in ([], {})}


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
