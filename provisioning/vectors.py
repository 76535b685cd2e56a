"""Vectors of the cluster beside those of a bundle: the same features, and weights within what the codec keeps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

CLOSE = 2.0**-8
"""Relative: a ``rank_features`` field keeps 9 significant bits, and cuts off the rest."""
NOTHING = 1e-3
"""Weights below it may be missing on one side: another machine's int8 or fp16 products decide them."""
_MORE = 1 + 2 * CLOSE
"""What lies on the border of a pruning rule is decided by rounding."""
_NAMED = 3


def sparse_difference(found: Mapping[str, float], own: Mapping[str, float], prune: str = "") -> str:
    """What differs between two sparse vectors of one text, in words; empty if nothing does.

    Args:
        found: The cluster's.
        own: The bundle's, not pruned.
        prune: How the cluster's was pruned.
    """
    shared = found.keys() & own.keys()
    otherwise = [name for name in shared if not _is_close(found[name], own[name])]
    more = [name for name in found.keys() - own.keys() if found[name] > NOTHING]
    missing = [name for name in own.keys() - found.keys() if own[name] > NOTHING and _stays(name, own, prune)]
    pruned = [name for name in shared if not _may_stay(name, own, prune)]
    parts = [
        ("weigh otherwise", [f"{name} {found[name]:.4g} for {own[name]:.4g}" for name in sorted(otherwise)]),
        ("are not the bundle's", sorted(more)),
        ("are missing", sorted(missing)),
        ("should be pruned", sorted(pruned)),
    ]
    return "; ".join(
        f"{len(names)} of {len(own)} features {what}: {', '.join(names[:_NAMED])}{' …' if len(names) > _NAMED else ''}"
        for what, names in parts
        if names
    )


def dense_difference(found: Sequence[float], own: Sequence[float]) -> str:
    """The same for dense vectors."""
    if len(found) != len(own):
        return f"it has {len(found)} components for {len(own)}"
    lengths = math.hypot(*found) * math.hypot(*own)
    cosine = math.fsum(one * other for one, other in zip(found, own, strict=True)) / lengths if lengths else 1.0
    return "" if cosine > 1 - NOTHING else f"its cosine with the bundle's is {cosine:.4f}"


def _is_close(one: float, other: float) -> bool:
    return abs(one - other) <= CLOSE * max(one, other) + NOTHING


def _stays(name: str, own: Mapping[str, float], prune: str) -> bool:
    """Whether a rule surely keeps a feature."""
    kind, value = _rule(prune)
    weight, heaviest = own[name], max(own.values())
    if kind == "max_ratio":
        return weight > value * heaviest * _MORE
    if kind == "abs_value":
        return weight > value * _MORE
    # What weighs the same within rounding may stand before it.
    before = [one for one in own.values() if one > weight / _MORE]
    if kind == "top_k":
        return len(before) <= value
    return kind != "alpha_mass" or math.fsum(before) * _MORE < value * math.fsum(own.values())


def _may_stay(name: str, own: Mapping[str, float], prune: str) -> bool:
    """Whether a rule may keep a feature; ``osplade ingest`` keeps the strongest in any case."""
    kind, value = _rule(prune)
    weight, heaviest = own[name], max(own.values())
    if weight == heaviest:
        return True
    if kind == "max_ratio":
        return weight * _MORE > value * heaviest
    if kind == "abs_value":
        return weight * _MORE > value
    before = [one for one in own.values() if one > weight * _MORE]
    if kind == "top_k":
        return len(before) < value
    return kind != "alpha_mass" or math.fsum(before) + weight < value * math.fsum(own.values()) * _MORE


def _rule(prune: str) -> tuple[str, float]:
    kind, _, value = prune.partition(":")
    return kind, float(value or 0)
