"""The format sherpa-online: a language model for shallow fusion in the online recogniser of sherpa-onnx.

The recogniser calls the file with a token and two tensors of states of one shape, (num_layers, batch, hidden_size), and
passes what it returns on to the next call without looking at it. The states of all layers, of whatever cells and
widths, therefore are put side by side and cut into two halves. It reads the inputs and outputs by their order, and
begins with zeros and the token `sos_id`. Source: sherpa-onnx 2.0.1, `csrc/online-rnn-lm.cc`.

B batch size, S width of all states together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from refrain.nn.step_graph import StepGraph

from .formats import Exported, Options
from .onnx_file import add_body, add_head, file_of, nodes_for, tensor
from .onnx_format import session
from .onnx_nodes import Nodes
from .proof import Runner
from .recogniser_tokens import same_ids
from .rounded import rounded_matrices
from .sherpa_nodes import add_ids, sherpa_metadata


def export(graph: StepGraph, options: Options) -> Exported:
    """Write a step graph for shallow fusion; see `Export`."""
    ids = options.ids or same_ids(graph.vocabulary_size, options.start)
    nodes = nodes_for(graph, rounded_matrices(graph) if options.weights == "int8" else {})
    half, pad = halves(graph)
    (nodes.names[graph.ids],) = nodes.add("Transpose", [add_ids(nodes, "x", ids)], perm=[1, 0])
    padding = _unpack(nodes, graph, pad)
    hidden = add_body(nodes, graph)
    # the log-probabilities of the token after the last one
    (last,) = nodes.add("Gather", [hidden, nodes.constant("int64_last", np.array(-1, np.int64))], axis=0)
    scores = add_head(nodes, graph, last)
    if ids.renames:
        (scores,) = nodes.add("Gather", [scores, nodes.constant("tokens.read", ids.read)], axis=-1)
    nodes.add("Identity", [scores], ["log_softmax"])
    _pack(nodes, graph, padding)
    shape = (1, "N", half)
    states = [tensor(name, TensorProto.FLOAT, *shape) for name in ("h0", "c0")]
    after = [tensor(name, TensorProto.FLOAT, *shape) for name in ("next_h0", "next_c0")]
    result = tensor("log_softmax", TensorProto.FLOAT, "N", len(ids.read))
    metadata = {
        **options.metadata,
        **sherpa_metadata(ids, "rnnlm with state"),
        "num_layers": "1",
        "hidden_size": str(half),
    }
    content = file_of(nodes, [tensor("x", TensorProto.INT64, "N", "L"), *states], [result, *after], metadata)
    return Exported({"": content}, lambda: runner(content, graph), rounds_inputs=True)


def halves(graph: StepGraph) -> tuple[int, int]:
    """The width of each of the two tensors, and how many zeros fill the second one: none or one."""
    whole = sum(state.size for state in graph.states)
    return -(-whole // 2), whole % 2


def pack(states: Sequence[Any], initial: Sequence[Any]) -> tuple[Any, Any]:
    """The two tensors (1, B, S / 2) of states, each (B, size), as differences from their initial values (size,)."""
    whole = np.concatenate([state - start for state, start in zip(states, initial, strict=True)], -1)
    whole = np.pad(whole, [(0, 0), (0, whole.shape[1] % 2)])
    first, second = np.split(whole[None], 2, -1)
    return np.ascontiguousarray(first), np.ascontiguousarray(second)


def unpack(h0: Any, c0: Any, initial: Sequence[Any]) -> list[Any]:
    """The states of two tensors; the inverse of `pack`."""
    parts = np.split(np.concatenate([h0[0], c0[0]], -1), np.cumsum([len(start) for start in initial]), -1)
    return [part + start for part, start in zip(parts, initial, strict=False)]


def _unpack(nodes: Nodes, graph: StepGraph, pad: int) -> list[str]:
    """Add the nodes that take the states from the two tensors, and return the name of what fills the second one."""
    flat = [nodes.add("Squeeze", [name, nodes.numbers(0)])[0] for name in ("h0", "c0")]
    (whole,) = nodes.add("Concat", flat, axis=-1)
    widths = [state.size for state in graph.states] + [1] * pad
    parts = nodes.add("Split", [whole, nodes.numbers(*widths)], len(widths), axis=-1)
    for state, part in zip(graph.states, parts, strict=False):
        # the recogniser begins with zeros
        start = _initial(nodes, state)
        nodes.names[state.name] = nodes.add("Add", [part, start])[0] if start else part
    return parts[len(graph.states) :]


def _pack(nodes: Nodes, graph: StepGraph, padding: Sequence[str]) -> None:
    parts = []
    for state in graph.states:
        after, start = nodes.read(state.after), _initial(nodes, state)
        parts.append(nodes.add("Sub", [after, start])[0] if start else after)
    (whole,) = nodes.add("Concat", [*parts, *padding], axis=-1)
    for part, name in zip(nodes.add("Split", [whole], 2, axis=-1), ("next_h0", "next_c0"), strict=True):
        nodes.add("Unsqueeze", [part, nodes.numbers(0)], [name])


def _initial(nodes: Nodes, state: Any) -> str:
    """The name of a state's initial value, or nothing if it is zero."""
    return nodes.constant(f"{state.name}.initial", state.initial.astype(np.float32)) if state.initial.any() else ""


def runner(content: bytes, graph: StepGraph) -> Runner:
    """Run a file as the recogniser does, one token at a time.

    Args:
        content: the file.
        graph: the step that it was made from.
    """
    run = session(content).run
    initial = [state.initial.astype(np.float32) for state in graph.states]

    def step_by_step(ids: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        found = []
        h0, c0 = pack(states, initial)
        for column in ids.T:
            scores, h0, c0 = run(None, {"x": np.ascontiguousarray(column[:, None]), "h0": h0, "c0": c0})
            found.append(scores)
        return np.stack(found, 1), unpack(h0, c0, initial)

    return step_by_step
