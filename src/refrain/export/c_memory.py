"""The order of the operations of a step, and where each value is kept, so that C code needs little memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from refrain.nn.step_graph import Operation, StepGraph

IN_PLACE = {"add", "mul", "affine", "sigmoid", "tanh", "relu", "log_softmax", "log_add_exp"}
"""Operations that may write their result over their first input."""


class Place(NamedTuple):
    """Where a value is: an array and the index of its first entry. The array is `work`, a state, a weight or `out`."""

    array: str
    offset: int


@dataclass(frozen=True)
class Plan:
    """The operations in order, the place of each value, and the number of floats in `work`."""

    operations: tuple[Operation, ...]
    places: Mapping[str, Place]
    work: int
    after: tuple[str, ...]


def plan(graph: StepGraph) -> Plan:
    """Order the operations of a step and place its values.

    Args:
        graph: the step.
    """
    flat = graph.flat()
    after, copies = _kept_apart(graph, flat.operations, flat.after)
    operations = _ordered([*_in_pairs(flat.operations), *copies], (*after, flat.log_probabilities))
    memory = _Memory(graph, operations, (*after, flat.log_probabilities))
    for index, operation in enumerate(operations):
        memory.place(index, operation)
    places, work = memory.places(flat.log_probabilities)
    return Plan(tuple(operations), places, work, after)


class _Memory:
    """Assigns values to buffers, and buffers to places.

    Args:
        graph: the step.
        operations: in order.
        results: values that are needed after the last operation.
    """

    def __init__(self, graph: StepGraph, operations: Sequence[Operation], results: Sequence[str]) -> None:
        self._size_of_result = graph.vocabulary_size
        names = [*graph.weights, *(state.name for state in graph.states)]
        self._fixed = {name: Place(name, 0) for name in names}
        self._last = {name: index for index, operation in enumerate(operations) for name in operation.inputs}
        self._last |= dict.fromkeys(results, len(operations))
        # size, and the first and the last operation for which a buffer is needed
        self._buffers: list[list[int]] = []
        # value -> buffer, offset and width
        self._inside: dict[str, tuple[int, int, int]] = {}

    def place(self, index: int, operation: Operation) -> None:
        """Assign the outputs of the next operation."""
        first = operation.inputs[0]
        if operation.kind == "split":
            self._place_parts(operation, first)
        elif operation.kind in IN_PLACE and self._is_free(first, index):
            self._inside[operation.outputs[0]] = self._inside[first]
        else:
            self._inside[operation.outputs[0]] = (len(self._buffers), 0, operation.widths[0])
            self._buffers.append([operation.widths[0], index, index])
        for name in operation.outputs:
            if name in self._inside:
                buffer = self._buffers[self._inside[name][0]]
                buffer[2] = max(buffer[2], self._last.get(name, index))

    def _place_parts(self, operation: Operation, whole: str) -> None:
        offset = 0
        for name, width in zip(operation.outputs, operation.widths, strict=True):
            if whole in self._fixed:
                array, start = self._fixed[whole]
                self._fixed[name] = Place(array, start + offset)
            else:
                buffer, start, _ = self._inside[whole]
                self._inside[name] = (buffer, start + offset, width)
            offset += width

    def _is_free(self, name: str, index: int) -> bool:
        """Whether nothing from an operation on reads what a value occupies, besides its first input."""
        if name not in self._inside or self._last[name] > index:
            return False
        buffer, start, width = self._inside[name]
        return not any(
            other != name and its == buffer and begin < start + width and start < begin + size
            for other, (its, begin, size) in self._inside.items()
            if self._last.get(other, -1) >= index
        )

    def places(self, result: str) -> tuple[dict[str, Place], int]:
        """The place of each value, and the number of floats in `work`; the result is where the caller has it."""
        buffer, offset, _ = self._inside[result]
        own = buffer if offset == 0 and self._buffers[buffer][0] == self._size_of_result else None
        offsets, work = _first_fit([each for index, each in enumerate(self._buffers) if index != own])
        where = iter(offsets)
        arrays = [
            Place("out", 0) if index == own else Place("work", next(where)) for index in range(len(self._buffers))
        ]
        inside = {
            name: Place(arrays[index].array, arrays[index].offset + offset)
            for name, (index, offset, _) in self._inside.items()
        }
        return {**self._fixed, **inside}, work


def _kept_apart(
    graph: StepGraph, operations: Sequence[Operation], after: Sequence[str]
) -> tuple[tuple[str, ...], list[Operation]]:
    """The states after the step, with copies of those that are read from a state before it, which is overwritten."""
    before = {state.name for state in graph.states}
    wholes = {name: each.inputs[0] for each in operations if each.kind == "split" for name in each.outputs}
    names, copies = [], []
    for state, name in zip(graph.states, after, strict=True):
        whole = name
        while whole in wholes:
            whole = wholes[whole]
        if whole in before and name != state.name:
            copies.append(Operation("affine", (name,), (f"{state.name}.next",), (state.size,), (1.0, 0.0)))
            name = f"{state.name}.next"
        names.append(name)
    return tuple(names), copies


def _in_pairs(operations: Iterable[Operation]) -> list[Operation]:
    """The same operations, where each log_add_exp has two inputs, so that no more than two are kept."""
    found = []
    for operation in operations:
        if operation.kind != "log_add_exp" or len(operation.inputs) == 2:
            found.append(operation)
            continue
        (output,) = operation.outputs
        total, *others = operation.inputs
        for index, name in enumerate(others):
            result = output if index == len(others) - 1 else f"{output}.{index}"
            found.append(Operation("log_add_exp", (total, name), (result,), operation.widths))
            total = result
    return found


def _ordered(operations: Sequence[Operation], results: Iterable[str]) -> list[Operation]:
    """The operations that results need, each as late as the first operation that reads it allows."""
    makers = {name: operation for operation in operations for name in operation.outputs}
    found: list[Operation] = []
    done: set[int] = set()
    waiting = [(makers[name], False) for name in reversed(list(results)) if name in makers]
    while waiting:
        operation, ready = waiting.pop()
        if id(operation) in done:
            continue
        if ready:
            done.add(id(operation))
            found.append(operation)
            continue
        waiting.append((operation, True))
        waiting += [(makers[name], False) for name in reversed(operation.inputs) if name in makers]
    return found


def _first_fit(buffers: Sequence[Sequence[int]]) -> tuple[list[int], int]:
    """The offset of each buffer (size, first, last), none of which overlaps with another one in use, and the end."""
    placed: list[tuple[int, int, int, int]] = []
    offsets = []
    for size, first, last in buffers:
        offset = 0
        for start, end, begin, finish in sorted(placed):
            in_use = begin <= last and first <= finish
            if in_use and start < offset + size and offset < end:
                offset = end
        placed.append((offset, offset + size, first, last))
        offsets.append(offset)
    return offsets, max((end for _, end, _, _ in placed), default=0)
