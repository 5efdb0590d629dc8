"""Matrices rounded to int8 with a scale for each row, as `refrain.nn` rounds them for its own int8 kernels."""

from typing import Any, NamedTuple

import torch

from refrain.nn.kernels.packed_linear import quantise
from refrain.nn.step_graph import StepGraph, TaggerGraph


class Rounded(NamedTuple):
    """A matrix that is `multiples * scales[:, None]`.

    Attributes:
        multiples: (rows, columns), int8 within -127 and 127.
        scales: (rows,), float32.
    """

    multiples: Any
    scales: Any


def rounded_matrices(graph: StepGraph | TaggerGraph) -> dict[str, Rounded]:
    """Every matrix of a step graph in int8; vectors stay float32."""
    matrices = {name: array for name, array in graph.weights.items() if array.ndim == 2}
    found = {name: quantise(torch.from_numpy(array).float()) for name, array in matrices.items()}
    return {
        name: Rounded(multiples.to(torch.int8).numpy(), scales.numpy()) for name, (multiples, scales) in found.items()
    }
