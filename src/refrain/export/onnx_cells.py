"""Recurrent cells in ONNX: LSTM and GRU as the operators of these names, every other cell as a Scan over its step."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from refrain.nn.step_graph import Cell, Operation

from .onnx_nodes import MIDDLE, Nodes, shifted

ORDERS = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""Where the gates of the operator are in our weights. ONNX: input, output, forget, candidate; update, reset, candidate.
Ours: input, forget, candidate, output; reset, update, candidate."""

MICROSOFT = "com.microsoft"


def add_cell(nodes: Nodes, cell: Cell) -> None:
    """Add the nodes of a cell over a window: inputs (time, batch, width), states (batch, size)."""
    # a cell whose states are cleared within the window has another input
    if cell.kind in ORDERS and len(cell.inputs) == 1:
        _add_operator(nodes, cell)
    else:
        _add_scan(nodes, cell)


def _add_operator(nodes: Nodes, cell: Cell) -> None:
    kind, order = cell.kind, ORDERS[cell.kind]
    w_ih, w_hh, bias, *second = cell.weights
    start = [nodes.add("Unsqueeze", [nodes.read(name), nodes.numbers(0)])[0] for name in cell.before]
    own = _by_gate(nodes.weights[bias].astype(np.float32), order)
    # the operator has a second bias, that of a GRU for the candidate, which is the last gate in both orders
    recurrent = np.zeros_like(own)
    for name in second:
        recurrent[-cell.widths[0] :] = nodes.weights[name]
    biases = nodes.constant(f"{bias}.{kind}", np.concatenate([own, recurrent])[None])
    x = nodes.read(cell.inputs[0])
    attributes: dict[str, Any] = {"hidden_size": cell.widths[0]}
    if kind == "LSTM" and w_ih in nodes.rounded:
        matrices = [_rounded(nodes, name, order) for name in (w_ih, w_hh)]
        scales = [name for _, *rest in matrices for name in rest]
        inputs = [x, matrices[0][0], matrices[1][0], biases, "", *start, "", *scales]
        outputs = nodes.add("DynamicQuantizeLSTM", inputs, 3, domain=MICROSOFT, **attributes)
    else:
        matrices = [[_matrix(nodes, name, kind)] for name in (w_ih, w_hh)]
        if kind == "GRU":
            attributes["linear_before_reset"] = 1
        inputs = [x, matrices[0][0], matrices[1][0], biases, "", *start]
        outputs = nodes.add(kind, inputs, 1 + len(start), **attributes)
    y, *ends = outputs
    nodes.names[cell.output] = nodes.add("Squeeze", [y, nodes.numbers(1)])[0]
    for name, end in zip(cell.after, ends, strict=True):
        nodes.names[name] = nodes.add("Squeeze", [end, nodes.numbers(0)])[0]


def _by_gate(array: Any, order: tuple[int, ...]) -> Any:
    gates = np.split(array, len(order))
    return np.concatenate([gates[index] for index in order])


def _matrix(nodes: Nodes, name: str, kind: str) -> str:
    """A matrix (1, gates * H, I) as the operators take it; one in int8 becomes float32 when it is loaded."""
    order = ORDERS[kind]
    if name not in nodes.rounded:
        return nodes.constant(f"{name}.{kind}", _by_gate(nodes.weights[name].astype(np.float32), order)[None])
    multiples = nodes.constant(f"{name}.{kind}", _by_gate(shifted(nodes.rounded[name]), order)[None])
    scales = _by_gate(nodes.rounded[name].scales, order)
    zeros = nodes.constant(f"{name}.{kind}.zeros", np.full(scales.shape, MIDDLE, np.uint8))
    scales = nodes.constant(f"{name}.{kind}.scales", scales)
    result = f"{name}.{kind}.float"
    nodes.preparing.append(
        helper.make_node("DequantizeLinear", [multiples, scales, zeros], [result], name=nodes.fresh("node"), axis=1)
    )
    return result


def _rounded(nodes: Nodes, name: str, order: tuple[int, ...]) -> list[str]:
    """A matrix (1, I, 4H) in uint8, its scales and its zero points, as ONNX Runtime's int8 LSTM takes them."""
    multiples = _by_gate(shifted(nodes.rounded[name]), order)
    scales = _by_gate(nodes.rounded[name].scales, order)
    return [
        nodes.constant(f"{name}.LSTM", multiples.T[None]),
        nodes.constant(f"{name}.LSTM.scales", scales[None]),
        nodes.constant(f"{name}.LSTM.zeros", np.full(scales[None].shape, MIDDLE, np.uint8)),
    ]


def _add_scan(nodes: Nodes, cell: Cell) -> None:
    outside, inside = _divided(cell)
    for operation in outside:
        nodes.operation(operation)
    made = {name for operation in inside for name in operation.outputs} | set(cell.before) | set(nodes.weights)
    used = [name for operation in inside for name in operation.inputs] + list(cell.results)
    scanned = list(dict.fromkeys(name for name in used if name not in made))

    outer_nodes, outer_names = nodes.nodes, nodes.names
    nodes.nodes = []
    nodes.names = {name: nodes.fresh("in") for name in (*cell.before, *scanned)}
    inputs = [nodes.names[name] for name in (*cell.before, *scanned)]
    for operation in inside:
        nodes.operation(operation)
    # the states after the step come first
    results = [*cell.results[1:], cell.results[0]]
    outputs = [nodes.add("Identity", [nodes.names[name]])[0] for name in results]
    body = helper.make_graph(nodes.nodes, "step", [_float(name) for name in inputs], [_float(name) for name in outputs])
    nodes.nodes, nodes.names = outer_nodes, outer_names
    found = nodes.add(
        "Scan",
        [nodes.read(name) for name in (*cell.before, *scanned)],
        len(outputs),
        body=body,
        num_scan_inputs=len(scanned),
    )
    nodes.names |= dict(zip((*cell.after, cell.output), found, strict=True))


def _float(name: str) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def _divided(cell: Cell) -> tuple[list[Operation], list[Operation]]:
    """The operations that depend on the inputs alone, which run once for the whole window, and the others."""
    given, outside, inside = set(cell.inputs), [], []
    recurrent = set(cell.before)
    for operation in cell.operations:
        if given & set(operation.inputs) and not recurrent & set(operation.inputs):
            outside.append(operation)
            given |= set(operation.outputs)
        else:
            inside.append(operation)
            recurrent |= set(operation.outputs)
    return outside, inside
