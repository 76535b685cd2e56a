"""Why a hit scored as it did: the score of a sparse ranking is a sum, and here are its summands."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from opensearch_splade.query.limits import as_float32
from opensearch_splade.types import Contribution

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from opensearch_splade.types import Features, Json


def contributions(query: Features, stored: Mapping[str, float], added: Collection[str] = ()) -> list[Contribution]:
    """What each feature that question and document share gave, strongest first.

    Both sides are taken as the server holds them: query weights as float32, stored weights with the 9 significant
    bits that the index keeps. The sum is the server's ``_score`` of weighted terms and ``neural_sparse`` within
    float32 rounding.

    Args:
        query: The query weights as sent.
        stored: The hit's ``_source.sparse``.
        added: Features that the question itself did not have.
    """
    shared = [
        Contribution(feature, as_float32(query[feature], feature), as_stored(weight), feature in added)
        for feature, weight in stored.items()
        if feature in query
    ]
    return sorted(shared, key=lambda each: (-each.score, each.feature))


def lexical_contributions(explanation: Json) -> list[Contribution]:
    """What each word gave to a BM25 score, strongest first, from the server's own ``_explanation``.

    Lucene writes ``weight(field:word in 12)`` over ``boost * idf * tf``: the stored weight is ``tf`` (the saturated,
    length-normalised term frequency), the query weight the rest.
    """
    return sorted(_words(explanation), key=lambda each: (-each.score, each.feature))


_WORD = re.compile(r"weight\([^:]+:(?P<word>.+) in \d+\)")


def _words(node: Json) -> Iterator[Contribution]:
    if found := _WORD.match(node["description"]):
        tf = next((each["value"] for each in _descendants(node) if each["description"].startswith("tf,")), 1.0)
        yield Contribution(found["word"], node["value"] / tf if tf else 0.0, tf)
        return
    for each in node.get("details", []):
        yield from _words(each)


def _descendants(node: Json) -> Iterator[Json]:
    for each in node.get("details", []):
        yield each
        yield from _descendants(each)


def shares(why: Sequence[Contribution]) -> list[float]:
    """Each contribution as a fraction of their sum, in the same order."""
    total = sum(each.score for each in why)
    return [each.score / total for each in why]


def as_stored(weight: float) -> float:
    """The weight as a ``rank_features`` field keeps it.

    Lucene's ``FeatureField`` stores ``floatToIntBits(weight) >>> 15`` as the term frequency: sign, exponent and 8
    bits of the fraction, the rest cut off.
    """
    bits = struct.unpack("<I", struct.pack("<f", weight))[0] >> 15 << 15
    return float(struct.unpack("<f", struct.pack("<I", bits))[0])
