"""A bundle's graph as ML Commons runs it: its names of inputs, one output, nothing optional.

ML Commons 3.6 has ONNX Runtime 1.16.3: IR version 9 and opset 19 at most. Ours are 8 and 17, so no node is rewritten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opensearch_splade.errors import BundleError, MissingExtraError
from opensearch_splade.onnx_models.bundle import Bundle

if TYPE_CHECKING:
    import onnx

NEWEST_IR, NEWEST_OPSET = 9, 19
"""Of ONNX Runtime 1.16.3."""
SPARSE_INPUTS = {"input_ids": "input1.input_ids", "attention_mask": "input1.attention_mask"}
"""Our names to those that SPARSE_ENCODING gives its tensors."""
DENSE_INPUTS = {"input_ids": "input_ids", "attention_mask": "attention_mask"}


def sparse_package_graph(bundle: Bundle) -> bytes:
    """``input1.input_ids, input1.attention_mask (batch, length) -> weights (batch, vocabulary)``.

    Raises:
        BundleError: The graph is newer than ONNX Runtime 1.16.3.
        MissingExtraError: ``onnx`` is not installed.
    """
    return _package_graph(bundle, SPARSE_INPUTS, "weights")


def dense_package_graph(bundle: Bundle) -> bytes:
    """``input_ids, attention_mask (batch, length) -> embedding (batch, dimension)``.

    Raises:
        BundleError: The graph is newer than ONNX Runtime 1.16.3.
        MissingExtraError: ``onnx`` is not installed.
    """
    return _package_graph(bundle, DENSE_INPUTS, "embedding")


def _package_graph(bundle: Bundle, inputs: dict[str, str], output: str) -> bytes:
    try:
        import onnx
    except ImportError as error:
        raise MissingExtraError("onnx", "export") from error
    model = onnx.load(bundle.model)
    _require_old(bundle, model)
    graph = model.graph
    _keep_output(graph, output)
    # An input with a value of its own becomes a constant once it is no input any more.
    _keep_inputs(graph, inputs)
    _drop_unread(graph)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _require_old(bundle: Bundle, model: onnx.ModelProto) -> None:
    opset = max(one.version for one in model.opset_import if not one.domain)
    if model.ir_version > NEWEST_IR or opset > NEWEST_OPSET:
        raise BundleError(
            f"{bundle.manifest.name}'s graph has IR version {model.ir_version} and opset {opset}; ML Commons takes "
            f"{NEWEST_IR} and {NEWEST_OPSET} at most. Export the checkpoint again with this package"
        )


def _keep_output(graph: onnx.GraphProto, name: str) -> None:
    kept = [output for output in graph.output if output.name == name]
    del graph.output[:]
    graph.output.extend(kept)


def _keep_inputs(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    kept = [value for value in graph.input if value.name in names]
    for value in kept:
        value.name = names[value.name]
    del graph.input[:]
    graph.input.extend(kept)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Drops what only led to the outputs that are gone."""
    makers = {name: node for node in graph.node for name in node.output}
    read: set[str] = set()
    waiting = [output.name for output in graph.output]
    while waiting:
        name = waiting.pop()
        if name not in read:
            read.add(name)
            waiting += makers[name].input if name in makers else ()
    nodes = [node for node in graph.node if read.intersection(node.output)]
    del graph.node[:]
    graph.node.extend(nodes)
    for place in reversed(range(len(graph.initializer))):  # one by one: a list of all would copy the weights
        if graph.initializer[place].name not in read:
            del graph.initializer[place]
