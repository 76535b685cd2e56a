"""Query expansion by documents: what feedback is made of, and what it makes of a question."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opensearch_splade.types import Features


class Evidence(NamedTuple):
    """A document that a question is expanded by.

    Attributes:
        id: The document's.
        score: Of the question's own ranking; 0 where it was not found by it.
        features: As stored, of its best passage where it has several.
    """

    id: str
    score: float
    features: Features


class Expander(Protocol):
    """A kind of feedback: ``Feedback`` or ``Rocchio``."""

    def apply(self, question: Features, evidence: Sequence[Evidence]) -> Features:
        """The new query weights, strongest first."""
        ...


@dataclass(frozen=True, slots=True)
class Expansion:
    """A question's weights after feedback.

    Attributes:
        features: Feature to weight, strongest first: what the sparse rankings are asked with.
        added: Those that the question did not have.
        notices: What was done, one sentence each.
        took_ms: Time the server took to find the documents.
    """

    features: Features
    added: frozenset[str] = frozenset()
    notices: tuple[str, ...] = ()
    took_ms: int = 0


def positive(features: Features) -> Features:
    """The features that a server would score by."""
    return {feature: weight for feature, weight in features.items() if weight > 0}


def summed(parts: Iterable[Features]) -> Features:
    """The sum of some vectors, the same in whichever order they come."""
    summands: dict[str, list[float]] = {}
    for part in parts:
        for feature, weight in part.items():
            summands.setdefault(feature, []).append(weight)
    return {feature: math.fsum(weights) for feature, weights in summands.items()}


def scaled(features: Features, factor: float) -> Features:
    """Every weight times a number."""
    return {feature: weight * factor for feature, weight in features.items()}


def strongest(features: Features, most: int | None = None) -> Features:
    """The features by falling weight, equal ones by name; so many of them."""
    return dict(sorted(features.items(), key=lambda each: (-each[1], each[0]))[:most])
