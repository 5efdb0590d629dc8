"""A loss over many rows, a chunk at a time, its gradient formed in the forward pass: any head, bounded memory.

N tokens, D input width.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

ChunkLoss = Callable[..., Tensor]


def summed_in_chunks(
    loss: ChunkLoss, hidden: Tensor, targets: Tensor, parameters: Sequence[Tensor], *, rows: int
) -> Tensor:
    """The sum over chunks of `loss(hidden, targets, *parameters)`, never holding more than one chunk's graph.

    Args:
        loss: maps (n, D), (n,) and the parameters to a scalar.
        hidden: (N, D).
        targets: (N,).
        parameters: every tensor that the loss depends on and that may need a gradient.
        rows: n, the rows of a chunk.

    Returns:
        A scalar that can be differentiated once with respect to hidden and parameters.
    """
    return _Summed.apply(loss, rows, hidden, targets, *parameters)  # type: ignore[no-any-return, no-untyped-call]


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: ChunkLoss, rows: int, hidden: Tensor, targets: Tensor, *parameters: Tensor) -> Tensor:
        needed = [ctx.needs_input_grad[2], *ctx.needs_input_grad[4:]]
        gradients = [torch.zeros_like(tensor) for tensor in (hidden, *parameters)]
        total = hidden.new_zeros(())
        for h, place, t in zip(hidden.split(rows), gradients[0].split(rows), targets.split(rows), strict=True):
            leaves = [leaf.detach().requires_grad_(need) for leaf, need in zip((h, *parameters), needed, strict=True)]
            with torch.set_grad_enabled(any(needed)):
                nats = loss(leaves[0], t, *leaves[1:])
            total += nats.detach()
            wanted = [leaf for leaf in leaves if leaf.requires_grad]
            sums = [s for s, need in zip((place, *gradients[1:]), needed, strict=True) if need]
            # a chunk need not touch every parameter: an adaptive head's cluster may have no word in it
            parts = torch.autograd.grad(nats, wanted, allow_unused=True) if wanted else ()
            for gradient, part in zip(sums, parts, strict=True):
                if part is not None:
                    gradient += part
        ctx.gradients = [gradient if need else None for gradient, need in zip(gradients, needed, strict=True)]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the loss can be differentiated once; run the forward pass again")
        gradients = [None if gradient is None else gradient.mul_(grad_output) for gradient in ctx.gradients]
        ctx.gradients = None
        return None, None, gradients[0], None, *gradients[1:]
