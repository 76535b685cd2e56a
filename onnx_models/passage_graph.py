"""Passages in the graph: one more optional input, and the head pools over its rows instead of the texts'.

Late chunking (arXiv 2409.04701) carried over to sparse vectors: the body reads a long text once, so that each token has
seen its surroundings, and a passage is the maximum over its own tokens. ``passages``, int64 ``(passages, longest)``,
holds places in the flattened states ``(batch * length, hidden)``; a shorter passage is filled up with its own first
place, which adds nothing to a maximum. Empty, as it is where nobody gives it, it stands for the texts themselves.

The input is added to a finished graph in whatever precision: the ``Where`` by which the head masks becomes a ``Gather``
by places. It selects the same states, so a graph without the input given computes what it did before, and the
fingerprint stays that of the graph as it was (``Manifest.plain``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from opensearch_splade.onnx_models.nodes import NodeWriter
from opensearch_splade.onnx_models.precision import ALL_FP32

if TYPE_CHECKING:
    import onnx

PASSAGES = "passages"
_FLOAT, _INT64 = 1, 7


def add_passages(model: onnx.ModelProto) -> bool:
    """Adds the input to a sparse graph, in place, if its head can take it: maxima over states, or weights of tokens.

    Not so a head that adds up (a place that fills up would count twice) and one with a gate. They stay as they are.
    """
    graph = model.graph
    if any(one.name == PASSAGES for one in graph.input):
        return True
    masks = [node for node in graph.node if node.op_type == "Where" and node.name.startswith("head/Where")]
    terms = [node for node in graph.node if node.op_type == "ScatterElements" and "input_ids" in node.input]
    if len(masks) == 1 and not terms:
        _gather_states(graph, masks[0])
    elif len(terms) == 1 and not masks:
        _gather_terms(graph)
    else:
        return False
    for output in graph.output:
        output.type.tensor_type.shape.dim[0].dim_param = "rows"  # no longer always the batch
    # Shapes noted by the converter to fp16 would tie the head's rows to the batch.
    kept = [value for value in graph.value_info if not value.name.startswith("head/")]
    del graph.value_info[:]
    graph.value_info.extend(kept)
    return True


def _gather_states(graph: onnx.GraphProto, where: onnx.NodeProto) -> None:
    """In place of ``Where(is pooled, states, state of a pooled position)``."""
    is_pooled, states = where.input[:2]
    # What zeroes a text of nothing but special tokens asks the mask once more, after the maxima.
    mask, _ = _origin(graph, is_pooled)
    maxima = [node.input[0] for node in graph.node if node.op_type == "ReduceMax"]
    asking = [name for name in maxima if _origin(graph, name)[0] == mask]
    with _before(graph, where) as write:
        flat = write.constant(np.array([-1]))
        places = _places(write, is_pooled)
        pooled = write.node("Gather", write.node("Reshape", is_pooled, flat), places)
        first = write.node("ArgMax", write.node("Cast", pooled, to=_FLOAT), axis=1, keepdims=1)
        places = write.node("Where", pooled, places, write.node("GatherElements", places, first, axis=1))
        shape = write.node("Concat", flat, write.node("Shape", states, start=2, end=3), axis=0)
        gathered = write.node("Gather", write.node("Reshape", states, shape), places)
        numbers = {name: write.node("Cast", pooled, to=_origin(graph, name)[1]) for name in asking}
    _replace(graph, where.output[0], gathered)
    for name, number in numbers.items():
        _replace(graph, name, number, but={node.name for node in graph.node if node.op_type != "ReduceMax"})
    _drop_dead(graph)


def _gather_terms(graph: onnx.GraphProto) -> None:
    """The weights of positions, and beside them their token ids."""
    ours = [node for node in graph.node if node.name.startswith(f"{ALL_FP32}/")]
    (weights,) = [node.input[0] for node in ours if node.name.startswith(f"{ALL_FP32}/Shape")]
    after = {"Unsqueeze", "Shape", "ScatterElements"}
    readers = [node for node in ours if node.op_type in after and {weights, "input_ids"} & {*node.input}]
    with _before(graph, readers[0]) as write:
        flat = write.constant(np.array([-1]))
        places = _places(write, "input_ids")
        ids = write.node("Gather", write.node("Reshape", "input_ids", flat), places)
        gathered = write.node("Gather", write.node("Reshape", weights, flat), places)
    others = {node.name for node in graph.node} - {node.name for node in readers}
    _replace(graph, weights, gathered, but=others)
    _replace(graph, "input_ids", ids, but=others)


def _places(write: NodeWriter, like: str) -> str:
    """The input, or where it is empty all places of a ``(batch, length, ...)`` tensor in their order and shape."""
    given = write.optional_input(PASSAGES, np.zeros((0, 0), np.int64), [PASSAGES, "longest"])
    shape = write.node("Shape", like, start=0, end=2)
    none = write.node("Equal", write.node("Size", given), write.constant(np.int64(0)))
    size = write.node("Mul", write.node("ReduceProd", shape, keepdims=0), write.node("Cast", none, to=_INT64))
    own = write.node("Range", write.constant(np.int64(0)), size, write.constant(np.int64(1)))
    both = write.node("Concat", write.node("Reshape", given, write.constant(np.array([-1]))), own, axis=0)
    return write.node("Reshape", both, write.node("Where", none, shape, write.node("Shape", given)))


@contextmanager
def _before(graph: onnx.GraphProto, node: onnx.NodeProto) -> Iterator[NodeWriter]:
    """What is written stands before a node."""
    at = next(place for place, other in enumerate(graph.node) if other.name == node.name)
    end = len(graph.node)
    yield NodeWriter(graph, PASSAGES)
    nodes = list(graph.node)
    _set(graph, nodes[:at] + nodes[end:] + nodes[at:end])


def _origin(graph: onnx.GraphProto, name: str) -> tuple[str, int]:
    """The tensor that casts and a last axis of one made into this one, and the type that the last cast gave it."""
    makers = {node.output[0]: node for node in graph.node}
    kind = 0
    while name in makers and makers[name].op_type in {"Cast", "Unsqueeze"} and makers[name].input[0] in makers:
        kind = kind or next((attribute.i for attribute in makers[name].attribute if attribute.name == "to"), 0)
        name = makers[name].input[0]
    return name, kind or _FLOAT


def _replace(graph: onnx.GraphProto, old: str, new: str, but: Collection[str] = ()) -> None:
    """Makes all nodes but those of these names read another tensor."""
    for node in graph.node:
        if node.name not in but:
            for place, name in enumerate(node.input):
                if name == old:
                    node.input[place] = new


def _drop_dead(graph: onnx.GraphProto) -> None:
    """Removes the head's nodes that nothing reads any more, and its constants likewise."""
    used = {output.name for output in graph.output}
    used.update(name for node in graph.node if not node.name.startswith("head/") for name in node.input)
    makers = {name: node for node in graph.node for name in node.output}
    waiting = [*used]
    while waiting:  # the converter to fp16 leaves nodes in no order
        new = {*makers[name].input} - used if (name := waiting.pop()) in makers else set()
        used |= new
        waiting += new
    _set(graph, [node for node in graph.node if used.intersection(node.output)])
    for place in reversed(range(len(graph.initializer))):  # one by one: a list of all would copy the weights
        name = graph.initializer[place].name
        if name.startswith("head/") and name not in used:
            del graph.initializer[place]


def _set(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    del graph.node[:]
    graph.node.extend(nodes)
