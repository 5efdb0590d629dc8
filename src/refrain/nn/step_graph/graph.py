"""The step of a language model as plain data: weights, states and a list of operations from a small set.

Exporters translate this list. Each value is a matrix (batch, width); every operation acts on the last axis, so most
operations mean the same for a whole window (time, batch, width). Only cells connect the steps of a window.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

Array = np.ndarray[tuple[int, ...], np.dtype[np.floating]]

OPERATIONS = {
    "gather": "(ids, weight), numbers (first,) or (first, end): row id - first of the weight, zeros for other ids",
    "differs": "(ids,), numbers (id,): a column that is 0 where the id is this one, otherwise 1",
    "matmul": "(x, weight): x weight^T",
    "add": "(a, b): a + b; b may be a column or a vector",
    "mul": "(a, b): a * b; b may be a column or a vector",
    "affine": "(x,), numbers (scale, shift): scale * x + shift",
    "sigmoid": "(x,)",
    "tanh": "(x,)",
    "relu": "(x,)",
    "split": "(x,): parts of x along its width, as wide as the outputs",
    "concat": "(a, b, ...): side by side",
    "log_softmax": "(x,): along the width",
    "log_add_exp": "(a, b, ...): log(exp(a) + exp(b) + ...), entry by entry",
    "reverse": "(x,): each sequence of a window in reverse order, its padding in place; in graphs of taggers alone",
}
"""Kind of operation -> its inputs and its numbers, and what it computes."""


@dataclass(frozen=True)
class Operation:
    """An operation.

    Attributes:
        kind: a key of `OPERATIONS`.
        inputs: names of values and weights, in the order of `OPERATIONS`.
        outputs: names of the values that it computes.
        widths: the width of each output.
        numbers: constants.
    """

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    widths: tuple[int, ...]
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True)
class Cell:
    """A recurrent cell: the operations of one step, which read the state before it.

    Attributes:
        kind: `LSTM` or `GRU` if the operations are those of `refrain.nn.lstm_step` or `gru_step`, whose weights are
            listed in their order; any other name for another cell.
        inputs: names of the values of this step that it reads.
        before: names of the states that it reads.
        output: name of its output.
        after: names of the states after the step.
        weights: names of its weights.
        operations: the step.
        results: names that the operations give to the output and to the states after the step.
        widths: the width of the output and of each state.
    """

    kind: str
    inputs: tuple[str, ...]
    before: tuple[str, ...]
    output: str
    after: tuple[str, ...]
    weights: tuple[str, ...]
    operations: tuple[Operation, ...]
    results: tuple[str, ...]
    widths: tuple[int, ...]


class State(NamedTuple):
    """A state, which a step reads and replaces.

    Attributes:
        name: also the name of its value before the step.
        size: its width.
        initial: its value before the first token (size,).
        after: name of its value after the step.
    """

    name: str
    size: int
    initial: Array
    after: str


@dataclass(frozen=True)
class StepGraph:
    """The function (ids, states) -> (natural log-probabilities of the next tokens, states).

    Attributes:
        vocabulary_size: V, the width of the log-probabilities.
        weights: name -> array. Matrices are (outputs, inputs), embeddings (tokens, width).
        states: in the order of the layers.
        body: from `ids` to the input of the head.
        head: from the value `hidden` to the log-probabilities.
        hidden: name of the head's input.
        log_probabilities: name of the result (batch, V).
    """

    vocabulary_size: int
    weights: Mapping[str, Array]
    states: tuple[State, ...]
    body: tuple[Operation | Cell, ...]
    head: tuple[Operation, ...]
    hidden: str
    log_probabilities: str
    ids: str = field(default="ids")

    def flat(self) -> "FlatGraph":
        """The operations of one step alone, with the step of each cell in its place."""
        renamed: dict[str, str] = {}
        operations: list[Operation] = []
        for item in (*self.body, *self.head):
            inner = item.operations if isinstance(item, Cell) else (item,)
            operations += [_reading(operation, renamed) for operation in inner]
            if isinstance(item, Cell):
                results = [renamed.get(name, name) for name in item.results]
                renamed |= dict(zip((item.output, *item.after), results, strict=True))
        after = tuple(renamed.get(state.after, state.after) for state in self.states)
        log_probabilities = renamed.get(self.log_probabilities, self.log_probabilities)
        return FlatGraph(tuple(operations), after, log_probabilities)


class FlatGraph(NamedTuple):
    """The operations of one step, the names of the states after it, and of the log-probabilities."""

    operations: tuple[Operation, ...]
    after: tuple[str, ...]
    log_probabilities: str


def _reading(operation: Operation, renamed: Mapping[str, str]) -> Operation:
    return replace(operation, inputs=tuple(renamed.get(name, name) for name in operation.inputs))
