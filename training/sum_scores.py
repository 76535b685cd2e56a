"""Sum of a term's weights over a text, without the scores of all positions: SPLADE v1 (arXiv 2107.05720, eq. 2).

The activation comes before the sum, so every position counts and the maximum's short cut is of no use. Scores are made
a tile of the vocabulary at a time and dropped; backward makes each tile again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from opensearch_splade.training.max_scores import TILE


def sum_scores(
    states: Any, mask: Any, weight: Any, bias: Any, activation: Callable[[Any], Any], tile: int = TILE
) -> Any:
    """``sum_t activation(states[b, t] . weight[v] + bias[v])`` over the positions that count, differentiable once.

    Args:
        states: Shape ``(batch, length, hidden)``.
        mask: Shape ``(batch, length)``; true where a position counts.
        weight: Shape ``(vocabulary, hidden)``.
        bias: Shape ``(vocabulary,)``.
        activation: Of each score by itself.
        tile: Columns at a time.

    Returns:
        Shape ``(batch, vocabulary)``; 0 of a text without a position that counts.
    """
    return _function().apply(states, mask, weight, bias, activation, tile)


@cache
def _function() -> Any:
    """The operation with its gradient; a class of torch's, so it is made when it is first needed."""
    import torch

    class SumScores(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(
            ctx: Any, states: Any, mask: Any, weight: Any, bias: Any, activation: Callable[[Any], Any], tile: int
        ) -> Any:
            ctx.save_for_backward(states, mask, weight, bias)
            ctx.activation, ctx.tile = activation, tile
            total = states.new_empty(len(states), len(weight))
            for start in range(0, len(weight), tile):
                stop = start + tile
                scores = states @ weight[start:stop].T + bias[start:stop]
                total[:, start:stop] = activation(scores).mul(mask[:, :, None]).sum(1)
            return total

        @staticmethod
        @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
        def backward(ctx: Any, gradient: Any) -> Any:
            states, mask, weight, bias = ctx.saved_tensors
            flat = states.reshape(-1, states.shape[2])
            to_states, to_weight, to_bias = (torch.zeros_like(one) for one in (flat, weight, bias))
            for start in range(0, len(weight), ctx.tile):
                part = slice(start, start + ctx.tile)
                with torch.enable_grad():
                    scores = (states @ weight[part].T + bias[part]).detach().requires_grad_()
                    weights = ctx.activation(scores)
                pull = gradient[:, None, part] * mask[:, :, None]
                slopes = torch.autograd.grad(weights, scores, pull)[0].flatten(0, 1)
                to_states.addmm_(slopes, weight[part])
                to_weight[part] = slopes.T @ flat
                to_bias[part] = slopes.sum(0)
            return to_states.view_as(states), None, to_weight, to_bias, None, None

    return SumScores
