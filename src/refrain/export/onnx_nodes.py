"""The operations of a step graph as ONNX nodes, over values of rank 2 or 3 alike, with float32 or int8 matrices."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from refrain.nn.step_graph import Operation

from .rounded import Rounded

MIDDLE = 128
"""The zero point of matrices, which are stored in uint8. Products of uint8 and int8 would overflow in ONNX Runtime's
kernels for processors with AVX2 and without VNNI; see docs/decisions."""


def shifted(matrix: Rounded) -> Any:
    """A matrix in uint8, with zero at `MIDDLE`."""
    return (matrix.multiples.astype(np.int16) + MIDDLE).astype(np.uint8)


class Nodes:
    """Collects nodes and initialisers.

    Args:
        weights: name -> array of the step graph.
        rounded: name -> matrix rounded to int8, empty for float32.
        looked_up: names of matrices of which single rows are read.
    """

    def __init__(self, weights: Mapping[str, Any], rounded: Mapping[str, Rounded], looked_up: frozenset[str]) -> None:
        self.weights, self.rounded, self.looked_up = weights, rounded, looked_up
        self.initializers: dict[str, onnx.TensorProto] = {}
        # nodes that prepare weights come first, outside of loops
        self.preparing: list[onnx.NodeProto] = []
        self.nodes: list[onnx.NodeProto] = []
        self.names: dict[str, str] = {}
        self._count = 0
        self._quantised: dict[tuple[int, str], list[str]] = {}

    def add(self, kind: str, inputs: Sequence[str], outputs: Sequence[str] | int = 1, **attributes: Any) -> list[str]:
        """Add a node.

        Args:
            kind: the ONNX operator.
            inputs: names of its inputs.
            outputs: names of its outputs, or their number.
            **attributes: of the operator; `domain` is that of the operator.

        Returns:
            The names of the outputs.
        """
        if isinstance(outputs, int):
            outputs = [self.fresh(kind) for _ in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=self.fresh("node"), **attributes))
        return list(outputs)

    def fresh(self, what: str) -> str:
        """A name that no other value has."""
        self._count += 1
        return f"{what}_{self._count}"

    def constant(self, name: str, array: Any) -> str:
        """An initialiser, made once for its name."""
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def numbers(self, *values: int) -> str:
        """A constant vector of int64."""
        return self.constant("int64_" + "_".join(str(value) for value in values), np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """A float32 constant."""
        return self.constant(f"float_{value!r}", np.float32(value))

    def read(self, name: str) -> str:
        """The ONNX name of a value, or of a weight that is read as it is."""
        if name in self.weights:
            return self.constant(name, self.weights[name].astype(np.float32))
        return self.names.get(name, name)

    def transposed(self, name: str) -> str:
        """The transpose of a matrix, float32 or int8, as the right operand of a matmul."""
        array = shifted(self.rounded[name]) if name in self.rounded else self.weights[name].astype(np.float32)
        if name not in self.looked_up:
            return self.constant(f"{name}.T", array.T)
        # a matrix whose rows are looked up is stored once, and a runtime transposes it when it is loaded
        result = f"{name}.transposed"
        if all(result not in node.output for node in self.preparing):
            rows = self.constant(name, array)
            self.preparing.append(helper.make_node("Transpose", [rows], [result], name=self.fresh("node"), perm=[1, 0]))
        return result

    def middle(self) -> str:
        """The zero point of matrices in uint8."""
        return self.constant("uint8_middle", np.uint8(MIDDLE))

    def matmul(self, x: str, weight: str) -> str:
        """x times the transpose of a weight. An int8 weight is multiplied with x rounded to uint8."""
        if weight not in self.rounded:
            return self.add("MatMul", [x, self.transposed(weight)])[0]
        # once for all matrices that x is multiplied with, in the same graph
        key = id(self.nodes), x
        if key not in self._quantised:
            self._quantised[key] = self.add("DynamicQuantizeLinear", [x], 3)
        quantised, scale, zero = self._quantised[key]
        (product,) = self.add("MatMulInteger", [quantised, self.transposed(weight), zero, self.middle()])
        (product,) = self.add("Cast", [product], to=TensorProto.FLOAT)
        (scales,) = self.add("Mul", [scale, self.constant(f"{weight}.scales", self.rounded[weight].scales)])
        return self.add("Mul", [product, scales])[0]

    def gather(self, ids: str, weight: str, first: int, end: int | None = None) -> str:
        """Rows `ids - first` of a weight, and zeros for ids below `first` and, where it is given, from `end` on."""
        rows, outside = ids, []
        if first:
            (rows,) = self.add("Sub", [ids, self.numbers(first)])
            (rows,) = self.add("Max", [rows, self.numbers(0)])
            outside += self.add("Less", [ids, self.numbers(first)])
        if end is not None:
            (rows,) = self.add("Min", [rows, self.numbers(end - first - 1)])
            outside += self.add("Less", [self.numbers(end - 1), ids])
        if weight in self.rounded:
            (found,) = self.add("Gather", [self.constant(weight, shifted(self.rounded[weight])), rows])
            (found,) = self.add("Cast", [found], to=TensorProto.FLOAT)
            (found,) = self.add("Sub", [found, self.scalar(float(MIDDLE))])
            scales = self.constant(f"{weight}.scales_of_rows", self.rounded[weight].scales[:, None])
            (found,) = self.add("Mul", [found, self.add("Gather", [scales, rows])[0]])
        else:
            (found,) = self.add("Gather", [self.read(weight), rows])
        for beyond in outside:
            (found,) = self.add("Mul", [found, self.column(self.add("Not", [beyond])[0])])
        return found

    def column(self, truth: str) -> str:
        """A truth value for each sequence, as a column of 0 and 1."""
        (number,) = self.add("Cast", [truth], to=TensorProto.FLOAT)
        return self.add("Unsqueeze", [number, self.numbers(-1)])[0]

    def operation(self, operation: Operation) -> None:
        """Add the nodes of an operation of the step graph."""
        results = _NODES[operation.kind](self, operation)
        self.names |= dict(zip(operation.outputs, results, strict=True))


def _plain(kind: str, **attributes: Any) -> Callable[[Nodes, Operation], list[str]]:
    """An operation that is an ONNX operator."""
    return lambda nodes, operation: nodes.add(kind, [nodes.read(name) for name in operation.inputs], **attributes)


def _gather(nodes: Nodes, operation: Operation) -> list[str]:
    ids, weight = operation.inputs
    return [nodes.gather(nodes.read(ids), weight, *map(int, operation.numbers))]


def _differs(nodes: Nodes, operation: Operation) -> list[str]:
    (same,) = nodes.add("Equal", [nodes.read(operation.inputs[0]), nodes.numbers(int(operation.numbers[0]))])
    return [nodes.column(nodes.add("Not", [same])[0])]


def _affine(nodes: Nodes, operation: Operation) -> list[str]:
    scale, shift = operation.numbers
    x = nodes.read(operation.inputs[0])
    if scale == -1 and shift:
        return nodes.add("Sub", [nodes.scalar(shift), x])
    (scaled,) = [x] if scale == 1 else nodes.add("Mul", [x, nodes.scalar(scale)])
    return nodes.add("Add", [scaled, nodes.scalar(shift)]) if shift else [scaled]


def _split(nodes: Nodes, operation: Operation) -> list[str]:
    inputs = [nodes.read(operation.inputs[0]), nodes.numbers(*operation.widths)]
    return nodes.add("Split", inputs, len(operation.widths), axis=-1)


def _log_add_exp(nodes: Nodes, operation: Operation) -> list[str]:
    parts = [nodes.add("Unsqueeze", [nodes.read(name), nodes.numbers(-1)])[0] for name in operation.inputs]
    (stacked,) = nodes.add("Concat", parts, axis=-1)
    return nodes.add("ReduceLogSumExp", [stacked], axes=[-1], keepdims=0)


_NODES: dict[str, Callable[[Nodes, Operation], list[str]]] = {
    "gather": _gather,
    "differs": _differs,
    "matmul": lambda nodes, operation: [nodes.matmul(nodes.read(operation.inputs[0]), operation.inputs[1])],
    "add": _plain("Add"),
    "mul": _plain("Mul"),
    "affine": _affine,
    "sigmoid": _plain("Sigmoid"),
    "tanh": _plain("Tanh"),
    "relu": _plain("Relu"),
    "split": _split,
    "concat": _plain("Concat", axis=-1),
    "log_softmax": _plain("LogSoftmax", axis=-1),
    "log_add_exp": _log_add_exp,
}
