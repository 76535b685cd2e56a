"""Nearest: the documents that models rank high for a question besides its answer. They teach more than strangers do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from opensearch_splade.training.teachers import Teacher

_FLAT = 60
"""Of reciprocal rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""
_SPARE = 4  # the answer itself and its copies are among the best


class Ranker(Protocol):
    """What ranks all documents for a question: a teacher that can, or an index of a cluster."""

    def best(self, depth: int) -> Iterator[list[int]]:
        """Of each question the places of the best documents, among all; those of score 0 are left out."""
        ...


@dataclass(frozen=True, slots=True)
class Some:
    """A teacher that is asked some of its questions only."""

    teacher: Teacher
    queries: Sequence[int]

    def best(self, depth: int) -> Iterator[list[int]]:
        """See ``Ranker``."""
        return self.teacher.best(depth, self.queries)


def nearest(
    models: Sequence[Ranker], answers: Sequence[int], copies: npt.NDArray[np.int64], depth: int
) -> npt.NDArray[np.int32]:
    """The best documents of each question without its answer, by the models' ranks together.

    Args:
        models: Whose rankings are read.
        answers: Place of the answer of each question.
        copies: Group of each document; copies of the answer are left out.
        depth: How many of a question.

    Returns:
        Places, shape ``(questions, depth)``, best first; ``-1`` where a question has fewer.
    """
    found = np.full((len(answers), depth), -1, np.int32)
    rankings = [list(model.best(depth + _SPARE)) for model in models]
    for question, answer in enumerate(answers):
        fused: dict[int, float] = {}
        for ranking in rankings:
            for rank, place in enumerate(ranking[question], 1):
                fused[place] = fused.get(place, 0.0) + 1 / (_FLAT + rank)
        fit = [place for place in fused if copies[place] != copies[answer]]
        best = sorted(fit, key=lambda place: (-fused[place], place))[:depth]
        found[question, : len(best)] = best
    return found
