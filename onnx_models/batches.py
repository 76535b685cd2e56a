"""Batches by token budget: texts of like length together, so that little is padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def token_budget_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Groups places of ``lengths`` so that ``longest * count <= budget``; longest first.

    A single text longer than the budget is a batch of its own. Longest first shows at once whether memory suffices.
    Texts without any token are in no batch.
    """
    batches: list[list[int]] = []
    room = 0
    for place in sorted(filter(lengths.__getitem__, range(len(lengths))), key=lengths.__getitem__, reverse=True):
        if not batches or len(batches[-1]) >= room:
            batches.append([])
            room = max(1, budget // lengths[place])
        batches[-1].append(place)
    return batches


def pad(token_ids: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Right-padded ids and attention mask, each of shape ``(batch, longest)``.

    Padding is id 0: masked positions never reach the output, so its value does not matter.
    """
    longest = max(map(len, token_ids))
    ids = np.zeros((len(token_ids), longest), np.int64)
    mask = np.zeros_like(ids)
    for row, tokens in enumerate(token_ids):
        ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    return ids, mask
