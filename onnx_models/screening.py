"""Screening: the exact head at the price of an int8 one.

A SPLADE document activates one or two hundred of thirty thousand features: nearly every ``max_t W h_t + b`` is negative
and ends as zero. So the product is first taken in int8, which is four times faster than float32, and is followed by an
upper bound of what float32 could give. With ``w = w' + dw`` and ``h = h' + dh``, primes for the int8 values,

    w h  =  w' h' + w' dh + dw h  <=  w' h' + |w'| |dh| + |dw| |h|          (Cauchy-Schwarz)

Features whose bound is not positive are zero, proven. The others, the candidates, are computed again in float32: about
two thousand of a batch of trained SPLADE. The result is that of the float32 head to the last bits; only the time
depends on how sparse the model is, which export measures.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.tiles import halves, int8_maxima, join_halves

# Added to the bound, relative and absolute: what rounding in the float32 arithmetic of the bound itself may take away.
_ROUNDING = np.float32(1e-4)
_PARTS = 8


def screened_maxima(
    write: NodeWriter, states: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
) -> tuple[str, str]:
    """The features that may be positive, of any document of the batch, and their exact scores.

    Args:
        write: The graph.
        states: ``(batch, length, hidden)``, float32.
        weight: ``(vocabulary, hidden)``.
        bias: ``(vocabulary,)``.

    Returns:
        ``candidates (c,)``, int64 and ascending, at least eight; ``scores (batch, c)``, bias added.
    """
    name = write.shared(weight)
    candidates = _candidates(write, states, name, weight, bias)
    half = halves(write, states)
    maxima = []
    for part in _parts(write, candidates):
        rows = write.node("Transpose", write.node("Gather", name, part), perm=[1, 0])
        maxima.append(write.node("ReduceMax", write.node("MatMul", half, rows), axes=[1], keepdims=0))
    scores = join_halves(write, write.node("Concat", *maxima, axis=-1))
    return candidates, write.node("Add", scores, write.node("Gather", write.constant(bias), candidates))


def _parts(write: NodeWriter, candidates: str) -> list[str]:
    """The candidates in equal parts: tiles whose scores stay in the cache, and never all scores at once."""
    count = write.node("Shape", candidates)
    size = write.node("Div", count, write.constant(np.array([_PARTS])))
    rest = write.node("Sub", count, write.node("Mul", size, write.constant(np.array([_PARTS - 1]))))
    sizes = write.node("Concat", *[size] * (_PARTS - 1), rest, axis=0)
    return write.outputs(_PARTS, "Split", candidates, sizes, axis=0)


def _candidates(
    write: NodeWriter, states: str, name: str, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
) -> str:
    scale = np.maximum(np.abs(weight).max(axis=1), 1e-9).astype(np.float32) / np.float32(127)
    # Quantised from the float32 rows when a session loads, so the file holds the matrix once.
    rows = write.node(
        "QuantizeLinear", name, write.constant(scale), write.constant(np.zeros(len(scale), np.int8)), axis=0
    )
    rounded = np.rint(weight / scale[:, None]) * scale[:, None]
    lost = np.linalg.norm(weight - rounded, axis=1)
    # A state's rounding error is at most half a step in each of its dimensions.
    error = np.linalg.norm(rounded, axis=1) * np.sqrt(weight.shape[1]) / 2
    products, step = int8_maxima(write, states, rows, len(weight))
    length = write.node("ReduceL2", states, axes=[2], keepdims=0)
    longest = write.node("ReduceMax", length, axes=[1], keepdims=1)
    by_step = write.node("Add", write.node("Mul", products, write.constant(scale)), _bound(write, error))
    bound = write.node("Add", write.node("Mul", by_step, step), write.node("Mul", longest, _bound(write, lost)))
    threshold = -bias - _ROUNDING * (1 + np.abs(bias))
    threshold[:_PARTS] = -np.inf  # never fewer than there are parts: empty products are a trap
    bound = write.node("ReduceMax", bound, axes=[0], keepdims=0)
    negative = write.node("LessOrEqual", bound, write.constant(threshold))
    positive = write.node("NonZero", write.node("Not", negative))  # of a state that is no number, all
    return write.node("Squeeze", positive, write.constant(np.array([0])))


def _bound(write: NodeWriter, error: npt.NDArray[np.floating]) -> str:
    return write.constant((error * (1 + _ROUNDING)).astype(np.float32))
