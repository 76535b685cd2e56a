"""Maximum of vocabulary scores over a text, without the scores: what makes a training step of SPLADE cheap.

By the book a step holds ``batch x length x vocabulary`` numbers several times over: scores, their activation, and the
gradients of both. Bias, relu and log1p are monotone and the same at every position, so the maximum may come first; then
one position a term decides, and only it has a gradient. Scores are made a tile of the vocabulary at a time and dropped;
where a maximum was is looked up on the way back, for the few terms that have a gradient at all.
"""

from __future__ import annotations

from functools import cache
from typing import Any

TILE = 256
"""Columns of the vocabulary at a time: scores of 3,000 tokens are 3 MB."""


def max_scores(states: Any, mask: Any, weight: Any, *, half: bool = False, tile: int = TILE) -> Any:
    """``max_t(states[b, t] . weight[v])`` over the positions that count, differentiable.

    Args:
        states: Shape ``(batch, length, hidden)``.
        mask: Shape ``(batch, length)``; true where a position counts. Each text needs one that does.
        weight: Shape ``(columns, hidden)``, without a bias: it does not change where the maximum is.
        half: Multiply in bfloat16, which processors that know it do twice as fast. Gradients stay in full.
        tile: Columns at a time.

    Returns:
        Shape ``(batch, columns)``. Of equal scores the gradient goes to one.
    """
    return _function().apply(states, mask, weight, half, tile)


@cache
def _function() -> Any:
    """The operation with its gradient; a class of torch's, so it is made when it is first needed."""
    import torch

    class MaxScores(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, states: Any, mask: Any, weight: Any, half: bool, tile: int) -> Any:
            # A position that does not count gets the state of the text's first one that does: it changes no maximum.
            first = mask.to(torch.uint8).argmax(1)
            places = torch.where(mask, torch.arange(states.shape[1], device=states.device)[None], first[:, None])
            read = torch.gather(states, 1, places[:, :, None].expand_as(states))
            best = states.new_empty(len(states), len(weight))
            left, right = (read.bfloat16(), weight.bfloat16()) if half else (read, weight)
            for start in range(0, len(weight), tile):
                best[:, start : start + tile] = (left @ right[start : start + tile].T).amax(1)
            ctx.save_for_backward(read, weight, places)
            return best

        @staticmethod
        def backward(ctx: Any, gradient: Any) -> Any:
            read, weight, places = ctx.saved_tensors
            to_states, to_weight = torch.zeros_like(read), torch.zeros_like(weight)
            # Relu lets few terms through, and a term that does not pass has no gradient.
            for text in range(len(read)):
                terms = gradient[text].nonzero(as_tuple=True)[0]
                if not len(terms):
                    continue
                rows = weight[terms]
                where = (read[text] @ rows.T).argmax(0)
                factors = gradient[text, terms, None]
                to_states[text].index_add_(0, places[text, where], factors * rows)
                to_weight.index_add_(0, terms, factors * read[text, where])
            return to_states, None, to_weight, None, None

    return MaxScores
