"""Adds nodes to an ONNX graph: names and constants in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx


class NodeWriter:
    """Appends nodes and constants with unique names.

    Args:
        graph: The graph that is written to.
        prefix: Start of every new name.
    """

    def __init__(self, graph: onnx.GraphProto, prefix: str) -> None:
        self.graph = graph
        self._prefix = prefix
        self._count = 0

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Appends a node with one output and gives that output's name."""
        from onnx import helper

        name = self._name(op)
        self.graph.node.append(helper.make_node(op, list(inputs), [name], name, domain=domain, **attributes))
        return name

    def constant(self, value: npt.NDArray[Any] | np.generic) -> str:
        """Appends an initializer and gives its name."""
        from onnx import numpy_helper

        name = self._name("const")
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
        return name

    def shared(self, value: npt.NDArray[Any]) -> str:
        """The name of an initializer that already holds exactly this array (tied weights), else a new one."""
        from onnx import numpy_helper

        for initializer in self.graph.initializer:
            if tuple(initializer.dims) == value.shape and np.array_equal(numpy_helper.to_array(initializer), value):
                return str(initializer.name)
        return self.constant(value)

    def columns(self, weight: str, span: tuple[int, int]) -> str:
        """Rows ``span`` of a ``(vocabulary, hidden)`` initializer, transposed; folded when a session loads."""
        start, stop = (self.constant(np.array([place])) for place in span)
        rows = self.node("Slice", weight, start, stop, self.constant(np.array([0])))
        return self.node("Transpose", rows, perm=[1, 0])

    def output(self, name: str, public: str, width: int) -> None:
        """Makes ``name`` the graph's only output, called ``public``, float32 ``(batch, width)``."""
        from onnx import TensorProto, helper

        self.graph.node.append(helper.make_node("Identity", [name], [public], public))
        del self.graph.output[:]
        self.graph.output.append(helper.make_tensor_value_info(public, TensorProto.FLOAT, ["batch", width]))

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}/{what}_{self._count}"
