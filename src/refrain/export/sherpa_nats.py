"""The nats of the tokens of one call, for files of the online recogniser.

L tokens in a call, N hypotheses, D width of the head's input, V tokens of the model.
"""

from typing import NamedTuple

import numpy as np
from onnx import helper

from refrain.nn.step_graph import StepGraph

from .onnx_file import add_head
from .onnx_nodes import Nodes


class Nats(NamedTuple):
    """Names of results.

    Attributes:
        several: whether the call has more than one token.
        nats: the nats (N, 1) of all tokens so far if it has, and otherwise those before the call.
    """

    several: str
    nats: str


def add_nats(nodes: Nodes, graph: StepGraph, tokens: str, hidden: str, before: str, nats: str) -> Nats:
    """Add the nodes that sum the nats of the tokens of a call; a call with one token does not compute them.

    Args:
        nodes: the collector.
        graph: the step.
        tokens: name of the model's ids (L, N).
        hidden: name of the head's inputs after each of them (L, N, D).
        before: name of the head's input before the first of them (N, D).
        nats: name of the nats before the call (N, 1).
    """
    (steps,) = nodes.add("Gather", [nodes.add("Shape", [tokens])[0], nodes.constant("int64_0d", np.int64(0))])
    (several,) = nodes.add("Greater", [steps, nodes.constant("int64_1d", np.int64(1))])
    outer, names = nodes.nodes, dict(nodes.names)
    nodes.nodes = []
    (first,) = nodes.add("Unsqueeze", [before, nodes.numbers(0)])
    (others,) = nodes.add("Slice", [hidden, nodes.numbers(0), nodes.numbers(-1), nodes.numbers(0)])
    scores = add_head(nodes, graph, nodes.add("Concat", [first, others], axis=0)[0])
    (places,) = nodes.add("Unsqueeze", [tokens, nodes.numbers(-1)])
    (picked,) = nodes.add("GatherElements", [scores, places], axis=-1)
    (total,) = nodes.add("ReduceSum", [picked, nodes.numbers(0)], keepdims=0)
    (result,) = nodes.add("Sub", [nats, total])
    sums = helper.make_graph(nodes.nodes, "sums", [], [helper.make_empty_tensor_value_info(result)])
    nodes.nodes = []
    (same,) = nodes.add("Identity", [nats])
    kept = helper.make_graph(nodes.nodes, "kept", [], [helper.make_empty_tensor_value_info(same)])
    nodes.nodes, nodes.names = outer, names
    (found,) = nodes.add("If", [several], then_branch=sums, else_branch=kept)
    return Nats(several, found)
