"""Weight matrices packed for inference, one token at a time: float32, or int8 with a scale a row.

The kernels are in cpp/stepper.cpp. They read each weight once for the whole batch and apply what follows in the same
pass; sums are float32 whatever the weights are.

R rows, K columns, B batch.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import compile as native
from .backend import outside_autocast
from .call import kernel
from .integer import IntegerSoftmax
from .matmul import linear
from .pages import in_large_pages
from .streams import SMALL_BATCH, StreamLinear, largest_small_batch, stream_lanes

WeightType = Literal["float32", "int8"]

STRIP = 16
"""Columns that are stored together in a packed matrix."""

# autocast would round the results, which kernels read as float32
float32_linear = outside_autocast(F.linear)
float32_addmm = outside_autocast(torch.addmm)
float32_mm = outside_autocast(torch.mm)


def has_stepper(weight: Tensor) -> bool:
    """Whether the inference kernels exist and take a weight: float32 on a CPU."""
    return weight.dtype == torch.float32 and weight.device.type == "cpu" and native.load("stepper") is not None


def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row to whole multiples of a 127th of its largest entry.

    Rounding a matrix again changes nothing: for each of the 2**23 mantissas m of float32, (m / 127) * 127 / 127 equals
    m / 127.

    Args:
        weight: (R, K).

    Returns:
        Multiples (R, K) in int8 and scales (R,): weight equals multiples * scales to within half a scale.
    """
    scales = weight.abs().amax(dim=1) / 127
    # a row of zeros has the scale 0 and is exact
    multiples = (weight / torch.where(scales > 0, scales, 1)[:, None]).round().clamp_(-127, 127)
    return multiples.to(torch.int8), scales


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a weight of two or more axes, each row of which runs along the last axis; see `quantise`.

    Returns:
        Multiples in the shape of the weight, and scales (R,) of its R rows.
    """
    multiples, scales = quantise(weight.detach().flatten(0, -2))
    return multiples.view(weight.shape), scales


def round_weights(module: nn.Module) -> None:
    """Round every matrix of a module to the values that `quantise` represents, in place; vectors stay.

    The module then computes, in float32, what kernels over int8 weights compute.

    Args:
        module: any; a shared matrix is rounded once.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim >= 2:
                multiples, scales = quantised(parameter)
                parameter.copy_((multiples.flatten(0, -2) * scales[:, None]).view_as(parameter))


def fingerprint(module: nn.Module) -> list[tuple[int, int]]:
    """A value that changes when a weight of the module is replaced or changed in place."""
    return [(parameter.data_ptr(), parameter._version) for parameter in module.parameters()]


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("width", ctypes.c_int64),
        ("stride", ctypes.c_int64),
    )


class PackedMatrix:
    """A matrix in the layout that the kernels read; made by `pack_matrices`.

    Args:
        packed: (groups, strips, rows of a group, columns of a strip), each group of which is contiguous.
        scales: (R,) of int8 weights, or None.
        rows: R, without the rows that pad the last group.
        width: K, without the columns that pad the last strip.
    """

    def __init__(self, packed: Tensor, scales: Tensor | None, rows: int, width: int) -> None:
        self.rows = rows
        self.width = width
        self._packed = packed
        self._scales = scales
        scale = None if scales is None else scales.data_ptr()
        self._matrix = _Matrix(packed.data_ptr(), scale, width, packed.stride(0))
        self._address = ctypes.addressof(self._matrix)

    def __reduce__(self) -> tuple[Callable[..., "PackedMatrix"], tuple[Tensor, Tensor | None, int, int]]:
        # addresses hold in this process only; a copy has a memory of its own
        return _packed_again, (self._packed.contiguous(), self._scales, self.rows, self.width)

    def data_ptr(self) -> int:
        """The address of the structure that a kernel takes."""
        return self._address

    @property
    def is_rounded(self) -> bool:
        """Whether the weights are int8."""
        return self._scales is not None

    def dense(self) -> Tensor:
        """A copy of the matrix (R, K) in float32, for large batches."""
        values = self._values()
        return values if self._scales is None else values * self._scales[:, None]

    def multiples(self) -> tuple[Tensor, Tensor]:
        """A copy of an int8 matrix, as `quantise` returns it.

        Raises:
            ValueError: when the weights are float32.
        """
        if self._scales is None:
            raise ValueError("the packed weights are float32; pack them in int8")
        return self._values(), self._scales

    def _values(self) -> Tensor:
        whole = self._packed.transpose(1, 2).flatten(2).flatten(0, 1)
        values: Tensor = whole[: self.rows, : self.width].contiguous()
        return values


def _packed_again(packed: Tensor, scales: Tensor | None, rows: int, width: int) -> PackedMatrix:
    """A packed matrix that was pickled or copied."""
    memory = in_large_pages(packed.shape, packed.dtype)
    return PackedMatrix(memory.copy_(packed), scales, rows, width)


def pack_matrices(matrices: Sequence[Tensor], weights: WeightType, *, group: int = 4) -> list[PackedMatrix]:
    """Pack matrices that a kernel uses together, so that it reads memory from one end to the other.

    First comes a group of rows of the first matrix, then the same group of the second, and so on. The layout of a group
    is described in cpp/packed.h.

    Args:
        matrices: each (R, K) with the same R, float32 on the CPU.
        weights: dtype of the packed weights, float32 or int8.
        group: rows of a group; the last group may have fewer.
    """
    rounded = [quantise(weight) if weights == "int8" else (weight, None) for weight in matrices]
    strips = [_in_strips(values, group) for values, _ in rounded]
    sizes = [part[0].numel() for part in strips]
    whole = in_large_pages((len(strips[0]), sum(sizes)), strips[0].dtype)
    packed = []
    for weight, (_, scales), part, memory in zip(matrices, rounded, strips, whole.split(sizes, dim=1), strict=True):
        copy = memory.unflatten(1, part.shape[1:]).copy_(part)
        packed.append(PackedMatrix(copy, scales, *weight.shape))
    return packed


def _in_strips(weight: Tensor, group: int) -> Tensor:
    """(R, K) -> (groups, strips, rows of a group, columns of a strip), padded with zeros."""
    columns = -weight.shape[1] % STRIP
    rows = -weight.shape[0] % group
    padded: Tensor = F.pad(weight, (0, columns, 0, rows))
    strips: Tensor = padded.unflatten(1, (-1, STRIP)).unflatten(0, (-1, group)).transpose(1, 2)
    return strips


class PackedLinear:
    """x W^T + b, with W packed.

    Args:
        weight: W (R, K), float32 on the CPU.
        bias: b (R,), or None.
        weights: dtype of the packed weights.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, weights: WeightType) -> None:
        (self.matrix,) = pack_matrices([weight], weights)
        self.bias = bias

    @functools.cached_property
    def dense(self) -> Tensor:
        """W in float32; made on first use."""
        whole: Tensor = self.matrix.dense()
        return whole

    @functools.cached_property
    def _streams(self) -> StreamLinear | None:
        """The layer for many streams; None where its kernels cannot be compiled."""
        return StreamLinear(self.matrix, self.bias) if stream_lanes() else None

    def step(self, x: Tensor) -> Tensor:
        """`__call__` for one step of many streams, whose inputs are rounded too where that is faster; see streams.py.

        Args:
            x: (B, K).
        """
        if len(x) > largest_small_batch(self.matrix.is_rounded) and self._streams is not None:
            return self._streams(self._checked(x))
        return self(x)

    def __call__(self, x: Tensor) -> Tensor:
        """x (B, K) -> (B, R) in float32.

        Raises:
            ValueError: when the width differs.
        """
        x = self._checked(x)
        if len(x) > SMALL_BATCH:
            return linear(x, self.dense, self.bias)
        out = x.new_empty(len(x), self.matrix.rows)
        kernel("stepper", "stepper_linear")(self.matrix, self.bias, x, out, self.matrix.rows, len(x))
        return out

    def _checked(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.matrix.width:
            raise ValueError(f"inputs have shape {tuple(x.shape)}, (B, {self.matrix.width}) is expected")
        return x.float().contiguous()

    def in_integers(self) -> IntegerSoftmax:
        """A softmax layer with these weights, which are int8, and int8 matmuls; see integer.py."""
        return IntegerSoftmax(*self.matrix.multiples(), self.bias)


def log_softmax_(logits: Tensor) -> Tensor:
    """Logits (N, V), float32 and contiguous -> log-probabilities, in place."""
    kernel("stepper", "stepper_log_softmax")(logits, *logits.shape)
    return logits


def target_nats(logits: Tensor, targets: Tensor) -> Tensor:
    """Logits (N, V), float32 and contiguous, and targets (N,) -> the nats of the targets (N,), in one pass.

    Raises:
        IndexError: when a target is not in [0, V).
        ValueError: when there is not one target for each row.
    """
    if targets.shape != logits.shape[:1]:
        raise ValueError(f"targets have shape {tuple(targets.shape)}, {tuple(logits.shape[:1])} is expected")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[1]:
        raise IndexError(f"a target is not in [0, {logits.shape[1]})")
    targets = targets.to(torch.int64).contiguous()
    nats = logits.new_empty(len(logits))
    kernel("stepper", "stepper_target_nats")(logits, targets, nats, *logits.shape)
    return nats
