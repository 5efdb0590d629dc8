"""Int8 matmuls that score many sequences at once on a CPU.

Weights are rounded as by `quantise`. Each row of inputs is rounded to 127ths of its largest entry when it is used, so a
result differs from that of rounded weights alone by about as much as rounding the weights changes it. Sums of integers
are exact: the result of a row does not depend on the other rows. The kernels are in cpp/integer.cpp.

R rows of a weight, K columns, N rows of inputs, G gates, H units of a layer, V words in the vocabulary.
"""

import functools
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import compile as native
from .call import kernel
from .pages import in_large_pages

# registers of a panel, and integers of a word of packed weights, in cpp/integer.cpp
VECTORS, PER_WORD = 4, 4


@functools.cache
def lanes() -> int:
    """The number of sums in a register; 0 without a compiler, or on a CPU without int8 matmuls.

    There are for x86-64, by instructions for bytes (VNNI) or, with the same results, for integers of 16 bits, and for
    aarch64 with I8MM.
    """
    library = native.load("integer")
    return 0 if library is None else int(library.integer_lanes())


def _whole_columns() -> int:
    """The number that the columns of a packed matrix are a multiple of: more than `PER_WORD` where tiles multiply."""
    library = native.load("integer")
    return PER_WORD if library is None else int(library.integer_columns())


class IntegerMatrix(NamedTuple):
    """A matrix in the layout of the kernels; R and K are padded.

    Attributes:
        words: the packed integers, in panels of registers.
        scales: (R,), of each row.
        starts: (R,), minus 128 times the sum of each row, where sums over inputs that were raised by 128 start.
    """

    words: Tensor
    scales: Tensor
    starts: Tensor


def pack_integers(multiples: Tensor, scales: Tensor, *, gates: int = 1) -> IntegerMatrix:
    """Pack a matrix for the kernels, row after row or gate by gate.

    Args:
        multiples: (R, K) in int8, from `quantise`.
        scales: (R,).
        gates: G, of a layer whose R = G H rows are stacked gate by gate; the kernel has `VECTORS` of them. 1 is a
            matrix without gates.
    """
    columns = -multiples.shape[1] % _whole_columns()
    ordered = in_panels(F.pad(multiples, (0, columns)), gates).unflatten(2, (-1, PER_WORD))  # panels, rows, words, 4
    packed = in_large_pages((ordered.shape[0], ordered.shape[2], ordered.shape[1], PER_WORD), torch.int8)
    packed.copy_(ordered.transpose(1, 2))
    starts = -128 * multiples.sum(dim=1, dtype=torch.int32)
    return IntegerMatrix(
        packed, in_panels(scales, gates).contiguous(), in_panels(starts.to(torch.int32), gates).contiguous()
    )


def in_panels(rows: Tensor, gates: int = 1, padding: float = 0.0, *, register: int | None = None) -> Tensor:
    """Rows (R, ...) in the order of panels: (panels, rows of a panel, ...).

    Args:
        rows: a matrix or a vector.
        gates: as for `pack_integers`.
        padding: the value of rows that fill the last panel.
        register: the number of sums in a register; None is `lanes()`.
    """
    register = register or lanes()
    size = register if gates > 1 else VECTORS * register
    parts = rows.unflatten(0, (gates, -1))
    missing = -parts.shape[1] % size
    filled = torch.cat([parts, parts.new_full((gates, missing, *parts.shape[2:]), padding)], dim=1)
    ordered: Tensor = filled.unflatten(1, (-1, size)).transpose(0, 1).flatten(1, 2)
    return ordered


class IntegerSoftmax:
    """The nats of words by a softmax layer.

    Args:
        multiples: (V, K) in int8.
        scales: (V,).
        bias: (V,), or None.
    """

    def __init__(self, multiples: Tensor, scales: Tensor, bias: Tensor | None) -> None:
        self._words, self._width = multiples.shape
        # the kernel has logits in bits, because powers of two are faster than those of e
        self._matrix = pack_integers(multiples, (scales.double() / math.log(2)).float())
        bias = scales.new_zeros(self._words) if bias is None else bias.detach()
        # words that fill the last panel have the probability 0
        self._bias = in_panels((bias.double() / math.log(2)).float(), padding=-math.inf).contiguous()

    def nats(self, x: Tensor, rows: Tensor, words: Tensor) -> Tensor:
        """The nats of words (M,) after inputs.

        Args:
            x: (N, K), of any floating dtype.
            rows: (M,), the row of the inputs that each word follows.
            words: (M,), ids.

        Returns:
            (M,), float32.

        Raises:
            ValueError: when the width differs.
            IndexError: when a row or an id does not exist.
        """
        if x.ndim != 2 or x.shape[1] != self._width:
            raise ValueError(f"inputs have shape {tuple(x.shape)}, (N, {self._width}) is expected")
        for name, given, size in (("row", rows, len(x)), ("word", words, self._words)):
            if len(given) and not 0 <= int(given.min()) <= int(given.max()) < size:
                raise IndexError(f"a {name} is not in [0, {size})")
        x = x.float().contiguous()
        nats = x.new_empty(len(words))
        pairs = (rows.to(torch.int64).contiguous(), words.to(torch.int64).contiguous())
        sizes = (self._bias.numel(), self._width, len(x), len(words))
        kernel("integer", "integer_nats")(*self._matrix_parts, self._bias, x, *pairs, nats, *sizes)
        return nats

    @property
    def _matrix_parts(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._matrix.words, self._matrix.scales, self._matrix.starts


def round_inputs(x: Tensor) -> tuple[Tensor, Tensor]:
    """The reference of how the kernels round inputs (N, K): multiples (N, K) from -127 to 127, and scales (N,)."""
    largest = x.abs().amax(dim=1)
    inverse = torch.where(largest > 0, 127 / largest, 0.0)
    return (x * inverse[:, None]).round(), largest / 127


def integer_linear(x: Tensor, multiples: Tensor, scales: Tensor) -> Tensor:
    """The reference of the kernels' products: x (N, K), multiples (R, K), scales (R,) -> (N, R)."""
    rounded, of_inputs = round_inputs(x)
    # sums of integers are exact in float64
    sums = rounded.double() @ multiples.double().T
    return sums.float() * (scales * of_inputs[:, None])
