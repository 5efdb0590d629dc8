"""The norm of all gradients and the update of all parameters by C++ kernels, in one call each (cpp/update.cpp).

The references are `gradient_norm` and `SGD` in steps.py, in torch's operations.
"""

import contextlib
import ctypes
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from refrain.nn.kernels.call import call
from refrain.nn.precision import widened

GRADIENTS = (torch.float32, torch.bfloat16)
"""The dtypes of gradients that the kernels read."""


class Averages(NamedTuple):
    """Running means of parameters, to which an update adds the new weights.

    Attributes:
        means: a mean for each parameter, in its shape and its dtype, or in float32 for one of half precision.
        share: the weight of the new value in its mean, 1 / n at the n-th step.
    """

    means: Sequence[Tensor]
    share: float

    @torch.no_grad()
    def add(self, parameters: Sequence[Tensor]) -> None:
        """Add the parameters to their means, in a pass of its own.

        Args:
            parameters: those of the means, in this order.
        """
        torch._foreach_lerp_(list(self.means), [widened(parameter.detach()) for parameter in parameters], self.share)


class _Part(ctypes.Structure):
    """The struct `Part` in cpp/update.cpp."""

    _fields_ = (
        ("weight", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("rows", ctypes.c_void_p),
        ("mean", ctypes.c_void_p),
        ("entries", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("bf16", ctypes.c_int64),
        ("rate", ctypes.c_float),
        ("decay", ctypes.c_float),
    )


class Parts:
    """An array of structs, one for each parameter, and the tensors whose addresses it holds.

    Args:
        parameters: those that `takes` accepts.

    Attributes:
        structs: the array, without rates and means.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.structs = (_Part * len(parameters))()
        self._kept: list[Tensor] = []
        for part, parameter in zip(self.structs, parameters, strict=True):
            part.weight = parameter.data_ptr()
            self._add_gradient(part, parameter)

    def _add_gradient(self, part: _Part, parameter: Tensor) -> None:
        gradient = parameter.grad
        part.entries = parameter.numel()
        if gradient is None:
            return
        if gradient.is_sparse:
            rows = gradient._indices()[0]
            gradient = gradient._values()
            self._kept.append(rows)
            part.rows = rows.data_ptr()
            part.width = parameter.numel() // len(parameter)
        self._kept.append(gradient)
        part.gradient = gradient.data_ptr()
        part.entries = gradient.numel()
        part.bf16 = gradient.dtype == torch.bfloat16

    def data_ptr(self) -> int:
        """The address of the array."""
        return ctypes.addressof(self.structs)


@contextlib.contextmanager
def any_gradient_dtype(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Let parameters have gradients of any dtype inside the context; after it, they are as the parameters again.

    So a head in bf16 can pass on the gradient of its weight as its matmul writes it.

    Args:
        parameters: the parameters of a model.
    """
    kept = [parameter.grad_dtype for parameter in parameters]
    for parameter in parameters:
        parameter.grad_dtype = None
    try:
        yield
    finally:
        for parameter, dtype in zip(parameters, kept, strict=True):
            gradient = parameter.grad
            parameter.grad = None
            parameter.grad_dtype = dtype
            parameter.grad = gradient if gradient is None else gradient.to(dtype)


def takes(parameters: Sequence[Tensor]) -> bool:
    """Whether the kernels take these parameters and their gradients: contiguous, float32, on a CPU.

    A gradient may also be bf16, or sparse by its first axis and coalesced.

    Args:
        parameters: all parameters of a model.
    """
    return all(_plain(parameter) and _taken(parameter.grad) for parameter in parameters)


def used_once(model: nn.Module) -> list[Tensor]:
    """Parameters that only one module of a model has: the gradient of another one, as of a tied weight, is a sum."""
    found = [parameter for module in model.modules() for parameter in module.parameters(recurse=False)]
    counts = Counter(map(id, found))
    return [parameter for parameter in found if counts[id(parameter)] == 1 and parameter.requires_grad]


def _plain(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu" and tensor.is_contiguous()


def _taken(gradient: Tensor | None) -> bool:
    if gradient is None:
        return True
    if gradient.is_sparse:
        # the rows of the indices are contiguous, but the indices of several axes are not
        return (
            gradient.is_coalesced()
            and gradient.sparse_dim() == 1
            and gradient.dtype == torch.float32
            and gradient._values().is_contiguous()
            and gradient.numel() > 0
        )
    return gradient.layout == torch.strided and gradient.dtype in GRADIENTS and gradient.is_contiguous()


def native_norm(parameters: Sequence[Tensor]) -> Tensor | None:
    """Return the norm of all gradients together, or None where the kernel cannot compute it.

    The sum of squares is that of blocks of a fixed size, so that it does not depend on the number of threads.

    Args:
        parameters: the parameters; sparse gradients must be coalesced.
    """
    if not takes(parameters):
        return None
    total = torch.zeros((), dtype=torch.float64)
    parts = Parts(parameters)
    if not call("update", "update_squares", parts, total, len(parameters)):
        return None
    return total.sqrt().float()


def native_step(
    parameters: Sequence[Tensor],
    rates: Sequence[float],
    decays: Sequence[float],
    scale: float,
    averages: Averages | None = None,
) -> bool:
    """Take a step of gradient descent on all parameters, and return whether the kernel could take it.

    weight -= rate * (scale * gradient + decay * weight), then mean += share * (weight - mean). Without the kernel, or
    for tensors that it does not take, nothing is changed.

    Args:
        parameters: the parameters; one without a gradient stays, and its mean moves. Sparse gradients must be
            coalesced.
        rates: the learning rate of each parameter.
        decays: the weight decay of each parameter.
        scale: the factor of all gradients.
        averages: running means of the same parameters, or None.
    """
    means = None if averages is None else averages.means
    if not takes(parameters) or (means is not None and not all(map(_plain, means))):
        return False
    parts = Parts(parameters)
    for part, rate, decay in zip(parts.structs, rates, decays, strict=True):
        part.rate = rate
        part.decay = decay
    if means is not None:
        _add_means(parts, means)
    factors = torch.tensor([scale, 1.0 if averages is None else averages.share])
    scale_of_gradients, share = factors[:1], factors[1:]
    if not call("update", "update_step", parts, scale_of_gradients, share, len(parameters)):
        return False
    _average_rows(parameters, averages)
    return True


def _add_means(parts: Parts, means: Sequence[Tensor]) -> None:
    for part, mean in zip(parts.structs, means, strict=True):
        # a mean moves everywhere, not only in the rows of a sparse gradient
        if part.rows is None:
            part.mean = mean.data_ptr()


def _average_rows(parameters: Sequence[Tensor], averages: Averages | None) -> None:
    """Add the parameters with sparse gradients to their means."""
    if averages is None:
        return
    for parameter, mean in zip(parameters, averages.means, strict=True):
        if parameter.grad is not None and parameter.grad.is_sparse:
            mean.lerp_(parameter.detach(), averages.share)
