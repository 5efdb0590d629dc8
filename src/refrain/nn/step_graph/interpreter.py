"""Runs a step graph in NumPy: the readable reference that exporters are compared with."""

from collections.abc import Callable, Sequence

import numpy as np

from .graph import Array, Operation, StepGraph

Inputs = Sequence[Array]

FUNCTIONS: dict[str, Callable[[Inputs, Operation], Sequence[Array]]] = {
    "gather": lambda inputs, operation: [_gather(inputs[0], inputs[1], *map(int, operation.numbers))],
    "differs": lambda inputs, operation: [(inputs[0] != operation.numbers[0]).astype(np.float32)[:, None]],
    "matmul": lambda inputs, operation: [inputs[0] @ inputs[1].T],
    "add": lambda inputs, operation: [inputs[0] + inputs[1]],
    "mul": lambda inputs, operation: [inputs[0] * inputs[1]],
    "affine": lambda inputs, operation: [operation.numbers[0] * inputs[0] + operation.numbers[1]],
    "sigmoid": lambda inputs, operation: [0.5 + 0.5 * np.tanh(0.5 * inputs[0])],
    "tanh": lambda inputs, operation: [np.tanh(inputs[0])],
    "relu": lambda inputs, operation: [np.maximum(inputs[0], 0)],
    "split": lambda inputs, operation: np.split(inputs[0], np.cumsum(operation.widths)[:-1], axis=-1),
    "concat": lambda inputs, operation: [np.concatenate(inputs, axis=-1)],
    "log_softmax": lambda inputs, operation: [inputs[0] - np.logaddexp.reduce(inputs[0], axis=-1, keepdims=True)],
    "log_add_exp": lambda inputs, operation: [np.logaddexp.reduce(inputs, axis=0)],
}


def run_step(graph: StepGraph, ids: Array, states: Sequence[Array]) -> tuple[Array, list[Array]]:
    """One step.

    Args:
        graph: the step.
        ids: (B,).
        states: each (B, size), in the order of `graph.states`.

    Returns:
        Log-probabilities (B, V) and the states after the step.
    """
    flat = graph.flat()
    values = {**graph.weights, graph.ids: ids}
    values |= {state.name: before for state, before in zip(graph.states, states, strict=True)}
    for operation in flat.operations:
        results = FUNCTIONS[operation.kind]([values[name] for name in operation.inputs], operation)
        values |= dict(zip(operation.outputs, results, strict=True))
    return values[flat.log_probabilities], [values[name] for name in flat.after]


def _gather(ids: Array, weight: Array, first: int, end: int | None = None) -> Array:
    rows: Array = weight[np.clip(ids - first, 0, None if end is None else end - first - 1)]
    return np.where(((ids >= first) & (end is None or ids < end))[..., None], rows, 0)
