"""Gradient cache: the gradient of a large batch in the memory of a small one (GradCache, arXiv 2101.06983).

A contrastive loss needs all vectors of a batch at once, but what costs memory is what the model keeps of each text on
its way. So vectors are made without keeping anything, the loss says what it wants of each vector, and each chunk is
then encoded again and takes its part backward. Encoding must give the same both times: no dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Piece = TypeVar("Piece")


def backward(encoders: Sequence[Callable[[], Any]], loss: Callable[[Any], Any], *, cached: bool = True) -> None:
    """Adds the gradient of ``loss(torch.cat([encode() for encode in encoders]))`` to all parameters.

    Args:
        encoders: Each makes the vectors of a chunk, ``(texts, columns)``, the same ones whenever it is called.
        loss: All vectors, in the order of the chunks, to one number. Parameters of its own get their gradient as well.
        cached: Chunk by chunk, at the price of encoding twice; else all at once.
    """
    import torch

    if not cached:
        loss(torch.cat([encode() for encode in encoders])).backward()
        return
    with torch.no_grad():
        made = [encode() for encode in encoders]
    sizes = list(map(len, made))
    vectors = torch.cat(made).requires_grad_()
    del made
    loss(vectors).backward()
    wanted = vectors.grad.split(sizes)
    del vectors
    for encode, pull in zip(encoders, wanted, strict=True):
        encode().backward(pull)


def cut(pieces: Sequence[Piece], size: int) -> list[Sequence[Piece]]:
    """Chunks of at most ``size`` pieces, in order."""
    return [pieces[start : start + size] for start in range(0, len(pieces), size)]
