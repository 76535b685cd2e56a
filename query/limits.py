"""What the server would refuse or silently misread in query weights, mended by rule and reported.

A clause (``clauses``) refuses weights that break a rule; ``fit`` makes them keep it and says what it changed, so that
no weight is lost unnoticed. The ranking changes only where features were left out.
"""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from opensearch_splade.errors import QueryError
from opensearch_splade.types import DOT, feature_name

if TYPE_CHECKING:
    from opensearch_splade.types import Features

Dots = Literal["keep", "alias", "leave out"]

MAX_NEURAL_SPARSE_WEIGHT = 64.0
"""``FeatureField.MAX_WEIGHT`` of Lucene: ``neural_sparse`` passes weights to ``newLinearQuery``, which refuses more.
A ``rank_feature`` clause is built with weight 1 and takes its weight as a boost, so it knows no such bound."""

_IDEOGRAPH = r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
# One match for each token that the standard tokenizer may emit: ideographs and kana singly, other words whole up to
# its maximum token length, symbols singly (emoji are tokens; punctuation is not, so this may count too many).
_TOKEN = re.compile(rf"{_IDEOGRAPH}|(?:(?!{_IDEOGRAPH})\w){{1,255}}|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Fit:
    """Query weights that keep the rules, and what was changed for it.

    Attributes:
        features: Feature to weight: float32 values, positive, strongest first.
        dropped: Features left out because their weight is not positive as float32.
        truncated: Weakest features left out because the server's clause limit leaves no room for them.
        scale: What every weight was multiplied by; scores scale with it, the ranking does not change.
        aliased: Features whose dots were written as the index writes them.
        dotted: Features left out because they hold a dot.
    """

    features: Features
    dropped: int = 0
    truncated: int = 0
    scale: float = 1.0
    aliased: int = 0
    dotted: int = 0

    @property
    def notices(self) -> tuple[str, ...]:
        """One sentence for each change, for people; empty if the weights were fine."""
        found = []
        if self.aliased:
            found.append(f"{self.aliased} query features with dots are asked for under their alias ({DOT!r} for a dot)")
        if self.dotted:
            found.append(
                f"{self.dotted} query features with dots left out: a rank_feature clause cannot name them, "
                "neural_sparse can"
            )
        if self.dropped:
            found.append(f"{self.dropped} query features dropped: their weights are not positive")
        if self.truncated:
            found.append(
                f"{self.truncated} weakest query features left out: the server takes no more clauses "
                "(indices.query.bool.max_clause_count)"
            )
        if self.scale != 1.0:
            found.append(
                f"query weights multiplied by {self.scale:.6g}: neural_sparse takes no weight above "
                f"{MAX_NEURAL_SPARSE_WEIGHT:g}; scores scale alike, the ranking is the same"
            )
        return tuple(found)


def fit(features: Features, *, max_clauses: int, max_weight: float = math.inf, dots: Dots = "keep") -> Fit:
    """Make query weights keep the server's rules.

    Args:
        features: Feature to weight, any order.
        max_clauses: The most features to keep, at least one.
        max_weight: ``MAX_NEURAL_SPARSE_WEIGHT`` for ``neural_sparse``; unbounded for weighted terms.
        dots: What becomes of features with a dot, which weighted terms cannot name: ``alias`` where the index was
            written by a bundle, ``leave out`` where by anything else, ``keep`` for ``neural_sparse``.

    Raises:
        QueryError: A weight is NaN, infinite or beyond float32.
    """
    for feature, weight in features.items():
        if not math.isfinite(weight):
            raise QueryError(f"the query weight of feature {feature!r} is {weight}: weights are finite numbers")
    features, aliased, dotted = _without_dots(features, dots)
    strongest = max(features.values(), default=0.0)
    scale = max_weight / strongest if strongest > max_weight else 1.0
    scaled = {feature: as_float32(weight * scale, feature) for feature, weight in features.items()}
    positive = {feature: weight for feature, weight in scaled.items() if weight > 0}
    ranked = sorted(positive.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ranked[:max_clauses])
    return Fit(
        kept,
        dropped=len(scaled) - len(positive),
        truncated=len(positive) - len(kept),
        scale=scale,
        aliased=aliased,
        dotted=dotted,
    )


def _without_dots(features: Features, dots: Dots) -> tuple[Features, int, int]:
    """The features that can be asked for, how many got an alias, and how many are left out."""
    count = sum("." in feature for feature in features)
    if dots == "keep" or not count:
        return features, 0, 0
    if dots == "leave out":
        return {feature: weight for feature, weight in features.items() if "." not in feature}, 0, count
    named: Features = {}
    for feature, weight in features.items():  # "." and its alias may both be there: the stronger one speaks for both
        name = feature_name(feature)
        named[name] = max(weight, named.get(name, weight))
    return named, count, 0


def as_float32(weight: float, feature: str) -> float:
    """The weight as the server reads it.

    Raises:
        QueryError: The weight is beyond float32.
    """
    try:
        return float(struct.unpack("<f", struct.pack("<f", weight))[0])
    except OverflowError as error:
        raise QueryError(f"the query weight of feature {feature!r} is {weight}: beyond a 32-bit float") from error


def fit_text(text: str, *, max_clauses: int) -> tuple[str, int]:
    """Cut a question that ``match`` would turn into more clauses than the server takes.

    Args:
        text: The question.
        max_clauses: The most tokens to keep, at least one.

    Returns:
        The question, cut at a token's end, and how many tokens were left out.
    """
    ends = [token.end() for token in _TOKEN.finditer(text)]
    if len(ends) <= max_clauses:
        return text, 0
    return text[: ends[max_clauses - 1]], len(ends) - max_clauses


def count_clauses(query: object) -> int:
    """The most clauses that a query object of the user can become: one for each value, or word of a text value.

    The limit holds for the whole tree of a search (Lucene's ``IndexSearcher.getMaxClauseCount``), so a filter takes
    room from the features. A list of values (``terms``, ``ids``) is one clause.
    """
    if isinstance(query, dict):
        return sum(map(count_clauses, query.values()))
    if isinstance(query, list):
        return sum(count_clauses(item) for item in query if isinstance(item, dict)) or 1
    return max(1, count_tokens(query)) if isinstance(query, str) else 1


def count_tokens(text: str) -> int:
    """The most tokens that the standard tokenizer may make of a text."""
    return sum(1 for _ in _TOKEN.finditer(text))
