"""The sparse head as ONNX nodes: vocabulary projection, pooling over the sequence, activation.

The textbook order, ``max_t log(1 + relu(W h_t + b))``, moves batch x length x vocabulary numbers through memory four
times. All of bias, relu and log1p are monotone and the same at each position, so the maximum may come first::

    log(1 + relu(max_t(W h_t) + b))

and only batch x vocabulary numbers see anything but the matrix product. The product itself is cut into tiles of the
vocabulary whose result stays in the cache until it has been reduced (``tiles``), or is not made at all where an int8
upper bound shows that it cannot be positive (``screening``). Padding costs no pass over the logits either: the state of
a padded position is replaced by the state of the first token, which adds nothing to a maximum.

Sum pooling has no such shortcuts: there the activation comes before the sum, tile by tile, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opensearch_splade.onnx_models.bundle import HeadForm
from opensearch_splade.onnx_models.checkpoint import Activation, Pooling
from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.precision import rows_to_int8
from opensearch_splade.onnx_models.screening import screened_maxima
from opensearch_splade.onnx_models.sparse_output import add_sparse_output
from opensearch_splade.onnx_models.tiles import int8_maxima, maxima, spans

if TYPE_CHECKING:
    import onnx

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


def append_head(model: onnx.ModelProto, head: Head, *, int8: bool = False, form: HeadForm = "tiled") -> None:
    """Replaces the graph's only output, states ``(batch, length, hidden)``, by ``weights (batch, vocabulary)``.

    The sparse outputs of ``sparse_output`` come beside it.
    """
    write = NodeWriter(model.graph, "head")
    states = write.take_output()
    if head.pooling == "sum":
        weights, candidates = _sums(write, states, head), None
    else:
        states = _first_token_for_padding(write, states)
        scores, candidates = _scores(write, states, head, int8=int8, form=form)
        weights = _activate(write, scores, head.activation)
    add_sparse_output(write, weights, candidates)
    if candidates is not None:
        weights = _scatter(write, weights, candidates, len(head.bias))
    write.output(weights, "weights", len(head.bias))


def _scores(write: NodeWriter, states: str, head: Head, *, int8: bool, form: HeadForm) -> tuple[str, str | None]:
    """``max_t W h_t + b`` of the vocabulary, or of the candidates only."""
    bias = head.bias.copy()
    bias[head.dropped_ids] = _DROPPED
    if form == "screened" and not int8:
        candidates, scores = screened_maxima(write, states, head.weight, bias)
        return scores, candidates
    if int8:
        rows, row_scale = rows_to_int8(head.weight)
        products, scale = int8_maxima(write, states, write.shared(rows), len(rows))
        scores = write.node("Mul", write.node("Mul", products, write.constant(row_scale)), scale)
    else:
        scores = maxima(write, states, head.weight)
    return write.node("Add", scores, write.constant(bias)), None


def _sums(write: NodeWriter, states: str, head: Head) -> str:
    columns = write.columns(write.shared(head.weight), spans(len(head.bias)))
    mask = write.node("Cast", write.node("Unsqueeze", "attention_mask", write.constant(np.array([2]))), to=1)
    sums: list[str] = []
    for (start, stop), column in zip(spans(len(head.bias)), columns, strict=True):
        tile = write.node("MatMul", states, column)
        weights = _activate(write, write.node("Add", tile, write.constant(head.bias[start:stop])), head.activation)
        masked = write.node("Mul", weights, mask)
        sums.append(write.node("ReduceSum", masked, write.constant(np.array([1])), keepdims=0))
    keep = np.ones(len(head.bias), np.float32)
    keep[head.dropped_ids] = 0
    return write.node("Mul", write.node("Concat", *sums, axis=-1), write.constant(keep))


def _scatter(write: NodeWriter, weights: str, candidates: str, vocabulary: int) -> str:
    """Weights of the candidates, shape ``(batch, c)``, at their places in the vocabulary."""
    batch = write.node("Shape", weights, start=0, end=1)
    shape = write.node("Concat", batch, write.constant(np.array([vocabulary])), axis=0)
    zeros = write.node("Expand", write.constant(np.zeros((1, 1), np.float32)), shape)
    places = write.node("Expand", candidates, write.node("Shape", weights))
    return write.node("ScatterElements", zeros, places, weights, axis=1)


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
