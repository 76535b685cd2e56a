"""Held-back questions: how well documents are found that were never trained on, while training goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from opensearch_splade.training.pseudo_queries import Pair


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Questions, and the texts among which their answers are looked for.

    Attributes:
        pairs: The questions; that of ``pairs[i]`` is answered by ``texts[i]``.
        texts: The answers without what was hidden of them, then strangers.
        groups: Group of each text; copies of an answer are neither right nor wrong.
    """

    pairs: Sequence[Pair]
    texts: Sequence[str]
    groups: npt.NDArray[np.int64]

    def ndcg(self, scores: npt.NDArray[np.floating]) -> list[float]:
        """nDCG@10 of each question; with one answer it is ``1 / log2(1 + rank)``.

        Args:
            scores: Shape ``(pairs, texts)``.
        """
        found: list[float] = []
        for place, row in enumerate(scores):
            others = row[self.groups != self.groups[place]]
            # Ties count against it: a document without any term is not found.
            rank = 1 + int((others >= row[place]).sum())
            found.append(1 / math.log2(1 + rank) if rank <= 10 else 0.0)
        return found
