"""Packed weights for a batch of many streams: each weight is read once, and used for all streams.

Weights are float32, or int8 with a scale a row. With int8 weights each row of inputs is rounded to eight bits as well,
and integers are multiplied, where there are kernels for it (`integer.lanes`); elsewhere the same weights are used in
float32. The kernels are in cpp/streams.cpp, and the references are `linear` of torch and `integer_linear` in
integer.py.

R rows of a weight, K columns, B batch, G gates, H units of a layer.
"""

import functools
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from . import compile as native
from .call import kernel
from .integer import VECTORS, in_panels, lanes, pack_integers
from .pages import in_large_pages

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL_BATCH = 8
"""Largest batch for which reading the weights takes most of the time; above, blocked matrix multiplication wins."""

SMALL_INTEGER_BATCH = 4
"""The same where integers are multiplied, which is faster for fewer streams."""


class Source(Protocol):
    """A matrix whose entries can be read, such as a `PackedMatrix`; rows of a layer are stacked gate by gate."""

    @property
    def is_rounded(self) -> bool:
        """Whether it has int8 weights."""
        ...

    def dense(self) -> Tensor:
        """The matrix (R, K) in float32."""
        ...

    def multiples(self) -> tuple[Tensor, Tensor]:
        """The integers (R, K) and the scales (R,) of an int8 matrix."""
        ...


@functools.cache
def stream_lanes() -> int:
    """The number of floats in a register of the kernels; 0 where they cannot be compiled."""
    library = native.load("streams")
    return 0 if library is None else int(library.streams_lanes())


def largest_small_batch(is_rounded: bool) -> int:
    """The largest batch of a step that reads weights as a single stream does.

    Args:
        is_rounded: whether the weights are int8.
    """
    return SMALL_INTEGER_BATCH if is_rounded and lanes() else SMALL_BATCH


class StreamMatrix:
    """A matrix in the layout of the kernels, in integers if it is int8 and there are kernels for that.

    Args:
        source: the matrix.
        gates: G, of a layer whose R = G H rows are stacked gate by gate; 1 is a matrix without gates.
    """

    def __init__(self, source: Source, *, gates: int = 1) -> None:
        self.weights = "int8" if source.is_rounded and lanes() else "float32"
        if self.weights == "int8":
            matrix = pack_integers(*source.multiples(), gates=gates)
            self.parts: tuple[Tensor, ...] = tuple(matrix)
        else:
            self.parts = (pack_floats(source.dense(), gates=gates),)


def pack_floats(weight: Tensor, *, gates: int = 1) -> Tensor:
    """Pack a matrix for the kernels: (panels, K, rows of a panel).

    Args:
        weight: (R, K), float32.
        gates: as for `StreamMatrix`.
    """
    ordered = in_panels(weight, gates, register=stream_lanes()).transpose(1, 2)
    return in_large_pages(ordered.shape, torch.float32).copy_(ordered)


class StreamLinear:
    """x W^T + b for a batch of many streams.

    Args:
        source: W (R, K).
        bias: b (R,), or None.
    """

    def __init__(self, source: Source, bias: Tensor | None) -> None:
        self._made_of = source, bias
        self._matrix = StreamMatrix(source)
        rows, self._width = source.dense().shape
        self._rows = rows
        bias = torch.zeros(rows) if bias is None else bias.detach().float()
        self._bias = F.pad(bias, (0, -rows % (VECTORS * stream_lanes()))).contiguous()
        self._run = kernel("streams", f"streams_linear_{self._matrix.weights}")

    def __reduce__(self) -> tuple["Callable[..., StreamLinear]", tuple[Source, Tensor | None]]:
        # the layout is that of this processor
        return StreamLinear, self._made_of

    def __call__(self, x: Tensor) -> Tensor:
        """x (B, K), float32 and contiguous -> (B, R)."""
        out = x.new_empty(len(x), self._rows)
        self._run(*self._matrix.parts, self._bias, x, out, self._rows, self._width, len(x))
        return out


class StreamGates:
    """The four gates of an LSTM-like layer and its cell, for a batch of many streams.

    Args:
        first: (4H, I), acts on the inputs, gate by gate.
        second: (4H, M), acts on what depends on the step before.
        bias: (4H,).
    """

    def __init__(self, first: Source, second: Source, bias: Tensor) -> None:
        self._made_of = first, second, bias
        self._first, self._second = StreamMatrix(first, gates=4), StreamMatrix(second, gates=4)
        self._bias = in_panels(bias.detach().float(), 4, register=stream_lanes()).contiguous()
        self._run = kernel("streams", f"streams_lstm_{self._first.weights}")

    def __reduce__(self) -> tuple["Callable[..., StreamGates]", tuple[Source, Source, Tensor]]:
        return StreamGates, self._made_of

    def __call__(self, x: Tensor, y: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, I), y (B, M), cell (B, H), float32 and contiguous -> the output and the next cell, both (B, H)."""
        hidden, after = torch.empty_like(cell), torch.empty_like(cell)
        tensors = (*self._first.parts, *self._second.parts, self._bias, x, y, cell, hidden, after)
        batch, size = cell.shape
        self._run(*tensors, x.shape[1], y.shape[1], size, batch)
        return hidden, after
