"""A conditional random field in ONNX: marginal log-probabilities and the best tags, by scans over the words.

The forward and backward algorithms and that of Viterbi (1967); `refrain.nn.ConditionalRandomField` has the score. What
is the same for all tags of a word is subtracted at each word, so that long sentences do not cost precision.

T words in the longest sentence, B sentences, K tags.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from .onnx_nodes import Nodes


def add_field(nodes: Nodes, scores: str, inside: str, weights: tuple[str, str, str]) -> tuple[str, str]:
    """Add the nodes of a random field.

    Args:
        nodes: the collector.
        scores: name of the scores (T, B, K).
        inside: name of truth values (T, B, 1), false after the end of a sentence.
        weights: names of constants: start (K,), transitions (K, K), end (K,).

    Returns:
        The names of the log-probabilities (T, B, K) and of the best tags (T, B, 1), int64.
    """
    start, transitions, end = weights
    (steps,) = nodes.add("Gather", [nodes.add("Shape", [scores])[0], nodes.constant("int64_0d", np.int64(0))])
    zero, one = nodes.constant("int64_0d", np.int64(0)), nodes.constant("int64_1d", np.int64(1))
    (places,) = nodes.add("Range", [zero, steps, one])
    (first,) = nodes.add("Equal", [nodes.add("Unsqueeze", [places, nodes.numbers(1, 2)])[0], zero])
    (some,) = nodes.add("Gather", [scores, zero], axis=0)
    (blank,) = nodes.add("Sub", [some, some])
    (ends,) = nodes.add("Add", [blank, end])

    # the sums of words after the end of a sentence are not read
    def prefix(before: str, own: str, at_start: str) -> list[str]:
        after = _log_sum(nodes, nodes.add("Add", [_column(nodes, before, 2), transitions])[0], 1)
        made = nodes.add("Add", [nodes.add("Where", [at_start, start, after])[0], own])[0]
        return nodes.add("LogSoftmax", [made], axis=-1) * 2

    def suffix(after: str, own: str, within: str) -> list[str]:
        sums = nodes.add("Add", [own, after])[0]
        before = _log_sum(nodes, nodes.add("Add", [_column(nodes, sums, 1), transitions])[0], 2)
        (before,) = nodes.add("LogSoftmax", [before], axis=-1)
        return [nodes.add("Where", [within, before, after])[0], after]

    def viterbi(before: str, own: str, within: str, at_start: str) -> list[str]:
        pairs = nodes.add("Add", [_column(nodes, before, 2), transitions])[0]
        after = nodes.add("ReduceMax", [pairs], axes=[1], keepdims=0)[0]
        origin = nodes.add("ArgMax", [pairs], axis=1, keepdims=0)[0]
        made = nodes.add("Add", [nodes.add("Where", [at_start, start, after])[0], own])[0]
        (made,) = nodes.add("LogSoftmax", [made], axis=-1)
        return [nodes.add("Where", [within, made, before])[0], origin]

    def backwards(tag: str, origin: str, within: str, at_start: str) -> list[str]:
        before = nodes.add("GatherElements", [origin, tag], axis=1)[0]
        outside = nodes.add("Or", [nodes.add("Not", [within])[0], at_start])[0]
        return [nodes.add("Where", [outside, tag, before])[0], tag]

    window = {scores: TensorProto.FLOAT, inside: TensorProto.BOOL}
    starts = {first: TensorProto.BOOL}
    given = {scores: TensorProto.FLOAT, **starts}
    _, prefixes = _scan(nodes, prefix, blank, TensorProto.FLOAT, given, TensorProto.FLOAT)
    _, suffixes = _scan(nodes, suffix, ends, TensorProto.FLOAT, window, TensorProto.FLOAT, back=True)
    (marginals,) = nodes.add("LogSoftmax", nodes.add("Add", [prefixes, suffixes]), axis=-1)

    best, origins = _scan(nodes, viterbi, blank, TensorProto.FLOAT, window | starts, TensorProto.INT64)
    (last,) = nodes.add("ArgMax", nodes.add("Add", [best, end]), axis=1, keepdims=1)
    given = {origins: TensorProto.INT64, inside: TensorProto.BOOL, **starts}
    _, tags = _scan(nodes, backwards, last, TensorProto.INT64, given, TensorProto.INT64, back=True)
    return marginals, tags


def _scan(
    nodes: Nodes,
    step: Any,
    state: str,
    of_state: int,
    scanned: Mapping[str, int],
    of_output: int,
    *,
    back: bool = False,
) -> Sequence[str]:
    """Add a scan over the words with one state, and return the state after it and the outputs of all steps.

    Args:
        nodes: the collector.
        step: adds the nodes of a step, from the names of the state and of the inputs to the state and the output.
        state: name of the state before the first step.
        of_state: its element type.
        scanned: the inputs of each step -> their element types.
        of_output: the element type of the output.
        back: whether the last word comes first.
    """
    outer, nodes.nodes = nodes.nodes, []
    types = {nodes.fresh("in"): type_ for type_ in (of_state, *scanned.values())}
    inputs = [helper.make_tensor_value_info(name, type_, None) for name, type_ in types.items()]
    after, output = (nodes.add("Identity", [name])[0] for name in step(*types))
    outputs = [
        helper.make_tensor_value_info(name, type_, None) for name, type_ in ((after, of_state), (output, of_output))
    ]
    body = helper.make_graph(nodes.nodes, "word", inputs, outputs)
    nodes.nodes = outer
    directions = {"scan_input_directions": [1] * len(scanned), "scan_output_directions": [1]} if back else {}
    return nodes.add("Scan", [state, *scanned], 2, body=body, num_scan_inputs=len(scanned), **directions)


def _column(nodes: Nodes, x: str, axis: int) -> str:
    return nodes.add("Unsqueeze", [x, nodes.numbers(axis)])[0]


def _log_sum(nodes: Nodes, x: str, axis: int) -> str:
    return nodes.add("ReduceLogSumExp", [x], axes=[axis], keepdims=0)[0]
