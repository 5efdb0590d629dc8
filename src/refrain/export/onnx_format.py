"""The format ONNX: one file, which ONNX Runtime runs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from refrain.nn.step_graph import StepGraph

from .formats import Exported, Options, Steps
from .onnx_file import onnx_bytes
from .proof import Runner
from .rounded import rounded_matrices


def export(graph: StepGraph, options: Options) -> Exported:
    """Write a step graph as ONNX; see `Export`."""
    rounded = rounded_matrices(graph) if options.weights == "int8" else {}
    content = onnx_bytes(graph, rounded, options.metadata, steps=options.steps)
    return Exported({"": content}, lambda: runner(content, graph, options.steps), rounds_inputs=True)


def runner(content: bytes, graph: StepGraph, steps: Steps) -> Runner:
    """Load the content of an ONNX file into ONNX Runtime.

    Args:
        content: the file.
        graph: the step that it was made from.
        steps: what it was made for.
    """
    run = session(content).run
    names = [state.name for state in graph.states]

    def window(ids: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        log_probabilities, *after = run(None, {graph.ids: ids, **dict(zip(names, states, strict=True))})
        return log_probabilities, after

    def step_by_step(ids: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        found = []
        for column in ids.T:
            log_probabilities, states = window(np.ascontiguousarray(column), states)
            found.append(log_probabilities)
        return np.stack(found, 1), list(states)

    return window if steps == "many" else step_by_step


def session(content: bytes) -> Any:
    """Load the content of an ONNX file into ONNX Runtime, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # errors only, as the warnings of its optimiser are of no use to a user
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
