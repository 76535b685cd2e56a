"""Fusion on the client: what the server's processors compute, for servers and cases that lack them.

Written after neural-search's processors (``processor/normalization``, ``processor/combination``) and held to the node
by tests: scores are 32 bits, a document outside of a leg's candidates scores 0 there, min-max and z-score give .001
where 0 would come out. See docs/fusion.md for where the two differ.
"""

from __future__ import annotations

import math
import struct
from array import array
from typing import TYPE_CHECKING

from opensearch_splade.query.fusion import CANDIDATES
from opensearch_splade.query.fusion_spec import Fusion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from opensearch_splade.query.fusion_spec import Bound, FusionMethod
    from opensearch_splade.types import Combination

LEAST = 0.001  # of a hit that would get 0, in the processors' code
_FLOAT = struct.Struct("f")


def fuse(
    legs: Sequence[Mapping[str, float]],
    method: FusionMethod | Fusion = "min_max",
    *,
    candidates: int = CANDIDATES,
) -> dict[str, float]:
    """Fuse rankings of one question, of any number and from anywhere: several indices, engines, or texts.

    Args:
        legs: Document to score of each, best first; may be empty.
        method: How they are fused. ``linear`` takes, for a document that a leg cut off does not have, the leg's least
            score, which is the most it can have; where the leg has all its hits, 0.
        candidates: How many hits of each leg take part.

    Returns:
        Document to fused score, best first; of equal ones the larger id first, as trec_eval orders ties.

    Raises:
        QueryError: The method is unknown, or weights or bounds are not one for each leg.
    """
    fusion = method if isinstance(method, Fusion) else Fusion.parse(method)
    fusion.check_legs(len(legs))
    columns = comparable(legs, fusion, candidates)
    weights = applied_weights(fusion, len(legs))
    scored = {
        document: combine([column.get(document, none) for column, none in columns], weights, fusion.combination)
        for document in dict.fromkeys(document for column, _ in columns for document in column)
    }
    return dict(sorted(scored.items(), key=lambda each: (each[1], each[0]), reverse=True))


def comparable(
    legs: Sequence[Mapping[str, float]], fusion: Fusion, candidates: int
) -> list[tuple[dict[str, float], float]]:
    """Of each leg its candidates with their normalised scores, and what a document that it lacks has."""
    found = [dict(list(leg.items())[:candidates]) for leg in legs]
    return [
        (
            dict(zip(leg, normalise(list(leg.values()), fusion, place), strict=True)),
            _absent(fusion, list(leg.values()), candidates),
        )
        for place, leg in enumerate(found)
    ]


def normalise(scores: Sequence[float], fusion: Fusion, leg: int = 0) -> list[float]:
    """One leg's scores as the processors make them comparable.

    Args:
        scores: Of its candidates, best first.
        fusion: Which normaliser; weights are not applied here.
        leg: Which of the bounds are its.
    """
    if fusion.normaliser == "rrf":
        return _floats(round(1 / (fusion.rank_constant + rank), 10) for rank in range(1, len(scores) + 1))
    found = _floats(scores)
    if not found or fusion.normaliser == "raw":
        return found
    if fusion.normaliser == "l2":
        return _l2(found)
    if fusion.normaliser == "z_score":
        return _z_scores(found)
    return _min_max(found, _bound(fusion.lower_bounds, leg), _bound(fusion.upper_bounds, leg))


def combine(scores: Sequence[float], weights: Sequence[float], combination: Combination) -> float:
    """One score of several; 0 where a leg does not have the document.

    The arithmetic mean counts such a leg as 0, the other means leave it and its weight out.
    """
    if combination == "arithmetic_mean":
        return _float(math.fsum(weight * score for weight, score in zip(weights, scores, strict=True)))
    there = [(weight, score) for weight, score in zip(weights, scores, strict=True) if score > 0 and weight > 0]
    total = math.fsum(weight for weight, _ in there)
    if not there:
        return 0.0
    if combination == "geometric_mean":
        return _float(math.exp(math.fsum(weight * math.log(score) for weight, score in there) / total))
    return _float(total / math.fsum(weight / score for weight, score in there))


def applied_weights(fusion: Fusion, legs: int) -> list[float]:
    """What each leg's score is multiplied by: RRF without weights is a sum, a linear combination is one always."""
    if fusion.normaliser == "raw" or (fusion.normaliser == "rrf" and not fusion.weights):
        return list(fusion.weights or (1.0,) * legs)
    return fusion.shares(legs) if legs else []


def _absent(fusion: Fusion, scores: Sequence[float], candidates: int) -> float:
    return min(scores) if fusion.normaliser == "raw" and len(scores) >= candidates else 0.0


def _min_max(scores: Sequence[float], lower: Bound | None, upper: Bound | None) -> list[float]:
    least, most = min(scores), max(scores)
    if least == most:
        return [1.0] * len(scores)
    return [_scaled(score, *_range(score, least, most, lower, upper)) for score in scores]


def _range(
    score: float, least: float, most: float, lower: Bound | None, upper: Bound | None
) -> tuple[float, float, bool, bool]:
    """Between what a score is scaled, and whether it is cut off below and above."""
    low, high, is_below, is_above = least, most, False, False
    if lower and lower.mode == "apply" and most > lower.score and score > lower.score:
        low = _float(lower.score)
    elif lower and lower.mode == "clip":
        low = least if most < lower.score else _float(lower.score)
        is_below = score < low
    if upper and upper.mode == "apply" and least < upper.score and score < upper.score:
        high = _float(upper.score)
    elif upper and upper.mode == "clip":
        high = most if least > upper.score else _float(upper.score)
        is_above = score > high
    return low, high, is_below, is_above


def _scaled(score: float, low: float, high: float, is_below: bool, is_above: bool) -> float:
    if is_below:
        return LEAST
    if is_above or low == high:
        return 1.0
    return _float(_float(score - low) / _float(high - low)) or LEAST


def _l2(scores: Sequence[float]) -> list[float]:
    total = 0.0
    for score in scores:
        total = _float(total + _float(score * score))
    length = _float(math.sqrt(total))
    return _floats(score / length if length else LEAST for score in scores)


def _z_scores(scores: Sequence[float]) -> list[float]:
    mean = math.fsum(scores) / len(scores)
    squares = math.fsum((score - mean) ** 2 for score in scores)
    deviation = _float(math.sqrt(squares / (len(scores) - 1))) if len(scores) > 1 else 0.0
    mean, least, most = _float(mean), min(scores), max(scores)

    def scaled(score: float) -> float:
        if score == mean:
            return most
        if not deviation:
            return least
        return max(_float(_float(score - mean) / deviation), LEAST) if score > mean else LEAST

    return [scaled(score) for score in scores]


def _bound(bounds: Sequence[Bound | None], leg: int) -> Bound | None:
    return bounds[leg] if bounds else None


def _float(value: float) -> float:
    """As 32 bits hold it."""
    rounded: float = _FLOAT.unpack(_FLOAT.pack(value))[0]
    return rounded


def _floats(values: Iterable[float]) -> list[float]:
    return array("f", values).tolist()
