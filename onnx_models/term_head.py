"""The term head as ONNX nodes: one weight per input token, and of repeats the largest (uniCOIL, arXiv 2106.14807).

Opset 17 as older servers run it has no scatter that takes a maximum, so repeats agree first::

    w'_t = max_s (w_s where id_s = id_t, else 0)

and may then be written to their column in any order, for they all write the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from opensearch_splade.onnx_models.bundle import HeadForm
from opensearch_splade.onnx_models.head import Head, activate, pooled_positions
from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.precision import ALL_FP32
from opensearch_splade.onnx_models.sparse_output import add_sparse_output

if TYPE_CHECKING:
    import onnx


def append_terms(
    model: onnx.ModelProto,
    head: Head,
    *,
    int8: bool = False,  # noqa: ARG001 - one column is no product worth it
    form: HeadForm = "tiled",  # noqa: ARG001
) -> None:
    """Replaces the graph's only output, states ``(batch, length, hidden)``, by ``weights (batch, vocabulary)``.

    The sparse outputs of ``sparse_output`` come beside it.
    """
    write = NodeWriter(model.graph, ALL_FP32)
    product = write.node("MatMul", write.take_output(), write.constant(head.weight.T))
    scores = write.node("Squeeze", product, write.constant(np.array([2])))
    weights = activate(write, write.node("Add", scores, write.constant(head.bias)), head.activation)
    masked = write.node("Mul", weights, pooled_positions(write, head))
    columns = strongest_by_token(write, masked, head.width)
    add_sparse_output(write, columns)
    write.output(columns, "weights", head.width)


def strongest_by_token(write: NodeWriter, weights: str, vocabulary: int) -> str:
    """Weights of positions ``(batch, length)``, never negative, as those of their tokens ``(batch, vocabulary)``."""
    rows, columns = (write.node("Unsqueeze", "input_ids", write.constant(np.array([axis]))) for axis in (2, 1))
    others = write.node("Unsqueeze", weights, write.constant(np.array([1])))
    zero = write.constant(np.float32(0))
    repeats = write.node("Where", write.node("Equal", rows, columns), others, zero)
    agreed = write.node("ReduceMax", repeats, axes=[2], keepdims=0)
    batch = write.node("Shape", weights, start=0, end=1)
    shape = write.node("Concat", batch, write.constant(np.array([vocabulary])), axis=0)
    zeros = write.node("Expand", write.constant(np.zeros((1, 1), np.float32)), shape)
    return write.node("ScatterElements", zeros, "input_ids", agreed, axis=1)
