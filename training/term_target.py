"""Term target: the weight of the sparsity penalty that leaves documents so many terms, found while training.

A fixed weight leaves 50 terms with one collection and 500 with another. Here its logarithm follows the distance between
terms wanted and terms counted, both as logarithms: proportional to it, and to its change, so that it brakes in time.
What is wanted moves, too: from the terms that the model had to the goal, so that it is never far away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_BRAKE, _MEMORY = 0.8, 0.95
_LEAST, _MOST = 1e-6, 1.0
_GAIN, _FASTEST = (0.01, 0.04), (0.02, 0.05)
"""Of the logarithm in a step, in a long run and in a short one: a penalty that grows faster than the model can follow
leaves it empty."""
_LONG = 1500
_REACHED = 0.4
"""Share of the run in which the goal moves, evenly in its logarithm, from what the model has to what is wanted."""


@dataclass(slots=True)
class TermTarget:
    """Call ``update`` after each step with what the batch had, and use ``weight`` in the next.

    Attributes:
        wanted: Terms of a document, on average; ``None`` keeps the weight as it is.
        steps: Of the run.
        weight: Of the penalty now.
        first: Terms of a document in the first batch.
        seen: Terms of a document of late.
    """

    wanted: float | None
    steps: int = _LONG
    weight: float = 2e-3
    first: float | None = None
    seen: float | None = None

    def update(self, terms: float, progress: float = 1.0) -> None:
        """Moves the weight by what a batch of documents had on average.

        Args:
            terms: That.
            progress: Share of the run that is over.
        """
        terms = max(terms, 1.0)
        self.first = self.first or terms
        before = terms if self.seen is None else self.seen
        self.seen = _MEMORY * before + (1 - _MEMORY) * terms
        if self.wanted is None:
            return
        share = min(1.0, progress / _REACHED)
        goal = math.log(self.first) + share * (math.log(self.wanted) - math.log(self.first))
        hurry = _LONG / self.steps
        gain, fastest = (min(short, max(long, long * hurry)) for long, short in (_GAIN, _FASTEST))
        move = gain * (math.log(self.seen) - goal) + _BRAKE * math.log(self.seen / before)
        self.weight = min(_MOST, max(_LEAST, self.weight * math.exp(max(-fastest, min(fastest, move)))))
