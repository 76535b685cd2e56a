"""Term target: the weight of the sparsity penalty that leaves documents so many terms, found while training.

A fixed weight leaves 50 terms with one collection and 500 with another. Here its logarithm follows the distance between
terms wanted and terms counted, both as logarithms: proportional to it, and to its change, so that it brakes in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_GAIN, _BRAKE, _MEMORY = 0.04, 0.8, 0.9
_LEAST, _MOST = 1e-6, 1.0
_FASTEST = 0.05
"""Of the logarithm in a step: a penalty that grows faster than the model can follow leaves it empty."""


@dataclass(slots=True)
class TermTarget:
    """Call ``update`` after each step with what the batch had, and use ``weight`` in the next.

    Attributes:
        wanted: Terms of a document, on average; ``None`` keeps the weight as it is.
        weight: Of the penalty now.
        seen: Terms of a document of late.
    """

    wanted: float | None
    weight: float = 1e-3
    seen: float | None = None

    def update(self, terms: float) -> None:
        """Moves the weight by what a batch of documents had on average."""
        terms = max(terms, 1.0)
        before = terms if self.seen is None else self.seen
        self.seen = _MEMORY * before + (1 - _MEMORY) * terms
        if self.wanted is None:
            return
        distance, change = math.log(self.seen / self.wanted), math.log(self.seen / before)
        move = _GAIN * distance + _BRAKE * change
        self.weight = min(_MOST, max(_LEAST, self.weight * math.exp(max(-_FASTEST, min(_FASTEST, move)))))
