"""The format sherpa-offline: a language model that scores whole hypotheses in the offline recogniser of sherpa-onnx.

The recogniser passes the hypotheses of all streams in one call, padded with zeros, and their lengths. The file puts the
token before a text before each of them and the token after a text behind it, and returns the negative natural logarithm
of the probability of each, its end included. It reads the inputs and outputs by their order, and no metadata.
Source: sherpa-onnx 2.0.1, `csrc/offline-lm.cc` and `csrc/offline-rnn-lm.cc`.

L tokens in the longest hypothesis, N hypotheses.
"""

from typing import Any

import numpy as np
from onnx import TensorProto

from refrain.nn.step_graph import StepGraph

from .formats import ExportedScorer, Options
from .metadata import joined
from .onnx_file import add_body, add_head, file_of, nodes_for, tensor
from .onnx_format import session
from .onnx_nodes import Nodes
from .proof_of_scores import Scorer
from .recogniser_tokens import same_ids
from .rounded import rounded_matrices
from .sherpa_nodes import add_ids, sherpa_metadata


def export(graph: StepGraph, options: Options) -> ExportedScorer:
    """Write a step graph as a scorer of hypotheses; see `Export`."""
    ids = options.ids or same_ids(graph.vocabulary_size, options.start)
    nodes = nodes_for(graph, rounded_matrices(graph) if options.weights == "int8" else {})
    end = nodes.constant("tokens.end", np.array([[ids.read_line_end]], np.int64))
    count = nodes.add("Gather", [nodes.add("Shape", ["x"])[0], nodes.numbers(0)])[0]
    (column,) = nodes.add("Expand", [end, nodes.add("Concat", [count, nodes.numbers(1)], axis=0)[0]])
    tokens = add_ids(nodes, "x", ids)
    (inputs,) = nodes.add("Concat", [column, tokens], axis=1)
    (targets,) = nodes.add("Concat", [tokens, column], axis=1)
    (nodes.names[graph.ids],) = nodes.add("Transpose", [inputs], perm=[1, 0])
    for state in graph.states:
        start = nodes.constant(f"{state.name}.initial", state.initial.astype(np.float32)[None])
        (size,) = nodes.add("Concat", [count, nodes.numbers(state.size)], axis=0)
        (nodes.names[state.name],) = nodes.add("Expand", [start, size])
    (hidden,) = nodes.add("Transpose", [add_body(nodes, graph)], perm=[1, 0, 2])
    scores = add_head(nodes, graph, hidden)
    _add_sum(nodes, scores, targets, end)
    x, lengths = tensor("x", TensorProto.INT64, "N", "L"), tensor("x_lens", TensorProto.INT64, "N")
    metadata = joined(options.metadata, sherpa_metadata(ids, "rnnlm without state"))
    content = file_of(nodes, [x, lengths], [tensor("nll", TensorProto.FLOAT, "N")], metadata)
    return ExportedScorer({"": content}, lambda: scorer(content), rounds_inputs=True)


def _add_sum(nodes: Nodes, scores: str, targets: str, end: str) -> None:
    """Add the sum over the tokens of each hypothesis and the end of the text, of scores (N, L + 1, V)."""
    (lengths,) = nodes.add("Unsqueeze", ["x_lens", nodes.numbers(1)])
    (steps,) = nodes.add("Gather", [nodes.add("Shape", [targets])[0], nodes.constant("int64_1d", np.int64(1))])
    zero, one = (nodes.constant(f"int64_{value}d", np.int64(value)) for value in (0, 1))
    (positions,) = nodes.add("Range", [zero, steps, one])
    (inside,) = nodes.add("Less", [positions, lengths])
    (targets,) = nodes.add("Where", [inside, targets, end])
    (places,) = nodes.add("Unsqueeze", [targets, nodes.numbers(-1)])
    (picked,) = nodes.add("GatherElements", [scores, places], axis=-1)
    (picked,) = nodes.add("Squeeze", [picked, nodes.numbers(-1)])
    (counted,) = nodes.add("LessOrEqual", [positions, lengths])
    (picked,) = nodes.add("Where", [counted, picked, nodes.scalar(0.0)])
    (total,) = nodes.add("ReduceSum", [picked, nodes.numbers(1)], keepdims=0)
    nodes.add("Neg", [total], ["nll"])


def scorer(content: bytes) -> Scorer:
    """Run a file as the recogniser does.

    Args:
        content: the file.
    """
    run = session(content).run

    def score(given: Any, lengths: Any) -> Any:
        (nats,) = run(None, {"x": given, "x_lens": lengths})
        return nats

    return score
