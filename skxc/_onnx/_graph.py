"""An ONNX graph under construction: operators on values, which are known by their names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NewType

import numpy as np
from numpy.typing import ArrayLike

Value = NewType("Value", str)

OPSET = 18  # of 2022: reductions take their axes as an input, scattering adds up
_IR_VERSION = 8  # of the same release, so that older runtimes read the file
DATA = "model.onnx.data"
_LARGEST = 1_900_000_000  # bytes of one file: protobuf ends at 2 GiB


def onnx() -> Any:
    """The package onnx, which only an export needs.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "export_onnx needs the package onnx, which is not installed. Install it with "
            'pip install "skxc[onnx]".'
        ) from error
    return onnx


class Graph:
    """A graph of its own, or one that goes on where another one ends."""

    def __init__(self, model: Any = None) -> None:  # an onnx.ModelProto, taken over
        self._onnx = onnx()
        if model is None:
            helper = self._onnx.helper
            empty = helper.make_graph([], "skxc", [], [])
            opsets = [helper.make_opsetid("", OPSET)]
            model = helper.make_model(empty, opset_imports=opsets, ir_version=_IR_VERSION)
        self.model = model
        self.ends = [Value(output.name) for output in model.graph.output]
        del model.graph.output[:]
        self._n_values = 0

    def input(self, name: str, dtype: Any, shape: Sequence[str | int]) -> Value:
        """A new input of the graph."""
        self.model.graph.input.append(self._described(name, dtype, shape))
        return Value(name)

    def output(self, name: str, value: Value, dtype: Any, shape: Sequence[str | int]) -> None:
        """Give a value out under this name."""
        self.model.graph.node.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self.model.graph.output.append(self._described(name, dtype, shape))

    def constant(self, array: ArrayLike) -> Value:
        """Numbers that are a part of the model."""
        name = self._new_name()
        tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        tensor.dims[:] = np.shape(array)  # ascontiguousarray makes 0-d arrays 1-d
        self.model.graph.initializer.append(tensor)
        return name

    def __call__(self, operator: str, *inputs: Any, **attributes: Any) -> Value:
        """The first output of an operator; inputs that are no values are constants."""
        return self.all(operator, 1, *inputs, **attributes)[0]

    def all(self, operator: str, n_outputs: int, *inputs: Any, **attributes: Any) -> list[Value]:
        """Likewise, all outputs."""
        names = [x if isinstance(x, str) else self.constant(_as_array(x)) for x in inputs]
        outputs = [self._new_name() for _ in range(n_outputs)]
        node = self._onnx.helper.make_node(operator, names, outputs, **attributes)
        self.model.graph.node.append(node)
        return outputs

    def cast(self, value: Value, dtype: Any) -> Value:
        """The value as another type."""
        return self("Cast", value, to=self._type(dtype))

    def shape(self, value: Value, axis: int) -> Value:
        """The length of an axis, (1,) int64."""
        return self("Shape", value, start=axis, end=axis + 1)

    def flat(self, value: Value) -> Value:
        """The numbers one after the other."""
        return self("Reshape", value, [-1])

    def write(self, path: Path, **metadata: str) -> None:
        """Write the model; where it is too large for one file, its numbers to `DATA` beside it."""
        self._onnx.helper.set_model_props(self.model, metadata)
        n_bytes = sum(len(tensor.raw_data) for tensor in self.model.graph.initializer)
        if n_bytes <= _LARGEST:
            path.write_bytes(self.model.SerializeToString())
            return
        self._onnx.save_model(self.model, path, save_as_external_data=True, location=DATA)

    def _described(self, name: str, dtype: Any, shape: Sequence[str | int]) -> Any:
        return self._onnx.helper.make_tensor_value_info(name, self._type(dtype), shape)

    def _type(self, dtype: Any) -> int:
        number: int = self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return number

    def _new_name(self) -> Value:
        self._n_values += 1
        return Value(f"skxc.{self._n_values}")


def _as_array(value: Any) -> np.ndarray:
    """Python's whole numbers are int64, others float32, as in the models."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array
