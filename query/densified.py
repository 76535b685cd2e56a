"""Densified sparse vectors (DSR, arXiv 2112.04666): a kNN index finds candidates, the sparse field scores them.

The vocabulary is cut into slices; of each slice a vector keeps its largest weight and which feature had it. The gated
product counts a slice only where both have the same feature there, and comes near the exact one with some hundred
slices. A kNN field knows no gate: it multiplies the largest weights whoever had them, which is good enough for
candidates and no more, so hits are scored again by the sparse query (``rescored``).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opensearch_splade.errors import QueryError

if TYPE_CHECKING:
    from opensearch_splade.types import Features

SLICES = 768
"""Of the exact top 10 of 5,183 documents 97 % were among the first 200; with 384 slices 85 % (SciFact)."""


@dataclass(frozen=True, slots=True)
class Densified:
    """A vector with one place for each slice of the vocabulary.

    Attributes:
        weights: Largest weight of each slice, 0 where it has none: what a ``knn_vector`` of ``innerproduct`` takes.
        features: Which feature had it, empty where there is none.
    """

    weights: list[float]
    features: list[str]

    def gated(self, other: Densified) -> float:
        """The product over slices in which both have the same feature.

        Raises:
            QueryError: The other one has another number of slices.
        """
        if len(self.weights) != len(other.weights):
            raise QueryError(f"{len(self.weights)} slices cannot be compared with {len(other.weights)}")
        places = zip(self.weights, self.features, other.weights, other.features, strict=True)
        return sum(one * two for one, name, two, other_name in places if name and name == other_name)


def densified(features: Features, slices: int = SLICES) -> Densified:
    """One sparse vector, of a document or a question, with a place for each slice.

    A feature's slice is its name's checksum: documents and questions agree without a table, and any vocabulary will do.

    Args:
        features: Feature to weight, positive.
        slices: How many, at least 1: the dimension of the field.

    Raises:
        QueryError: There is no slice.
    """
    if slices < 1:
        raise QueryError(f"a vector of {slices} slices: at least 1 is needed")
    found = Densified([0.0] * slices, [""] * slices)
    for name, weight in sorted(features.items()):  # of equal weights the first by name, on both sides
        place = zlib.crc32(name.encode()) % slices
        if weight > found.weights[place]:
            found.weights[place], found.features[place] = weight, name
    return found
