"""Hard negatives: documents that a model takes for the answer, and that are not: they teach more than strangers do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

SKIPPED = 1
"""Best hits that are passed over: without judgements the very first is too often an answer as well."""
_SPARE = 4  # the answer itself and its copies are among the best


class Ranker(Protocol):
    """What negatives are mined with: a teacher, or an index of a cluster."""

    def best(self, depth: int) -> Iterator[list[int]]:
        """Of each question the places of the best documents."""
        ...


def mine(
    rankers: Sequence[Ranker], answers: Sequence[int], copies: npt.NDArray[np.int64], depth: int
) -> npt.NDArray[np.int32]:
    """The best wrong documents of each question, from each model in turn.

    Args:
        rankers: Whose rankings are read.
        answers: Place of the answer of each question.
        copies: Group of each document; copies of the answer are no negatives.
        depth: How many of a question.

    Returns:
        Places, shape ``(questions, depth)``; ``-1`` where a question has fewer.
    """
    found = np.full((len(answers), depth), -1, np.int32)
    each = -(-depth // max(1, len(rankers)))
    tables = [list(ranker.best(each + SKIPPED + _SPARE)) for ranker in rankers]
    for question, answer in enumerate(answers):
        chosen: dict[int, None] = {}
        for table in tables:
            fit = [place for place in table[question] if copies[place] != copies[answer]]
            chosen.update(dict.fromkeys(fit[SKIPPED : SKIPPED + each]))
        places = list(chosen)[:depth]
        found[question, : len(places)] = places
    return found
