"""The sparse head as ONNX nodes: vocabulary projection, pooling over the sequence, activation.

The textbook order, ``max_t log(1 + relu(W h_t + b))``, moves batch x length x vocabulary numbers through memory four
times. All of bias, relu and log1p are monotone and the same at each position, so the maximum may come first::

    log(1 + relu(max_t(W h_t) + b))

and only batch x vocabulary numbers see anything but the matrix product. The product itself is cut into tiles of the
vocabulary whose result stays in the cache until it has been reduced (``tiles``), or is not made at all where an int8
upper bound shows that it cannot be positive (``screening``). Padding costs no pass over the logits either: the state of
a padded position is replaced by the state of the first token, which adds nothing to a maximum. (``passage_graph`` then
turns that replacement into one that can also pool passages of a text.)

Sum pooling has no such shortcuts: there the activation comes before the sum, tile by tile, in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opensearch_splade.onnx_models.bundle import HeadForm
from opensearch_splade.onnx_models.checkpoint import Activation, Gate, Pooling
from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.precision import rows_to_int8
from opensearch_splade.onnx_models.screening import screened_maxima
from opensearch_splade.onnx_models.sparse_output import add_sparse_output
from opensearch_splade.onnx_models.tiles import int8_maxima, maxima, spans

if TYPE_CHECKING:
    import onnx

_ACTIVATIONS: dict[Activation, tuple[str, int]] = {
    "log1p": ("Relu", 1),
    "log1p_log1p": ("Relu", 2),
    "relu": ("Relu", 0),
    "softplus": ("Softplus", 0),
    "log1p_softplus": ("Softplus", 1),
}
"""The first function, and how many ``log(1 + x)`` follow."""
_DROPPED = -30_000.0  # added to a special token's score so that relu takes it away; fits fp16


@dataclass(frozen=True, slots=True)
class Head:
    """The projection of a masked language model onto its vocabulary, or of a state onto its token's weight.

    Attributes:
        weight: Shape ``(vocabulary, hidden)``, or ``(1, hidden)`` for one weight per input token.
        bias: Shape ``(vocabulary,)``, or ``(1,)``.
        dropped_ids: Columns whose weight is always zero.
        vocabulary: Width of the output where ``weight`` does not say it.
        pools_special: Whether the positions of dropped ids take part in pooling.
        softcap: Scores are ``softcap * tanh(x / softcap)``.
        gate: What decides which terms a document may have.
        gate_projection: Weight and bias of the gate's own scores.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    pooling: Pooling
    activation: Activation
    dropped_ids: list[int]
    vocabulary: int | None = None
    pools_special: bool = True
    softcap: float | None = None
    gate: Gate | None = None
    gate_projection: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None

    @property
    def width(self) -> int:
        """Columns of the output."""
        return self.vocabulary or len(self.bias)

    @property
    def keep(self) -> npt.NDArray[np.float32]:
        """Zero for dropped ids, else one; shape ``(vocabulary,)``."""
        keep = np.ones(self.width, np.float32)
        keep[self.dropped_ids] = 0
        return keep


def append_head(model: onnx.ModelProto, head: Head, *, int8: bool = False, form: HeadForm = "tiled") -> None:
    """Replaces the graph's only output, states ``(batch, length, hidden)``, by ``weights (batch, vocabulary)``.

    The sparse outputs of ``sparse_output`` come beside it.
    """
    write = NodeWriter(model.graph, "head")
    weights, candidates = pooled_weights(write, write.take_output(), head, int8=int8, form=form)
    add_sparse_output(write, weights, candidates)
    if candidates is not None:
        weights = _scatter(write, weights, candidates, len(head.bias))
    write.output(weights, "weights", len(head.bias))


def pooled_weights(write: NodeWriter, states: str, head: Head, *, int8: bool, form: HeadForm) -> tuple[str, str | None]:
    """States ``(batch, length, hidden)`` to weights ``(batch, columns)``, and the columns' ids unless they are all."""
    mask = pooled_positions(write, head)
    if head.pooling == "sum":
        return _sums(write, states, head, mask), None
    states = _pooled_token_for_others(write, states, mask, from_start=head.pools_special)
    scores, candidates = _scores(write, states, head, int8=int8, form=form)
    weights = activate(write, _capped(write, scores, head.softcap), head.activation)
    if not head.pools_special:  # a text of nothing but special tokens has nothing to pool
        weights = write.node("Mul", weights, write.node("ReduceMax", mask, axes=[1], keepdims=1))
    return weights, candidates


def pooled_positions(write: NodeWriter, head: Head) -> str:
    """One where a position takes part in pooling, else zero: float32 ``(batch, length)``."""
    mask = write.node("Cast", "attention_mask", to=1)
    if head.pools_special:
        return mask
    return write.node("Mul", mask, write.node("Gather", write.constant(head.keep), "input_ids"))


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


def _sums(write: NodeWriter, states: str, head: Head, mask: str) -> str:
    columns = write.columns(write.shared(head.weight), spans(len(head.bias)))
    mask = write.node("Unsqueeze", mask, write.constant(np.array([2])))
    sums: list[str] = []
    for (start, stop), column in zip(spans(len(head.bias)), columns, strict=True):
        tile = write.node("MatMul", states, column)
        scores = write.node("Add", tile, write.constant(head.bias[start:stop]))
        weights = activate(write, _capped(write, scores, head.softcap), head.activation)
        masked = write.node("Mul", weights, mask)
        sums.append(write.node("ReduceSum", masked, write.constant(np.array([1])), keepdims=0))
    return write.node("Mul", write.node("Concat", *sums, axis=-1), write.constant(head.keep))


def _scatter(write: NodeWriter, weights: str, candidates: str, vocabulary: int) -> str:
    """Weights of the candidates, shape ``(batch, c)``, at their places in the vocabulary."""
    batch = write.node("Shape", weights, start=0, end=1)
    shape = write.node("Concat", batch, write.constant(np.array([vocabulary])), axis=0)
    zeros = write.node("Expand", write.constant(np.zeros((1, 1), np.float32)), shape)
    places = write.node("Expand", candidates, write.node("Shape", weights))
    return write.node("ScatterElements", zeros, places, weights, axis=1)


def _pooled_token_for_others(write: NodeWriter, states: str, mask: str, *, from_start: bool) -> str:
    """The state of a pooled position wherever a position is not pooled: it adds nothing to a maximum."""
    if from_start:
        axes = write.constant(np.array([1]))
        pooled = write.node("Slice", states, write.constant(np.array([0])), write.constant(np.array([1])), axes)
    else:
        first = write.node("ArgMax", mask, axis=1, keepdims=1)
        length = write.node("Shape", states, start=1, end=2)
        chosen = write.node("OneHot", first, length, write.constant(np.array([0, 1], np.float32)))
        pooled = write.node("MatMul", chosen, states)
    mask = write.node("Unsqueeze", mask, _axis(write, 2))
    return write.node("Where", write.node("Cast", mask, to=9), states, pooled)


def activate(write: NodeWriter, scores: str, activation: Activation) -> str:
    """Scores to weights."""
    function, logarithms = _ACTIVATIONS[activation]
    weights = write.node(function, scores)
    for _ in range(logarithms):
        weights = write.node("Log", write.node("Add", weights, write.constant(np.float32(1))))
    return weights


def _capped(write: NodeWriter, scores: str, softcap: float | None) -> str:
    if softcap is None:
        return scores
    cap = write.constant(np.float32(softcap))
    return write.node("Mul", write.node("Tanh", write.node("Div", scores, cap)), cap)


def _axis(write: NodeWriter, axis: int) -> str:
    return write.constant(np.array([axis]))
