"""Lower precision: int8 for CPUs, fp16 for GPUs.

ONNX Runtime's own dynamic quantisation takes one activation scale for a whole batch, so a document's vector would
depend on its neighbours and on the padding. Here each token has its own scale (symmetric, per row of the activations;
per output column of the weights), so a vector is the same alone and in a batch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from opensearch_splade.onnx_models.nodes import NodeWriter

if TYPE_CHECKING:
    import onnx

_MICROSOFT = "com.microsoft"
_HEAD = "head/"  # how the nodes of our heads are named
_AFTER_MAXIMA = {
    "Add",
    "Cast",
    "Div",
    "Greater",
    "GreaterOrEqual",
    "Log",
    "Mul",
    "ReduceSum",
    "Relu",
    "Softplus",
    "Tanh",
}
ALL_FP32 = "head/fp32"
"""Prefix of a head that has no product worth fp16, and so stays in fp32 as a whole."""


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and arithmetic in fp16, inputs and outputs as they were.

    What the head does after its maxima stays in fp32: it is batch x vocabulary numbers, and small weights would lose
    their last digits.
    """
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    kept = [node.name for node in model.graph.node if _stays_fp32(node)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fp32.onnx"  # shapes of a model beyond 2 GiB can only be inferred from a file
        onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=1 << 16)
        converted: onnx.ModelProto = convert_float_to_float16(str(path), keep_io_types=True, node_block_list=kept)
    _join_kept(converted.graph)
    return converted


def _stays_fp32(node: onnx.NodeProto) -> bool:
    if node.op_type == "Identity":  # what gives an output its public name
        return bool(node.input[0].startswith(_HEAD))
    return bool(node.name.startswith(_HEAD) and (node.op_type in _AFTER_MAXIMA or node.name.startswith(ALL_FP32)))


def _join_kept(graph: onnx.GraphProto) -> None:
    """Takes away the detours over fp16 that the converter makes between two operators that both stay in fp32."""
    there, back = ("_cast_to_fp16_node", "graph_input_cast"), ("_cast_to_fp32_node", "graph_output_cast")
    kinds = {node.name: node.name.rstrip("0123456789") for node in graph.node}
    halved = {node.output[0]: node.input[0] for node in graph.node if kinds[node.name].endswith(there)}
    for node in graph.node:
        if kinds[node.name].endswith(back):
            node.input[0] = halved.get(node.input[0], node.input[0])
    used = {name for node in graph.node for name in node.input}
    for node in [node for node in graph.node if kinds[node.name].endswith(there) and node.output[0] not in used]:
        graph.node.remove(node)


def to_int8(model: onnx.ModelProto) -> None:
    """Rewrites a graph in place: products with constant weights in int8 with int32 sums, lookup tables in int8.

    Attention scores, normalisation and activations stay in float32.
    """
    rewrite = _Int8(model)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        rewrite.take(node)
    drop_unused(model.graph)


def quantize_activations(write: NodeWriter, states: str, axes: list[int]) -> tuple[str, str]:
    """Symmetric uint8 with zero point 128; one scale for all values along ``axes``.

    Returns:
        The names of the uint8 values and of their float32 scale, where ``float = (uint8 - 128) * scale``.
    """
    largest = write.node("ReduceMax", write.node("Abs", states), axes=axes, keepdims=1)
    largest = write.node("Max", largest, write.constant(np.float32(1e-9)))
    step = write.constant(np.float32(1 / 127))
    values = write.node("QuantizeLinear", write.node("Div", states, largest), step, zero_point(write))
    return values, write.node("Mul", largest, step)


def zero_point(write: NodeWriter) -> str:
    """The activations' zero point."""
    return write.constant(np.uint8(128))


def rows_to_int8(weight: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric int8, one scale per row: ``weight ~ int8 * scale[:, None]``."""
    scale = np.maximum(np.abs(weight).max(axis=1), 1e-9).astype(np.float32) / np.float32(127)
    return np.round(weight / scale[:, None]).astype(np.int8), scale


def drop_unused(graph: onnx.GraphProto) -> None:
    """Removes initializers that no node reads any more."""
    used = {name for node in graph.node for name in node.input}
    kept = [initializer for initializer in graph.initializer if initializer.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def add_domain(model: onnx.ModelProto) -> None:
    """Declares ONNX Runtime's own operators, which the fused products belong to."""
    from onnx import helper

    if all(opset.domain != _MICROSOFT for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))


class _Int8:
    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        self._write = NodeWriter(model.graph, "int8")
        self._weights = {
            init.name: numpy_helper.to_array(init)
            for init in model.graph.initializer
            if len(init.dims) == 2 and init.data_type == init.FLOAT
        }
        self._quantized: dict[str, tuple[str, str]] = {}  # several products often read the same activations
        self._renamed: dict[str, str] = {}

    def take(self, node: Any) -> None:
        for place, name in enumerate(node.input):
            node.input[place] = self._renamed.get(name, name)
        if node.op_type == "MatMul" and node.input[1] in self._weights:
            self._renamed[node.output[0]] = self._product(node.input[0], self._weights[node.input[1]])
        elif node.op_type == "Gather" and node.input[0] in self._weights:
            self._renamed[node.output[0]] = self._lookup(self._weights[node.input[0]], node.input[1])
        else:
            self._write.graph.node.append(node)

    def _product(self, states: str, weight: npt.NDArray[np.float32]) -> str:
        write = self._write
        if states not in self._quantized:
            self._quantized[states] = quantize_activations(write, states, axes=[-1])
        values, scale = self._quantized[states]
        rows, row_scale = rows_to_int8(weight.T)
        inputs = [
            values,
            write.constant(rows.T),
            write.constant(np.float32(1)),
            write.constant(row_scale),
            zero_point(write),
        ]
        # The token's scale varies along the rows, which the fused operator cannot take; it is multiplied in after it.
        return write.node("Mul", write.node("MatMulIntegerToFloat", *inputs, domain=_MICROSOFT), scale)

    def _lookup(self, table: npt.NDArray[np.float32], ids: str) -> str:
        write = self._write
        rows, scale = rows_to_int8(table)
        values = write.node("Cast", write.node("Gather", write.shared(rows), ids), to=1)
        return write.node("Mul", values, write.node("Gather", write.shared(scale[:, None]), ids))
