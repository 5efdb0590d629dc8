"""Symbols that a step's equations can be run on, and the builder that records what they compute.

`x @ w.T`, `+`, `-`, `*`, `sigmoid`, `tanh`, `relu`, `log_softmax`, `chunk`, `split` and numbers are understood as torch
understands them, along the last axis. The step function of a layer therefore is its description, too.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from .graph import Array, Cell, Operation


class Value:
    """A value (batch, width) of the step.

    Args:
        builder: records the operations on it.
        name: its name in the graph.
        width: its width.
    """

    def __init__(self, builder: "GraphBuilder", name: str, width: int) -> None:
        self.builder, self.name, self.width = builder, name, width

    def __matmul__(self, other: "Transposed") -> "Value":
        return self.builder.record("matmul", [self, other.weight], [other.weight.rows])[0]

    def __add__(self, other: "Value | float") -> "Value":
        if isinstance(other, Value):
            return self.builder.combined("add", self, other)
        return self._affine(1, other)

    def __mul__(self, other: "Value | float") -> "Value":
        if isinstance(other, Value):
            return self.builder.combined("mul", self, other)
        return self._affine(other, 0)

    def __neg__(self) -> "Value":
        return self._affine(-1, 0)

    def __sub__(self, other: "Value | float") -> "Value":
        return self + -other

    def __rsub__(self, other: float) -> "Value":
        return self._affine(-1, other)

    __radd__, __rmul__ = __add__, __mul__

    def _affine(self, scale: float, shift: float) -> "Value":
        return self.builder.record("affine", [self], [self.width], (float(scale), float(shift)))[0]

    def sigmoid(self) -> "Value":
        """The logistic function of each entry."""
        return self.builder.record("sigmoid", [self], [self.width])[0]

    def tanh(self) -> "Value":
        """The hyperbolic tangent of each entry."""
        return self.builder.record("tanh", [self], [self.width])[0]

    def relu(self) -> "Value":
        """The larger of each entry and 0."""
        return self.builder.record("relu", [self], [self.width])[0]

    def log_softmax(self, dim: int = -1) -> "Value":
        """The logarithm of the softmax."""
        return self.builder.record("log_softmax", [self], [self.width])[0]

    def chunk(self, chunks: int, dim: int = -1) -> tuple["Value", ...]:
        """Parts of equal width.

        Raises:
            ValueError: when the width is no multiple of their number.
        """
        if self.width % chunks:
            raise ValueError(f"a value of width {self.width} has no {chunks} parts of equal width")
        return self.split([self.width // chunks] * chunks)

    def split(self, sizes: Sequence[int], dim: int = -1) -> tuple["Value", ...]:
        """Parts of given widths.

        Raises:
            ValueError: when the widths do not add up.
        """
        if sum(sizes) != self.width or min(sizes) < 1:
            raise ValueError(f"a value of width {self.width} has no parts of widths {list(sizes)}")
        return (self,) if len(sizes) == 1 else tuple(self.builder.record("split", [self], sizes))

    def part(self, begin: int, end: int) -> "Value":
        """The entries `begin` to `end - 1`."""
        sizes = [begin, end - begin, self.width - end]
        return self.split([size for size in sizes if size])[1 if begin else 0]


class Weight(Value):
    """A weight: a vector that acts as a value, or a matrix for `x @ w.T`."""

    def __init__(self, builder: "GraphBuilder", name: str, tensor: Tensor) -> None:
        super().__init__(builder, name, tensor.shape[-1])
        self.tensor, self.rows = tensor, len(tensor)

    @property
    def T(self) -> "Transposed":
        """The operand of a matmul."""
        return Transposed(self)

    def chunk(self, chunks: int, dim: int = 0) -> tuple["Value", ...]:
        """Blocks of rows, each a weight of its own."""
        parts = self.tensor.chunk(chunks, dim)
        return tuple(self.builder.whole_weight(f"{self.name}.{index}", part) for index, part in enumerate(parts))


class Transposed(NamedTuple):
    """A weight whose transpose is multiplied with."""

    weight: Weight


class GraphBuilder:
    """Records the operations of a step, its weights and its cells.

    Attributes:
        weights: name -> array; a tensor that is used twice has one name.
        items: the operations and cells so far.
        kept: a column that is 0 for the sequences whose states are cleared before the step; None clears none.
    """

    def __init__(self) -> None:
        self.weights: dict[str, Array] = {}
        self.items: list[Any] = []
        self.kept: Value | None = None
        self._prefix = ""
        self._count = 0
        # tensors are kept, so that no other tensor gets the memory of one
        self._names: dict[tuple[Any, ...], tuple[str, Tensor]] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Names of weights and values begin with the name of a part of the model within this context."""
        before = self._prefix
        self._prefix = f"{before}{name}."
        yield
        self._prefix = before

    def weight(self, name: str, tensor: Tensor) -> Weight:
        """A weight.

        Args:
            name: its name within the part.
            tensor: its value; the same parameter under another name is the same weight.
        """
        return self.whole_weight(self._prefix + name, tensor)

    def whole_weight(self, name: str, tensor: Tensor) -> Weight:
        """A weight, under its whole name."""
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if key not in self._names:
            self._names[key] = name, tensor
            self.weights[name] = np.ascontiguousarray(_as_float(tensor))
        return Weight(self, self._names[key][0], tensor)

    def value(self, name: str, width: int) -> Value:
        """A value that is given, such as a state before the step."""
        return Value(self, name, width)

    def gather(self, ids: Value, weight: Weight, first: int = 0, end: int | None = None) -> Value:
        """Rows `ids - first` of a weight, and zeros for ids below `first` and, where it is given, from `end` on."""
        numbers = (first,) if end is None else (first, end)
        return self.record("gather", [ids, weight], [weight.width], numbers)[0]

    def differs(self, ids: Value, token: int) -> Value:
        """A column that is 0 where the id is `token`, otherwise 1."""
        return self.record("differs", [ids], [1], (token,))[0]

    def concat(self, values: Sequence[Value]) -> Value:
        """Values side by side."""
        return values[0] if len(values) == 1 else self.record("concat", values, [sum(v.width for v in values)])[0]

    def log_add_exp(self, values: Sequence[Value]) -> Value:
        """The logarithm of the sum of the exponentials of values, entry by entry."""
        return self.record("log_add_exp", values, [values[0].width])[0]

    def reverse(self, x: Value) -> Value:
        """Each sequence of a window from its last step to its first."""
        return self.record("reverse", [x], [x.width])[0]

    def cell(
        self,
        kind: str,
        step: Callable[..., Any],
        x: Value,
        state: Any,
        weights: Mapping[str, Tensor],
    ) -> tuple[Value, Any]:
        """A recurrent cell, described by its step function.

        Args:
            kind: the name of the cell; see `Cell`.
            step: maps an input, a state and the weights to the output and the next state, by operations of `Value`.
            x: the input.
            state: a NamedTuple of values, or one value.
            weights: name -> tensor, in the order of the arguments of `step`.

        Returns:
            The output and the state after the step, of the type of `state`.
        """
        before = leaves(state)
        used = [self.weight(name, tensor) for name, tensor in weights.items()]
        with self.part("step"):
            outer, self.items = self.items, []
            cleared = before if self.kept is None else [part * self.kept for part in before]
            y, after = step(x, like(state, cleared), *used)
            results = [y, *leaves(after)]
            operations, self.items = tuple(self.items), outer
        output = Value(self, self._fresh("output"), y.width)
        ends = [Value(self, self._fresh("after"), part.width) for part in leaves(after)]
        self.items.append(
            Cell(
                kind,
                (x.name,) if self.kept is None else (x.name, self.kept.name),
                tuple(part.name for part in before),
                output.name,
                tuple(part.name for part in ends),
                tuple(weight.name for weight in used),
                operations,
                tuple(part.name for part in results),
                tuple(part.width for part in results),
            )
        )
        return output, like(state, ends)

    def combined(self, kind: str, a: Value, b: Value) -> Value:
        """The sum or the product of two values, of which one may be a column.

        Raises:
            ValueError: when the widths do not fit.
        """
        if a.width == 1 or isinstance(a, Weight):
            a, b = b, a
        if b.width not in (1, a.width):
            raise ValueError(f"values of widths {a.width} and {b.width} cannot be combined")
        return self.record(kind, [a, b], [a.width])[0]

    def record(
        self, kind: str, inputs: Sequence[Value], widths: Sequence[int], numbers: Sequence[float] = ()
    ) -> list[Value]:
        """Record an operation, and return its outputs."""
        outputs = [Value(self, self._fresh(kind), width) for width in widths]
        read, made = (tuple(value.name for value in values) for values in (inputs, outputs))
        self.items.append(Operation(kind, read, made, tuple(widths), tuple(numbers)))
        return outputs

    def _fresh(self, what: str) -> str:
        self._count += 1
        return f"{self._prefix}{what}{self._count}"


@runtime_checkable
class Describable(Protocol):
    """A part of a model that describes its step, which export needs.

    An embedding maps the ids of a step to vectors (B, D), a recurrent layer an input and a state to an output and the
    next state, a head the outputs of the last layer to log-probabilities (B, V): `describe(build, values...)` records
    the operations and returns symbols. A layer mostly calls `GraphBuilder.cell` with its step function.
    """

    def describe(self, build: GraphBuilder, *values: Any) -> Any:
        """Record the operations of the step in evaluation mode, and return the symbols of its results."""
        ...


def _as_float(tensor: Tensor) -> Array:
    """A copy of a weight, float32 unless it is float64."""
    found = tensor.detach().cpu()
    array: Array = (found if str(found.dtype) == "torch.float64" else found.float()).numpy().copy()
    return array


def leaves(state: Any) -> list[Any]:
    """The values or tensors of a state, in order, whatever the nesting of its tuples."""
    return [leaf for part in state for leaf in leaves(part)] if isinstance(state, tuple) else [state]


def like(template: Any, values: Sequence[Any]) -> Any:
    """A state of the nesting of `template` with other values: the inverse of `leaves`."""
    remaining = iter(values)

    def build(part: Any) -> Any:
        if not isinstance(part, tuple):
            return next(remaining)
        parts = [build(inner) for inner in part]
        return tuple(parts) if type(part) is tuple else type(part)(*parts)

    return build(template)
