"""What the windows of the recurrent kernels share: memory that is borrowed for a window, products, calls."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .buffer_pool import BufferPool
from .call import call
from .matmul import product

NAMES = {torch.float32: "float32", torch.bfloat16: "bf16"}
LANES = 16
"""The most units that a kernel takes in one register, whatever the processor."""


def whole_panels(units: int) -> int:
    """A number of units, rounded up to whole registers."""
    return -(-units // LANES) * LANES


class Loan:
    """Memory of a layer that one window borrows, float32 and bfloat16.

    Args:
        pool: the layer's buffers.
        like: a float32 tensor on the device, or of another type that is no narrower than what is taken.
    """

    def __init__(self, pool: BufferPool, like: Tensor) -> None:
        self._pool, self._like = pool, like
        self._taken: list[Tensor] = []
        self.open = True

    def take(self, shape: Sequence[int], kind: torch.dtype = torch.float32) -> Tensor:
        """An uninitialised tensor of a shape and a type, until `give_back`."""
        count = torch.Size(shape).numel()
        words = -(-count * kind.itemsize // self._like.dtype.itemsize)
        buffer = self._pool.take((words,), self._like)
        self._taken.append(buffer)
        return buffer.view(kind)[:count].view(*shape)

    def rounded(self, tensor: Tensor, kind: torch.dtype) -> Tensor:
        """A contiguous tensor in the type of the products' operands; itself, if it is that already."""
        if tensor.dtype == kind:
            return tensor.contiguous()
        return self.take(tensor.shape, kind).copy_(tensor)

    def give_back(self) -> None:
        """End the loan; nobody may read the tensors afterwards."""
        if self._taken:
            self._pool.give(self._taken)
        self._taken, self.open = [], False


def run(file: str, way: str, kind: torch.dtype, *arguments: Tensor | int) -> None:
    """Call the kernel of a layer for one way and one type of the products' operands.

    Args:
        file: stem of the C++ file, which begins the kernel's name.
        way: forward or backward.
        kind: the operands' type.
        arguments: of the kernel.

    Raises:
        RuntimeError: when the kernel fails.
    """
    function = f"{file}_{way}_{NAMES[kind]}"
    if not call(file, function, *arguments):
        raise RuntimeError(f"the kernel {function} failed")


def weight_gradient(d_rows: Tensor, operand: Tensor) -> Tensor:
    """The gradient of a weight (R, C), as one product over all steps.

    Args:
        d_rows: (T, B, R), of the products with the weight.
        operand: (T, B, C), what the weight was multiplied with.
    """
    return product(d_rows.flatten(0, 1).T, operand.flatten(0, 1)).float()


def check_open(loan: Loan, name: str) -> None:
    """Refuse a second way back, and a second derivative.

    Args:
        loan: the window's memory.
        name: of the layer.

    Raises:
        RuntimeError: when the memory was given back, or a graph of the gradient is asked for.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(f"{name}: its kernels have no second derivative; call backward without create_graph")
    if not loan.open:
        raise RuntimeError(f"{name}: this window's memory was given back by an earlier backward pass")
