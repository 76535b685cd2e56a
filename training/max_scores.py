"""Maximum of vocabulary scores over a text, without the scores: what makes a training step of SPLADE cheap.

By the book a step holds ``batch x length x vocabulary`` numbers several times over: scores, their activation, and the
gradients of both. Bias, relu and log1p are monotone and the same at every position, so the maximum may come first; then
one position a term decides, and only it has a gradient. Scores are made a tile of the vocabulary at a time and dropped.
"""

from __future__ import annotations

from functools import cache
from typing import Any

TILE = 256
"""Columns of the vocabulary at a time: scores of 3,000 tokens are 3 MB."""


def max_scores(states: Any, mask: Any, weight: Any, tile: int = TILE) -> Any:
    """``max_t(states[b, t] . weight[v])`` over the positions that count, differentiable.

    Args:
        states: Shape ``(batch, length, hidden)``.
        mask: Shape ``(batch, length)``; true where a position counts. Each text needs one that does.
        weight: Shape ``(vocabulary, hidden)``, without a bias: it does not change where the maximum is.
        tile: Columns at a time.

    Returns:
        Shape ``(batch, vocabulary)``. Of equal scores the gradient goes to one.
    """
    return _function().apply(states, mask, weight, tile)


@cache
def _function() -> Any:
    """The operation with its gradient; a class of torch's, so it is made when it is first needed."""
    import torch

    class MaxScores(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, states: Any, mask: Any, weight: Any, tile: int) -> Any:
            batch, length, _ = states.shape
            # A position that does not count gets the state of the text's first one that does: it changes no maximum.
            first = mask.to(torch.uint8).argmax(1)
            places = torch.where(mask, torch.arange(length, device=states.device)[None], first[:, None])
            read = torch.gather(states, 1, places[:, :, None].expand_as(states))
            best = states.new_empty(batch, len(weight))
            where = torch.empty(batch, len(weight), dtype=torch.int32, device=states.device)
            for start in range(0, len(weight), tile):
                scores = read @ weight[start : start + tile].T
                best[:, start : start + tile], where[:, start : start + tile] = scores.max(1)
            ctx.save_for_backward(states, weight, where.copy_(places.gather(1, where.long())))
            return best

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            states, weight, where = ctx.saved_tensors
            batch, length, hidden = states.shape
            flat = states.reshape(batch * length, hidden)
            to_states, to_weight = torch.zeros_like(flat), torch.zeros_like(weight)
            # Relu lets few terms through, and a term that does not pass has no gradient.
            for text in range(batch):
                terms = gradient[text].nonzero(as_tuple=True)[0]
                rows = where[text, terms].long() + text * length
                factors = gradient[text, terms, None]
                to_states.index_add_(0, rows, factors * weight[terms])
                to_weight.index_add_(0, terms, factors * flat[rows])
            return to_states.view_as(states), None, to_weight, None

    return MaxScores
