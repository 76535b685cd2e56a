"""Learned rescoring: a linear function of what the legs say of a document. ``osplade tune-search`` learns it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError
from opensearch_splade.query.client_fusion import normalise
from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.fusion_spec import Fusion

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("min_max", "rrf", "found")
"""What is known of a document by one leg: its score scaled to [0, 1]; 61 / (60 + rank), the first one's 1; whether it
is among the leg's candidates at all. Each is 0 where it is not."""


@dataclass(frozen=True, slots=True)
class LearnedRescorer:
    """A model that was learned, ready to score.

    Attributes:
        coefficients: ``KIND LEG`` to weight, for each kind of each leg; a leg is named as when it was learned.

    Raises:
        QueryError: A name is of another form, a leg lacks a kind, or a weight is not finite.

    Example:
        >>> model = LearnedRescorer({"min_max bm25": 1.0, "rrf bm25": 0.5, "found bm25": 0.0})
        >>> list(model.rank({"bm25": {"a": 7.0, "b": 3.0}}))
        ['a', 'b']
    """

    coefficients: Mapping[str, float]

    def __post_init__(self) -> None:
        if unknown := [name for name in self.coefficients if name.partition(" ")[0] not in KINDS]:
            raise QueryError(f"coefficient {unknown[0]!r}: its name is one of {', '.join(KINDS)} and a leg")
        if lacking := [
            f"{kind} {leg}" for leg in self.legs for kind in KINDS if f"{kind} {leg}" not in self.coefficients
        ]:
            raise QueryError(f"the learned rescoring lacks the coefficient {lacking[0]!r}; learn it again")
        if any(not math.isfinite(weight) for weight in self.coefficients.values()) or not self.legs:
            raise QueryError("the learned rescoring has no coefficients, or one that is not finite; learn it again")

    @property
    def legs(self) -> tuple[str, ...]:
        """Which rankings it needs."""
        return tuple(dict.fromkeys(name.partition(" ")[2] for name in self.coefficients))

    def rank(self, legs: Mapping[str, Mapping[str, float]], *, candidates: int = CANDIDATES) -> dict[str, float]:
        """Documents with their scores, best first; of equal ones the larger id first, as trec_eval orders ties.

        Args:
            legs: Each leg's document to score, best first; may be empty.
            candidates: How many hits of each leg are scored: as many as when it was learned.

        Raises:
            QueryError: The legs are not those it was learned with.
        """
        if legs.keys() != set(self.legs):
            raise QueryError(f"the rescoring was learned with the legs {', '.join(self.legs)}, not {', '.join(legs)}")
        scores: dict[str, float] = {}
        for leg, hits in legs.items():
            documents = list(hits)[:candidates]
            values = [hits[document] for document in documents]
            scaled, ranks = (normalise(values, Fusion.parse(kind)) for kind in KINDS[:2])
            by_score, by_rank, found = (self.coefficients[f"{kind} {leg}"] for kind in KINDS)
            for document, score, rank in zip(documents, scaled, ranks, strict=True):
                scores[document] = scores.get(document, 0.0) + by_score * score + by_rank * 61 * rank + found
        return dict(sorted(scores.items(), key=lambda each: (each[1], each[0]), reverse=True))
