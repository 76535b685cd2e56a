"""Columns: which of the vocabulary a step computes. Questions need theirs; of the rest some stand for all.

A batch's questions have some thousand terms of thirty thousand, and only these have scores. The sparsity penalty is a
sum over all terms, and a sum is estimated without bias by some of them, drawn evenly, each counted as often as it is
likely to have been left out. So a step's projection is a fifth of the whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of the vocabulary.

    Attributes:
        ids: int64 tensor, shape ``(columns,)``: the questions' first, in order, then the drawn ones.
        counts: float32 tensor, shape ``(columns,)``: how many columns each one stands for.
    """

    ids: Any
    counts: Any

    @classmethod
    def drawn(
        cls, asked: Sequence[Sequence[int]], width: int, drawn: int | None, chance: np.random.Generator
    ) -> Columns:
        """The columns of a step.

        Args:
            asked: Token ids of each question.
            width: Size of the vocabulary.
            drawn: How many besides those of the questions; ``None`` takes all.
            chance: Draws them.
        """
        import torch

        own: npt.NDArray[np.int64] = np.unique(np.array([token for one in asked for token in one], np.int64))
        rest = np.setdiff1d(np.arange(width), own, assume_unique=True)
        some = rest if drawn is None or drawn >= len(rest) else chance.choice(rest, drawn, replace=False)
        counts = np.ones(len(own) + len(some), np.float32)
        counts[len(own) :] = len(rest) / max(1, len(some))
        return cls(torch.from_numpy(np.concatenate([own, some])), torch.from_numpy(counts))
