"""The format sherpa-online: a language model for the online recogniser of sherpa-onnx.

The recogniser calls the file with tokens and two tensors of states of one shape, (num_layers, batch, hidden_size), and
passes what it returns on to the next call without looking at it. The states of all layers, of whatever cells and
widths, therefore are put side by side and cut into two halves. It reads the inputs and outputs by their order, and
begins with zeros and the token `sos_id`. Source: sherpa-onnx 2.0.1, `csrc/online-rnn-lm.cc`.

For shallow fusion it reads one token in a call, and the result is the log-probabilities of the next token. To score
hypotheses again it reads several, and takes the first number of the result as the nats of all tokens so far, which then
is in the column of the blank.

B batch size, S width of all states together.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from refrain.nn.step_graph import Cell, State, StepGraph

from .formats import Exported, Options
from .metadata import joined
from .onnx_file import add_body, add_head, file_of, nodes_for, tensor
from .onnx_format import session
from .onnx_nodes import Nodes
from .proof import Runner
from .recogniser_tokens import same_ids
from .rounded import rounded_matrices
from .sherpa_nats import add_nats
from .sherpa_nodes import add_ids, sherpa_metadata


def export(graph: StepGraph, options: Options) -> Exported:
    """Write a step graph for the online recogniser; see `Export`."""
    ids = options.ids or same_ids(graph.vocabulary_size, options.start)
    nodes = nodes_for(graph, rounded_matrices(graph) if options.weights == "int8" else {})
    states = carried(graph)
    *_, before, nats = states
    (tokens,) = nodes.add("Transpose", [add_ids(nodes, "x", ids)], perm=[1, 0])
    nodes.names[graph.ids] = tokens
    padding = _unpack(nodes, states)
    hidden = add_body(nodes, graph)
    (last,) = nodes.add("Gather", [hidden, nodes.constant("int64_last", np.array(-1, np.int64))], axis=0)
    inside = add_nats(nodes, graph, tokens, hidden, nodes.read(before.name), nodes.read(nats.name))
    scores = add_head(nodes, graph, last)
    if ids.renames:
        (scores,) = nodes.add("Gather", [scores, nodes.constant("tokens.read", ids.read)], axis=-1)
    first, others = nodes.add("Split", [scores, nodes.numbers(1, len(ids.read) - 1)], 2, axis=-1)
    (first,) = nodes.add("Where", [inside.several, inside.nats, first])
    nodes.add("Concat", [first, others], ["log_softmax"], axis=-1)
    _pack(nodes, states, [*(nodes.read(state.after) for state in graph.states), last, inside.nats], padding)
    shape = (1, "N", half(states))
    inputs = [tensor("x", TensorProto.INT64, "N", "L"), *(tensor(each, TensorProto.FLOAT, *shape) for each in BEFORE)]
    outputs = [tensor("log_softmax", TensorProto.FLOAT, "N", len(ids.read))]
    outputs += [tensor(each, TensorProto.FLOAT, *shape) for each in AFTER]
    sizes = {"num_layers": "1", "hidden_size": str(half(states))}
    metadata = joined(options.metadata, sherpa_metadata(ids, "rnnlm with state") | sizes)
    content = file_of(nodes, inputs, outputs, metadata)
    return Exported({"": content}, lambda: runner(content, graph), rounds_inputs=True)


BEFORE, AFTER = ("h0", "c0"), ("next_h0", "next_c0")


def carried(graph: StepGraph) -> list[State]:
    """What the two tensors hold: the states, the head's input after the last token, and the nats of all tokens."""
    widths: dict[str, int] = {}
    for item in graph.body:
        outputs = [item.output] if isinstance(item, Cell) else item.outputs
        widths |= dict(zip(outputs, item.widths, strict=False))
    more = {"before": widths[graph.hidden], "nats": 1}
    return [*graph.states, *(State(name, size, np.zeros(size), "") for name, size in more.items())]


def half(states: Sequence[State]) -> int:
    """The width of each of the two tensors."""
    return -(-sum(state.size for state in states) // 2)


def pack(values: Sequence[Any], states: Sequence[State]) -> tuple[Any, Any]:
    """The two tensors (1, B, half) of states, each (B, size), as differences from their initial values."""
    found = np.concatenate([value - state.initial for value, state in zip(values, states, strict=True)], -1)
    padded = np.pad(found, [(0, 0), (0, found.shape[1] % 2)]).astype(np.float32)
    first, second = np.split(padded[None], 2, -1)
    return np.ascontiguousarray(first), np.ascontiguousarray(second)


def unpack(h0: Any, c0: Any, states: Sequence[State]) -> list[Any]:
    """The states of two tensors; the inverse of `pack`."""
    parts = np.split(np.concatenate([h0[0], c0[0]], -1), np.cumsum([state.size for state in states]), -1)
    return [part + state.initial.astype(np.float32) for part, state in zip(parts, states, strict=False)]


def _unpack(nodes: Nodes, states: Sequence[State]) -> list[str]:
    """Add the nodes that take the states from the two tensors, and return the name of what fills the second one."""
    flat = [nodes.add("Squeeze", [name, nodes.numbers(0)])[0] for name in BEFORE]
    (whole,) = nodes.add("Concat", flat, axis=-1)
    sizes = [state.size for state in states]
    widths = sizes + [1] * (sum(sizes) % 2)
    parts = nodes.add("Split", [whole, nodes.numbers(*widths)], len(widths), axis=-1)
    for state, part in zip(states, parts, strict=False):
        # the recogniser begins with zeros
        start = _initial(nodes, state)
        nodes.names[state.name] = nodes.add("Add", [part, start])[0] if start else part
    return parts[len(states) :]


def _pack(nodes: Nodes, states: Sequence[State], after: Sequence[str], padding: Sequence[str]) -> None:
    parts = []
    for state, name in zip(states, after, strict=True):
        start = _initial(nodes, state)
        parts.append(nodes.add("Sub", [name, start])[0] if start else name)
    (whole,) = nodes.add("Concat", [*parts, *padding], axis=-1)
    for part, name in zip(nodes.add("Split", [whole], 2, axis=-1), AFTER, strict=True):
        nodes.add("Unsqueeze", [part, nodes.numbers(0)], [name])


def _initial(nodes: Nodes, state: State) -> str:
    """The name of a state's initial value, or nothing if it is zero."""
    return nodes.constant(f"{state.name}.initial", state.initial.astype(np.float32)) if state.initial.any() else ""


def runner(content: bytes, graph: StepGraph) -> Runner:
    """Run a file as the recogniser does for shallow fusion, one token at a time.

    Args:
        content: the file.
        graph: the step that it was made from.
    """
    run = session(content).run
    every = carried(graph)

    def step_by_step(ids: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        found = []
        more = [np.zeros((len(ids), state.size), np.float32) for state in every[len(states) :]]
        h0, c0 = pack([*states, *more], every)
        for column in ids.T:
            scores, h0, c0 = run(None, {"x": np.ascontiguousarray(column[:, None]), "h0": h0, "c0": c0})
            found.append(scores)
        return np.stack(found, 1), unpack(h0, c0, every)[: len(states)]

    return step_by_step
