"""The sparse head as ONNX nodes: vocabulary projection, pooling over the sequence, activation.

The textbook order, ``max_t log(1 + relu(W h_t + b))``, moves batch x length x vocabulary numbers through memory four
times. All of bias, relu and log1p are monotone and the same at each position, so the maximum may come first::

    log(1 + relu(max_t(W h_t) + b))

and only batch x vocabulary numbers see anything but the matrix product. The product itself is cut into tiles of the
vocabulary whose result stays in the cache until it has been reduced. Padding costs no pass over the logits either:
the state of a padded position is replaced by the state of the first token, which adds nothing to a maximum.

In int8 a document has one activation scale, so that the maximum is taken on the int32 products, before anything becomes
a float again.

Sum pooling has no such shortcuts: there the activation comes before the sum, tile by tile, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opensearch_splade.onnx_models.checkpoint import Activation, Pooling
from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.precision import quantize_activations, rows_to_int8, zero_point

if TYPE_CHECKING:
    import onnx

TILE = 240
"""Vocabulary columns per tile: its scores (half a megabyte at 512 tokens) stay in the cache until they are reduced.

Never a power of two: the rows of such a tile fall into the same cache sets, and its reduction takes five times as long.
240 beats 496 and 976 by about 3 % (measured on two AVX-512 cores, head of 128 x 30,522)."""

_DROPPED = -30_000.0  # added to a special token's score so that relu takes it away; fits fp16


@dataclass(frozen=True, slots=True)
class Head:
    """The projection of a masked language model onto its vocabulary.

    Attributes:
        weight: Shape ``(vocabulary, hidden)``.
        bias: Shape ``(vocabulary,)``.
        dropped_ids: Columns whose weight is always zero.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    pooling: Pooling
    activation: Activation
    dropped_ids: list[int]


def append_head(model: onnx.ModelProto, head: Head, *, int8: bool = False) -> None:
    """Replaces the graph's only output, states ``(batch, length, hidden)``, by ``weights (batch, vocabulary)``."""
    write = NodeWriter(model.graph, "head")
    states = model.graph.output[0].name
    if head.pooling == "max":
        bias = head.bias.copy()
        bias[head.dropped_ids] = _DROPPED
        states = _first_token_for_padding(write, states)
        scores = _int8_maxima(write, states, head.weight) if int8 else _maxima(write, states, head.weight)
        weights = _activate(write, write.node("Add", scores, write.constant(bias)), head.activation)
    else:
        weights = _sums(write, states, head)
    write.output(weights, "weights", len(head.bias))


def spans(vocabulary: int) -> list[tuple[int, int]]:
    """The tiles' column ranges."""
    return [(start, min(start + TILE, vocabulary)) for start in range(0, vocabulary, TILE)]


def _maxima(write: NodeWriter, states: str, weight: npt.NDArray[np.float32]) -> str:
    name = write.shared(weight)
    tiles = [write.node("MatMul", states, write.columns(name, span)) for span in spans(len(weight))]
    return _concat(write, [_max(write, tile) for tile in tiles])


def _int8_maxima(write: NodeWriter, states: str, weight: npt.NDArray[np.float32]) -> str:
    values, scale = quantize_activations(write, states, axes=[1, 2])
    rows, row_scale = rows_to_int8(weight)
    name, zero = write.shared(rows), zero_point(write)
    tiles = [write.node("MatMulInteger", values, write.columns(name, span), zero) for span in spans(len(weight))]
    maxima = write.node("Cast", _concat(write, [_max(write, tile) for tile in tiles]), to=1)
    by_token = write.node("Mul", maxima, write.constant(row_scale))
    return write.node("Mul", by_token, write.node("Squeeze", scale, write.constant(np.array([2]))))


def _sums(write: NodeWriter, states: str, head: Head) -> str:
    name = write.shared(head.weight)
    mask = write.node("Cast", write.node("Unsqueeze", "attention_mask", write.constant(np.array([2]))), to=1)
    sums: list[str] = []
    for start, stop in spans(len(head.bias)):
        tile = write.node("MatMul", states, write.columns(name, (start, stop)))
        weights = _activate(write, write.node("Add", tile, write.constant(head.bias[start:stop])), head.activation)
        sums.append(
            write.node("ReduceSum", write.node("Mul", weights, mask), write.constant(np.array([1])), keepdims=0)
        )
    keep = np.ones(len(head.bias), np.float32)
    keep[head.dropped_ids] = 0
    return write.node("Mul", _concat(write, sums), write.constant(keep))


def _max(write: NodeWriter, tile: str) -> str:
    return write.node("ReduceMax", tile, axes=[1], keepdims=0)


def _first_token_for_padding(write: NodeWriter, states: str) -> str:
    axes = write.constant(np.array([1]))
    first = write.node("Slice", states, write.constant(np.array([0])), write.constant(np.array([1])), axes)
    mask = write.node("Unsqueeze", "attention_mask", write.constant(np.array([2])))
    return write.node("Where", write.node("Cast", mask, to=9), states, first)


def _activate(write: NodeWriter, scores: str, activation: Activation) -> str:
    weights = write.node("Relu", scores)
    for _ in range({"log1p": 1, "log1p_log1p": 2}[activation]):
        weights = write.node("Log", write.node("Add", weights, write.constant(np.float32(1))))
    return weights


def _concat(write: NodeWriter, parts: list[str]) -> str:
    return write.node("Concat", *parts, axis=-1)
