"""The gated head as ONNX nodes: how much a term weighs, times whether it may be there (SparTerm, arXiv 2010.00768).

A term passes the gate if it is a token of the text or, where the gate expands, if ``sigmoid(max_t g_t)`` exceeds the
threshold; ``g`` are the scores of a masked language model of the gate's own.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from opensearch_splade.onnx_models.bundle import HeadForm
from opensearch_splade.onnx_models.head import Head, pooled_positions, pooled_weights
from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.sparse_output import add_sparse_output
from opensearch_splade.onnx_models.term_head import strongest_by_token

if TYPE_CHECKING:
    import onnx


def append_gated(
    model: onnx.ModelProto,
    head: Head,
    *,
    int8: bool = False,
    form: HeadForm = "tiled",  # noqa: ARG001 - the gate is over all columns
) -> None:
    """Replaces the graph's only output, states ``(batch, length, hidden)``, by ``weights (batch, vocabulary)``.

    Where the gate expands, a state holds the importance's in its first and the gate's in its second part. The sparse
    outputs of ``sparse_output`` come beside it.
    """
    write = NodeWriter(model.graph, "head")
    states = write.take_output()
    if head.gate_projection is not None:
        split = head.weight.shape[1]
        gate_states, states = _part(write, states, split, 1 << 30), _part(write, states, 0, split)
    weights, _ = pooled_weights(write, states, head, int8=int8, form="tiled")
    passes = strongest_by_token(write, pooled_positions(write, head), head.width)
    if head.gate_projection is not None:
        passes = write.node("Max", passes, _expansion(write, gate_states, _open_gate(head, *head.gate_projection)))
    weights = write.node("Mul", weights, passes)
    add_sparse_output(write, weights)
    write.output(weights, "weights", head.width)


def _open_gate(head: Head, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]) -> Head:
    """``relu(max_t g_t - logit(threshold))`` is positive just where the probability exceeds the threshold."""
    threshold = head.gate.threshold if head.gate else 0.5
    shifted = bias - np.float32(math.log(threshold / (1 - threshold)))
    return Head(weight, shifted, "max", "relu", head.dropped_ids)


def _expansion(write: NodeWriter, states: str, head: Head) -> str:
    """One where the gate is open, else zero: ``(batch, vocabulary)``."""
    scores, _ = pooled_weights(write, states, head, int8=False, form="tiled")
    return write.node("Cast", write.node("Greater", scores, write.constant(np.float32(0))), to=1)


def _part(write: NodeWriter, states: str, start: int, stop: int) -> str:
    bounds = (write.constant(np.array([place])) for place in (start, stop, 2))
    return write.node("Slice", states, *bounds)
