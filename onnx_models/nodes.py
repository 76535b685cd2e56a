"""Adds nodes to an ONNX graph: names and constants in one place."""

from __future__ import annotations

from collections.abc import Sequence
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

    def outputs(self, count: int, op: str, *inputs: str, **attributes: Any) -> list[str]:
        """Appends a node with several outputs and gives their names."""
        from onnx import helper

        names = [self._name(op) for _ in range(count)]
        self.graph.node.append(helper.make_node(op, list(inputs), names, names[0], **attributes))
        return names

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

    def columns(self, weight: str, spans: Sequence[tuple[int, int]]) -> list[str]:
        """Adjoining row ranges of a ``(vocabulary, hidden)`` tensor, each transposed; folded when a session loads.

        One ``Split``, not a ``Slice`` each: folding copies the whole matrix for every node that reads it, which took a
        gigabyte to load BERT-base.
        """
        sizes = self.constant(np.array([stop - start for start, stop in spans]))
        parts = self.outputs(len(spans), "Split", weight, sizes, axis=0)
        return [self.node("Transpose", part, perm=[1, 0]) for part in parts]

    def optional_input(self, name: str, default: npt.NDArray[Any], shape: Sequence[int | str] | None = None) -> str:
        """Adds an input of the graph that has a value where the caller gives none; ``shape`` where it may vary."""
        from onnx import helper, numpy_helper

        self.graph.initializer.append(numpy_helper.from_array(default, name))
        kind = helper.np_dtype_to_tensor_dtype(default.dtype)
        self.graph.input.append(helper.make_tensor_value_info(name, kind, shape or default.shape))
        return name

    def take_output(self) -> str:
        """The name of the graph's only output, which it then no longer is."""
        from onnx import TensorProto, helper

        (output,) = self.graph.output
        del self.graph.output[:]
        # Its type stays known, which cannot be inferred behind ONNX Runtime's own operators.
        self.graph.value_info.append(helper.make_tensor_value_info(output.name, TensorProto.FLOAT, None))
        return str(output.name)

    def output(self, name: str, public: str, *width: int | str, integers: bool = False) -> None:
        """Makes ``name`` an output of the graph called ``public``: float32 or int32, ``(batch, *width)``."""
        from onnx import TensorProto, helper

        kind = TensorProto.INT32 if integers else TensorProto.FLOAT
        self.graph.node.append(helper.make_node("Identity", [name], [public], public))
        self.graph.output.append(helper.make_tensor_value_info(public, kind, ["batch", *width]))

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}/{what}_{self._count}"
