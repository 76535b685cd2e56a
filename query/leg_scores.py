"""What each ranking gave to a hit, read from the server's explanation of a hybrid; summands of the hit's score.

The server names no leg: it lists those that the hit matches, in their order, each by what its own scorer says. The
fused pool is that of all shards, normalised where they meet, so what it says holds for any number of shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from opensearch_splade.query.explanation import lexical_contributions
from opensearch_splade.types import LegScore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opensearch_splade.query.mode import Leg
    from opensearch_splade.types import Contribution, Json

SUM_TOLERANCE = 1e-4
"""Relative: legs and fusion are float32 on the server."""


def leg_scores(
    explanation: Json, legs: Sequence[Leg], pipeline: Json, sparse: Sequence[Contribution]
) -> list[LegScore]:
    """The rankings that found a hit, in their order.

    Args:
        explanation: The hit's ``_explanation``.
        legs: Those of the hybrid.
        pipeline: What fused them.
        sparse: What each feature gave in the sparse ranking.
    """
    shares = _weights(pipeline, len(legs))
    remaining = list(range(len(legs)))
    found: list[LegScore] = []
    for normalised in explanation["details"]:
        raw = normalised["details"][0] if normalised.get("details") else normalised
        kind = _kind(raw)
        place = next((one for one in remaining if _fits(legs[one], kind)), None)
        if place is None:
            continue
        remaining = [one for one in remaining if one > place]
        leg = legs[place]
        why = lexical_contributions(raw) if leg == "bm25" else () if leg == "knn" else sparse
        found.append(LegScore(leg, raw["value"], normalised["value"], shares[place], tuple(why)))
    return found


def single_leg(leg: Leg, score: float, why: Sequence[Contribution]) -> LegScore:
    """A ranking that was asked alone: its score is the hit's."""
    return LegScore(leg, score, score, 1.0, tuple(why))


def similarity(score: float) -> float:
    """The inner product behind the score of a kNN query on our ``dense`` field (Lucene's maximum inner product)."""
    return score - 1 if score >= 1 else 1 - 1 / score


def adds_up(legs: Sequence[LegScore], score: float) -> bool:
    """Whether what the legs gave is the hit's score, and what the parts of a leg gave that leg's."""
    whole = abs(sum(leg.contribution for leg in legs) - score) <= SUM_TOLERANCE * abs(score)
    parts = (abs(sum(one.score for one in leg.why) - leg.score) <= SUM_TOLERANCE * leg.score for leg in legs if leg.why)
    return whole and all(parts)


def _weights(pipeline: Json, legs: int) -> list[float]:
    """What the fusion multiplies each normalised score by."""
    [processor] = pipeline["phase_results_processors"][0].values()
    combination = processor["combination"]
    weights = combination.get("parameters", {}).get("weights")
    if combination["technique"] == "rrf":
        return list(weights) if weights else [1.0] * legs
    weights = weights or [1.0] * legs
    return [weight / sum(weights) for weight in weights]


def _kind(explanation: Json) -> str:
    for description in _descriptions(explanation):
        if description.startswith("within top"):
            return "knn"
        if description.startswith("weight(") and "Similarity]" in description:
            return "bm25"
    return "sparse"


def _fits(leg: Leg, kind: str) -> bool:
    return kind == leg or (kind == "sparse" and leg not in {"bm25", "knn"})


def _descriptions(node: Json) -> Iterator[str]:
    yield node["description"]
    for each in node.get("details", ()):
        yield from _descriptions(each)
