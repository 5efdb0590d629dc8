"""Refuses weights that no format can express."""

import numpy as np

from refrain.errors import CheckpointError
from refrain.nn.step_graph import StepGraph, TaggerGraph


def check_finite(graph: StepGraph | TaggerGraph) -> None:
    """Check that the weights of a graph are finite numbers in float32.

    Args:
        graph: of a language model or a tagger.

    Raises:
        CheckpointError: when one is infinite or not a number; the message names the tensor.
    """
    arrays = {**graph.weights, **{state.name: state.initial for state in graph.states}}
    for name, array in arrays.items():
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
        if not np.isfinite(single).all():
            raise CheckpointError(
                f"{name} has values that are not finite in float32; nothing was written; export another checkpoint of "
                "the run, or train it with a lower training.learning_rate"
            )
