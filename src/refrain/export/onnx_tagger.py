"""The format ONNX for taggers: one file, which tags whole sentences in ONNX Runtime.

T words in the longest sentence, B sentences, F features of a word, K tags.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

from refrain.nn.step_graph import Cell, TaggerGraph

from .formats import ExportedTagger, Options
from .onnx_cells import add_cell
from .onnx_crf import add_field
from .onnx_file import file_of, nodes_for, tensor
from .onnx_format import session
from .onnx_nodes import Nodes
from .proof_of_tags import TagRunner
from .rounded import Rounded, rounded_matrices


def export(graph: TaggerGraph, options: Options) -> ExportedTagger:
    """Write the graph of a tagger; see `ExportTagger`.

    The input `ids`, int64 (batch, time, 1 + F), has negative ids of words after the end of a sentence. The outputs are
    `log_probabilities`, float32 (batch, time, K), and `tags`, int64 (batch, time), which are -1 there.
    """
    rounded = rounded_matrices(graph) if options.weights == "int8" else {}
    nodes = nodes_for(graph, rounded)
    (ids,) = nodes.add("Transpose", ["ids"], perm=[1, 0, 2])
    zero = nodes.constant("int64_0d", np.int64(0))
    (words,) = nodes.add("Gather", [ids, zero], axis=2)
    (outside,) = nodes.add("Less", [words, zero])
    (inside,) = nodes.add("Not", [outside])
    (counted,) = nodes.add("Cast", [inside], to=TensorProto.INT64)
    (lengths,) = nodes.add("ReduceSum", [counted, nodes.numbers(0)], keepdims=0)
    for index, name in enumerate(graph.columns):
        (column,) = nodes.add("Gather", [ids, nodes.constant(f"int64_{index}d", np.int64(index))], axis=2)
        (nodes.names[name],) = nodes.add("Max", [column, zero])
    (count,) = nodes.add("Shape", [lengths])
    for state in graph.states:
        start = nodes.constant(f"{state.name}.initial", state.initial.astype(np.float32)[None])
        (size,) = nodes.add("Concat", [count, nodes.numbers(state.size)], axis=0)
        (nodes.names[state.name],) = nodes.add("Expand", [start, size])
    for item in graph.body:
        if isinstance(item, Cell):
            add_cell(nodes, item)
        elif item.kind == "reverse":
            given = [nodes.read(item.inputs[0]), lengths]
            (nodes.names[item.outputs[0]],) = nodes.add("ReverseSequence", given, time_axis=0, batch_axis=1)
        else:
            nodes.operation(item)
    scores = nodes.read(graph.scores)
    if graph.crf is None:
        (found,) = nodes.add("LogSoftmax", [scores], axis=-1)
        (tags,) = nodes.add("ArgMax", [scores], axis=-1, keepdims=1)
    else:
        start, transitions, end = (_exact(nodes, rounded, graph.weights, name) for name in graph.crf)
        within = nodes.add("Unsqueeze", [inside, nodes.numbers(-1)])[0]
        found, tags = add_field(nodes, scores, within, (start, transitions, end))
    nodes.add("Transpose", [found], ["log_probabilities"], perm=[1, 0, 2])
    (tags,) = nodes.add("Squeeze", [tags, nodes.numbers(-1)])
    (tags,) = nodes.add("Where", [inside, tags, nodes.constant("int64_minus", np.int64(-1))])
    nodes.add("Transpose", [tags], ["tags"], perm=[1, 0])
    inputs = [tensor("ids", TensorProto.INT64, "batch", "time", len(graph.columns))]
    outputs = [
        tensor("log_probabilities", TensorProto.FLOAT, "batch", "time", graph.num_tags),
        tensor("tags", TensorProto.INT64, "batch", "time"),
    ]
    content = file_of(nodes, inputs, outputs, options.metadata)
    return ExportedTagger({"": content}, lambda: runner(content))


def _exact(nodes: Nodes, rounded: Mapping[str, Rounded], weights: Mapping[str, Any], name: str) -> str:
    """A weight in float32, with the values that it has in int8."""
    if name not in rounded:
        return nodes.read(name)
    multiples, scales = rounded[name]
    return nodes.constant(f"{name}.float", multiples.astype(np.float32) * scales[:, None])


def runner(content: bytes) -> TagRunner:
    """Load the content of a file into ONNX Runtime.

    Args:
        content: the file.
    """
    run = session(content).run

    def tag(ids: Any) -> tuple[Any, Any]:
        log_probabilities, tags = run(None, {"ids": ids})
        return log_probabilities, tags

    return tag
