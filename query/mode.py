"""How to ask: one ranking, or several fused. ``str(mode)`` is the parse format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from opensearch_splade.errors import QueryError
from opensearch_splade.query.fusion_spec import FUSION_METHODS, FusionMethod

Leg = Literal["bm25", "weighted-terms", "neural-sparse", "knn"]
LEGS: tuple[Leg, ...] = get_args(Leg)
SPARSE_LEGS: tuple[Leg, ...] = ("weighted-terms", "neural-sparse")


@dataclass(frozen=True, slots=True)
class Mode:
    """The rankings to ask for and how they are fused.

    Attributes:
        legs: The rankings in order. None are named in ``hybrid``: all that the index and the encoders have.
        fusion: None for a single ranking.
    """

    legs: tuple[Leg, ...]
    fusion: FusionMethod | None = None

    @classmethod
    def parse(cls, text: str) -> Mode:
        """Read ``bm25``, ``hybrid``, ``bm25+neural-sparse+knn``, ``bm25+knn:rrf`` or ``bm25+knn:min_max/geometric``.

        Args:
            text: ``hybrid`` or names of rankings joined by ``+``; for several also ``:`` and the fusion, by default
                ``min_max``.

        Raises:
            QueryError: A name is unknown or stands twice, or a fusion is named for a single ranking.
        """
        names, colon, fusion = text.partition(":")
        chosen = _fusion(text, fusion) if colon else FUSION_METHODS[0]
        if names == "hybrid":
            return cls((), chosen)
        legs: tuple[Leg, ...] = tuple(_leg(text, name) for name in names.split("+"))
        if len(set(legs)) < len(legs):
            raise QueryError(f"mode {text!r} names a ranking twice")
        if len(legs) == 1 and colon:
            raise QueryError(f"mode {text!r} names a fusion for a single ranking; write {names!r}")
        return cls(legs, chosen if len(legs) > 1 else None)

    def __str__(self) -> str:
        names = "+".join(self.legs) or "hybrid"
        return names if self.fusion in {None, FUSION_METHODS[0]} else f"{names}:{self.fusion}"


def _leg(mode: str, name: str) -> Leg:
    for leg in LEGS:
        if leg == name:
            return leg
    raise QueryError(
        f"mode {mode!r}: unknown ranking {name!r}; choose hybrid, or one or more of {', '.join(LEGS)} joined by '+'"
    )


def _fusion(mode: str, name: str) -> FusionMethod:
    for method in FUSION_METHODS:
        if method == name:
            return method
    raise QueryError(f"mode {mode!r}: unknown fusion {name!r}; choose one of {', '.join(FUSION_METHODS)}")
