"""Matrices made ready to be read a token at a time: float32, or int8 with a scale a row.

The kernels are in cpp/stepper.cpp. They read each weight once for all streams and apply what follows in the same
pass; sums are float32 whatever the weights are.

R rows, K columns, B streams.
"""

import ctypes
import functools
from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refrain.nn.kernels import compile as native

from .pages import in_large_pages

WeightType = Literal["float32", "int8"]

FEW_STREAMS = 8
"""Up to so many streams a product is bound by reading the weights; beyond, a matrix product's blocking wins."""

STRIP = 16
"""Columns that lie together in a packed matrix."""

_POINTER, _SIZE = ctypes.c_void_p, ctypes.c_ssize_t
_SIGNATURES = {
    # matrix, bias, x, out, rows, streams
    "refrain_linear": (*[_POINTER] * 4, *[_SIZE] * 2),
    # first, second, x, y, base, stride of base, cell before, hidden, cell, size, streams
    "refrain_lstm": (*[_POINTER] * 5, _SIZE, *[_POINTER] * 3, *[_SIZE] * 2),
    # second, base, hidden before, hidden, cell, size, streams, steps
    "refrain_lstm_window": (*[_POINTER] * 5, *[_SIZE] * 3),
    # first, second, x, base, stride of base, recurrent part, hidden before, hidden, size, streams
    "refrain_gru": (*[_POINTER] * 4, _SIZE, *[_POINTER] * 3, *[_SIZE] * 2),
    # logits, rows, words
    "refrain_log_softmax": (_POINTER, _SIZE, _SIZE),
    # logits, targets, nats, rows, words
    "refrain_target_nats": (*[_POINTER] * 3, *[_SIZE] * 2),
}


@functools.cache
def kernels() -> Any:
    """The compiled functions, or None where there is no compiler."""
    library = native.load("stepper")
    if library is not None:
        for name, types in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = types, None
    return library


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row to whole multiples of a 127th of its largest entry.

    Args:
        weight: (R, K).

    Returns:
        Multiples (R, K) in int8 and scales (R,): weight is multiples * scales to half a scale.
    """
    scales = weight.abs().amax(dim=1) / 127
    # a row of zeros has the scale 0 and is exact
    multiples = (weight / scales.clamp_min(torch.finfo(weight.dtype).tiny)[:, None]).round().clamp_(-127, 127)
    return multiples.to(torch.int8), scales


def round_weights(module: nn.Module) -> None:
    """Replace every matrix of a module by what `quantise` keeps of it, in place; vectors stay.

    The module then computes, in float32, what kernels over int8 weights compute.

    Args:
        module: any; a shared matrix is rounded once.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim >= 2:
                multiples, scales = quantise(parameter.flatten(0, -2))
                parameter.copy_((multiples * scales[:, None]).view_as(parameter))


def fingerprint(module: nn.Module) -> list[tuple[int, int]]:
    """What changes when a weight is replaced or changed in place."""
    return [(parameter.data_ptr(), parameter._version) for parameter in module.parameters()]


class _Matrix(ctypes.Structure):
    _fields_ = (("weight", _POINTER), ("scale", _POINTER), ("width", _SIZE), ("stride", _SIZE))


class PreparedMatrix:
    """A matrix as the kernels read it; `prepare_matrices` makes it.

    Args:
        packed: (groups, strips, rows of a group, columns of a strip), a group of which is contiguous.
        scales: (R,) of int8 weights, or None.
        rows: R, without those that fill up the last group.
        width: K, without the columns that fill up the last strip.

    Attributes:
        address: of the structure that a kernel takes.
    """

    def __init__(self, packed: Tensor, scales: Tensor | None, rows: int, width: int) -> None:
        self.rows, self.width = rows, width
        self._packed, self._scales = packed, scales
        scale = None if scales is None else scales.data_ptr()
        self._matrix = _Matrix(packed.data_ptr(), scale, width, packed.stride(0))
        self.address = ctypes.addressof(self._matrix)

    def dense(self) -> Tensor:
        """The same matrix (R, K) in float32, for products with many inputs; a copy."""
        whole = self._packed.transpose(1, 2).flatten(2).flatten(0, 1)
        values: Tensor = whole[: self.rows, : self.width].contiguous()
        return values if self._scales is None else values * self._scales[:, None]


def prepare_matrices(matrices: Sequence[Tensor], weights: WeightType, *, group: int = 4) -> list[PreparedMatrix]:
    """Pack matrices that a kernel uses together, so that it reads memory from one end to the other.

    First comes a group of rows of the first matrix, then the same group of the second, and so on. Each group lies as it
    is read; see cpp/packed.h.

    Args:
        matrices: each (R, K) with the same R, float32 on the CPU.
        weights: what is kept of them: float32 as they are, or int8.
        group: rows of a group; the last group may have fewer.
    """
    kept = [quantise(weight) if weights == "int8" else (weight, None) for weight in matrices]
    strips = [_in_strips(values, group) for values, _ in kept]
    sizes = [part[0].numel() for part in strips]
    whole = in_large_pages((len(strips[0]), sum(sizes)), strips[0].dtype)
    prepared = []
    for weight, (_, scales), part, place in zip(matrices, kept, strips, whole.split(sizes, dim=1), strict=True):
        packed = place.unflatten(1, part.shape[1:]).copy_(part)
        prepared.append(PreparedMatrix(packed, scales, *weight.shape))
    return prepared


def _in_strips(weight: Tensor, group: int) -> Tensor:
    """(R, K) -> (groups, strips, rows of a group, columns of a strip), filled up with zeros."""
    more = -weight.shape[1] % STRIP, -weight.shape[0] % group
    filled: Tensor = F.pad(weight, (0, more[0], 0, more[1]))
    strips: Tensor = filled.unflatten(1, (-1, STRIP)).unflatten(0, (-1, group)).transpose(1, 2)
    return strips


class PreparedLinear:
    """x W^T + b.

    Args:
        weight: W (R, K), float32 on the CPU.
        bias: b (R,), or None.
        weights: see `prepare_matrices`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, weights: WeightType) -> None:
        (self.matrix,), self.bias = prepare_matrices([weight], weights), bias
        self._bias = None if bias is None else bias.data_ptr()

    @functools.cached_property
    def dense(self) -> Tensor:
        """W in float32; made when first wanted, and kept."""
        whole: Tensor = self.matrix.dense()
        return whole

    def __call__(self, x: Tensor) -> Tensor:
        """x (B, K) -> (B, R).

        Raises:
            ValueError: when the width differs.
        """
        if x.ndim != 2 or x.shape[1] != self.matrix.width:
            raise ValueError(f"inputs have shape {tuple(x.shape)}, (B, {self.matrix.width}) is expected")
        if len(x) > FEW_STREAMS:
            return F.linear(x, self.dense, self.bias)
        x = x.float().contiguous()
        out = x.new_empty(len(x), self.matrix.rows)
        kernels().refrain_linear(
            self.matrix.address, self._bias, x.data_ptr(), out.data_ptr(), self.matrix.rows, len(x)
        )
        return out


def log_softmax_(logits: Tensor) -> Tensor:
    """Logits (N, V), float32 and contiguous -> log-probabilities, in place, a pass for the sum and one to subtract."""
    kernels().refrain_log_softmax(logits.data_ptr(), *logits.shape)
    return logits


def target_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Logits (N, V), float32 and contiguous, and targets (N,) -> the nats of the targets (N,), in one pass.

    Raises:
        IndexError: when a target is not in [0, V).
        ValueError: when there is not one for each row.
    """
    if targets.shape != logits.shape[:1]:
        raise ValueError(f"targets have shape {tuple(targets.shape)}, {tuple(logits.shape[:1])} is expected")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[1]:
        raise IndexError(f"a target is not in [0, {logits.shape[1]})")
    targets, nats = targets.to(torch.int64).contiguous(), logits.new_empty(len(logits))
    kernels().refrain_target_nats(logits.data_ptr(), targets.data_ptr(), nats.data_ptr(), *logits.shape)
    return nats
