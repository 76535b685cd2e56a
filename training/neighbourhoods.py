"""Neighbourhoods: batches of documents that are hard to tell apart, with all questions that were made of any of them.

A batch begins with a few questions. Each brings its answer and some documents that models rank high for it: all in one
batch, they are each other's hard negatives (as in topic-aware sampling; Hofstaetter et al., arXiv 2104.06967).
Questions cost next to nothing where no model reads them, so all that belong to the batch's documents are asked at once:
hundreds of rankings are learned from a few dozen documents that are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opensearch_splade.training.pseudo_queries import Kind, Pair

_BEGIN: Mapping[Kind, float] = {"judged": 6.0, "title": 1.0, "sentence": 0.6, "span": 0.3, "words": 0.3}
"""How often a question of each kind begins a neighbourhood: those that are like what people ask more often."""
_NEAR = 8
"""Half of the neighbours are among so many best, the others further down."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents and questions of a step, by their places."""

    documents: Sequence[int]
    pairs: Sequence[int]


class Neighbourhoods:
    """Batches by step: a function of seed and step alone, so that a run goes on where it was killed.

    Args:
        pairs: All questions.
        begin: Places of those that may begin a neighbourhood.
        near: Documents near each of these, shape ``(begin, depth)``, ``-1`` where there are fewer.
        size: Neighbourhoods of a batch.
        neighbours: Documents of one, besides the answer.
        questions: Of a batch, at most.
        seed: Another one gives other batches.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        begin: Sequence[int],
        near: npt.NDArray[np.int32],
        *,
        size: int,
        neighbours: int,
        questions: int,
        seed: int,
    ) -> None:
        self._pairs, self._begin, self._near = pairs, begin, near
        self._size, self._neighbours, self._questions = min(size, len(begin)), neighbours, questions
        self._seed = seed
        weights = np.array([_BEGIN[pairs[place].kind] for place in begin])
        self._chances = weights / weights.sum()
        self._asked: defaultdict[int, list[int]] = defaultdict(list)
        for place, pair in enumerate(pairs):
            self._asked[pair.document].append(place)

    def at(self, step: int) -> Batch:
        """What a step learns from."""
        chance = self.chance(step)
        rows = chance.choice(len(self._begin), self._size, replace=False, p=self._chances)
        documents: dict[int, None] = {}
        for row in rows:
            documents[self._pairs[self._begin[row]].document] = None
            documents.update(dict.fromkeys(self._drawn(self._near[row], chance)))
        first = [self._begin[row] for row in rows]
        rest = [place for one in documents for place in self._asked[one] if place not in first]
        left = max(0, self._questions - len(first))
        if len(rest) > left:
            rest = chance.choice(rest, left, replace=False).tolist()
        return Batch(list(documents), first + rest)

    def chance(self, step: int, what: int = 0) -> np.random.Generator:
        """What is drawn in a step; ``what`` tells draws from each other."""
        return np.random.default_rng([self._seed, what, step])

    def _drawn(self, near: npt.NDArray[np.int32], chance: np.random.Generator) -> list[int]:
        near = near[near >= 0]
        best, rest = near[:_NEAR], near[_NEAR:]
        count = min(len(best), -(-self._neighbours // 2))
        others = min(len(rest), self._neighbours - count)
        return [
            *chance.choice(best, count, replace=False).tolist(),
            *chance.choice(rest, others, replace=False).tolist(),
        ]
