"""Writes a step graph as an ONNX file: for whole windows, or for one step."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import onnx
from onnx import TensorProto, helper

from refrain.errors import UserError
from refrain.nn.step_graph import Cell, StepGraph, TaggerGraph

from .onnx_cells import MICROSOFT, add_cell
from .onnx_nodes import Nodes
from .rounded import Rounded

OPSET, IR_VERSION = 17, 8
MOST_BYTES = 2**31 - 2**20
"""ONNX files are protocol buffers, which hold less than 2 GiB."""

Steps = Literal["many", "one"]


def onnx_bytes(
    graph: StepGraph, rounded: Mapping[str, Rounded], metadata: Mapping[str, str], *, steps: Steps = "many"
) -> bytes:
    """The content of an ONNX file; the same arguments give the same bytes.

    The inputs are `ids`, int64 (batch, time), and the states, float32 (batch, size). The outputs are
    `log_probabilities`, float32 (batch, time, V), and the states after the last step, whose names begin with `next_`.
    With one step there is no axis of time.

    Args:
        graph: the step.
        rounded: name -> matrix in int8; empty for float32.
        metadata: texts that are stored in the file.
        steps: `many` for windows of any length, or `one`.

    Raises:
        UserError: when the file would be too large.
    """
    nodes = nodes_for(graph, rounded)
    if steps == "many":
        _add_window(nodes, graph)
    else:
        _add_step(nodes, graph)
    leading: list[str | int] = ["batch", "time"] if steps == "many" else ["batch"]
    inputs = [tensor(graph.ids, TensorProto.INT64, *leading)]
    outputs = [tensor("log_probabilities", TensorProto.FLOAT, *leading, graph.vocabulary_size)]
    for state in graph.states:
        inputs.append(tensor(state.name, TensorProto.FLOAT, "batch", state.size))
        outputs.append(tensor(f"next_{state.name}", TensorProto.FLOAT, "batch", state.size))
    return file_of(nodes, inputs, outputs, metadata)


def nodes_for(graph: StepGraph | TaggerGraph, rounded: Mapping[str, Rounded]) -> Nodes:
    """A collector of nodes for a file with the weights of a graph.

    Raises:
        UserError: when the file would be too large.
    """
    weights = graph.weights.items()
    if sum((1 if name in rounded else 4) * array.size for name, array in weights) > MOST_BYTES:
        raise UserError("an ONNX file holds less than 2 GiB, but the weights are larger; use --weights int8")
    gathers = [item for item in graph.body if not isinstance(item, Cell) and item.kind == "gather"]
    return Nodes(graph.weights, rounded, frozenset(item.inputs[1] for item in gathers))


def tensor(name: str, type_: int, *shape: str | int) -> Any:
    """An input or output of a file: its name, its element type, and its shape; an axis of any size has a name there."""
    return helper.make_tensor_value_info(name, type_, list(shape))


def file_of(nodes: Nodes, inputs: Sequence[Any], outputs: Sequence[Any], metadata: Mapping[str, str]) -> bytes:
    """The content of an ONNX file with the nodes that were collected.

    Args:
        nodes: the nodes and initialisers.
        inputs: of the file, each made by `tensor`.
        outputs: of the file.
        metadata: texts that are stored in the file.
    """
    initializers = list(nodes.initializers.values())
    made = helper.make_graph([*nodes.preparing, *nodes.nodes], "refrain", inputs, outputs, initializers)
    domains = [helper.make_opsetid("", OPSET)]
    if any(node.domain == MICROSOFT for node in nodes.nodes):
        domains.append(helper.make_opsetid(MICROSOFT, 1))
    model = helper.make_model(made, opset_imports=domains, ir_version=IR_VERSION, producer_name="refrain")
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def add_body(nodes: Nodes, graph: StepGraph) -> str:
    """Add the layers over a window, and return the name of the head's input (time, batch, width).

    The ids (time, batch) and the states (batch, size) before the window are those that `nodes.names` gives them.
    """
    for item in graph.body:
        if isinstance(item, Cell):
            add_cell(nodes, item)
        else:
            nodes.operation(item)
    return nodes.read(graph.hidden)


def add_head(nodes: Nodes, graph: StepGraph, hidden: str) -> str:
    """Add the head, and return the name of the log-probabilities; `hidden` has any axes before the width."""
    nodes.names[graph.hidden] = hidden
    for operation in graph.head:
        nodes.operation(operation)
    return nodes.read(graph.log_probabilities)


def _add_window(nodes: Nodes, graph: StepGraph) -> None:
    # the operators of layers take the axis of time first
    (nodes.names[graph.ids],) = nodes.add("Transpose", [graph.ids], perm=[1, 0])
    (hidden,) = nodes.add("Transpose", [add_body(nodes, graph)], perm=[1, 0, 2])
    _add_results(nodes, graph, add_head(nodes, graph, hidden), [state.after for state in graph.states])


def _add_step(nodes: Nodes, graph: StepGraph) -> None:
    flat = graph.flat()
    for operation in flat.operations:
        nodes.operation(operation)
    _add_results(nodes, graph, flat.log_probabilities, flat.after)


def _add_results(nodes: Nodes, graph: StepGraph, log_probabilities: str, after: Any) -> None:
    nodes.add("Identity", [nodes.read(log_probabilities)], ["log_probabilities"])
    for state, name in zip(graph.states, after, strict=True):
        nodes.add("Identity", [nodes.read(name)], [f"next_{state.name}"])
