"""Tiles: the vocabulary projection and its maximum over the sequence, a slice of the vocabulary at a time.

In int8 a document has one activation scale, so that the maximum is taken on the int32 products, before anything becomes
a float again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.precision import quantize_activations, zero_point

TILE = 240
"""Vocabulary columns per tile: its scores (half a megabyte at 512 tokens) stay in the cache until they are reduced.

Never a power of two: the rows of such a tile fall into the same cache sets, and its reduction takes five times as long.
240 beats 496 and 976 by about 3 % (measured on two AVX-512 cores, head of 128 x 30,522)."""


def spans(vocabulary: int) -> list[tuple[int, int]]:
    """The tiles' column ranges."""
    return [(start, min(start + TILE, vocabulary)) for start in range(0, vocabulary, TILE)]


def halves(write: NodeWriter, states: str) -> str:
    """States ``(batch, length, hidden)`` as ``(2 * batch, ceil(length / 2), hidden)``.

    ONNX Runtime reduces the middle axis of a batch of one, which it sees as a matrix, three to five times slower than
    that of a batch of two. An odd length is filled up by its last state, which adds nothing to a maximum.
    """
    length = write.node("Shape", states, start=1, end=2)
    odd = write.node("Mod", length, write.constant(np.array([2])))
    none = write.constant(np.zeros(4, np.int64))
    pads = write.node("Concat", none, odd, write.constant(np.zeros(1, np.int64)), axis=0)
    even = write.node("Pad", states, pads, mode="edge")
    half = write.node("Div", write.node("Add", length, odd), write.constant(np.array([2])))
    width = write.node("Shape", states, start=2, end=3)
    shape = write.node("Concat", write.constant(np.array([-1])), half, width, axis=0)
    return write.node("Reshape", even, shape)


def join_halves(write: NodeWriter, maxima: str) -> str:
    """Maxima ``(2 * batch, columns)`` of the two halves as ``(batch, columns)``."""
    columns = write.node("Shape", maxima, start=1, end=2)
    shape = write.node("Concat", write.constant(np.array([-1, 2])), columns, axis=0)
    return write.node("ReduceMax", write.node("Reshape", maxima, shape), axes=[1], keepdims=0)


def maxima(write: NodeWriter, states: str, weight: npt.NDArray[np.float32]) -> str:
    """``max_t W h_t`` in float32: states ``(batch, length, hidden)`` to ``(batch, vocabulary)``."""
    columns = write.columns(write.shared(weight), spans(len(weight)))
    states = halves(write, states)
    tiles = [write.node("MatMul", states, tile) for tile in columns]
    return _reduce(write, tiles)


def int8_maxima(write: NodeWriter, states: str, rows: str, vocabulary: int) -> tuple[str, str]:
    """The same on int8 rows of the vocabulary, not scaled back by those rows' scales.

    Args:
        write: The graph.
        states: ``(batch, length, hidden)``, float32.
        rows: An int8 tensor ``(vocabulary, hidden)``.
        vocabulary: Its length.

    Returns:
        float32 maxima of the integer products, ``(batch, vocabulary)``, and the documents' scales, ``(batch, 1)``.
    """
    values, scale = quantize_activations(write, states, axes=[1, 2])
    values, zero = halves(write, values), zero_point(write)
    columns = write.columns(rows, spans(vocabulary))
    tiles = [write.node("MatMulInteger", values, tile, zero) for tile in columns]
    scale = write.node("Squeeze", scale, write.constant(np.array([2])))
    return write.node("Cast", _reduce(write, tiles), to=1), scale


def _reduce(write: NodeWriter, tiles: list[str]) -> str:
    reduced = [write.node("ReduceMax", tile, axes=[1], keepdims=0) for tile in tiles]
    return join_halves(write, write.node("Concat", *reduced, axis=-1))
