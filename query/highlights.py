"""Which words of a text carried the features that gave its score."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from opensearch_splade.types import Contribution

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Highlight:
    """A word of a text.

    Attributes:
        start: Index of its first character.
        end: Index past its last.
        share: Of the sparse score, in (0, 1]: what its features gave wherever they stand, so repeats have it too.
    """

    start: int
    end: int
    share: float


def highlights(
    text: str, places: Iterable[tuple[str, int, int]], why: Sequence[Contribution]
) -> tuple[list[Highlight], list[Contribution]]:
    """The words that carried features, in their order, and the features that no word of the text carried.

    A word is marked whole where one of its word pieces is such a feature. Models also give weights to features of which
    the text has no token (expansion): these have no place and come back as the rest.

    Args:
        text: As the hit has it.
        places: Feature, start and end of each token of the text (``SparseEncoder.places``).
        why: The parts of the hit's sparse score.
    """
    scores = {one.feature: one.score for one in why}
    total = sum(scores.values())
    words = [match.span() for match in _WORD.finditer(text)]
    marked: dict[tuple[int, int], set[str]] = {}
    place = 0
    for feature, start, end in sorted(places, key=lambda each: each[1]):
        while place < len(words) and words[place][1] <= start:
            place += 1
        inside = place < len(words) and words[place][0] <= start
        if feature in scores and end > start:
            marked.setdefault(words[place] if inside else (start, end), set()).add(feature)
    carried = set().union(*marked.values())
    found = [
        Highlight(*word, min(1.0, sum(scores[feature] for feature in features) / total))
        for word, features in sorted(marked.items())
    ]
    return found, [one for one in why if one.feature not in carried]
