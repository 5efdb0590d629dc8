"""The layout of gradients in memory.

torch's fused updates on a CPU read a parameter and its gradient entry by entry as they lie in memory, whatever their
strides. `backward` gives a gradient the layout of its parameter; `torch.autograd.grad` and code of one's own may not.
"""

import torch
from torch import Tensor


def is_dense(parameter: Tensor) -> bool:
    """Whether the entries of a parameter fill its memory without gaps, in any order; a slice of a tensor does not."""
    # a tensor like it has its strides in that case alone
    return parameter.is_contiguous() or torch.empty_like(parameter, device="meta").stride() == parameter.stride()


def laid_out(gradient: Tensor, parameter: Tensor) -> Tensor:
    """A dense gradient in the layout of its parameter; itself where it has it already.

    Args:
        gradient: the gradient.
        parameter: the parameter.
    """
    if gradient.stride() == parameter.stride() or (gradient.is_contiguous() and parameter.is_contiguous()):
        return gradient
    return torch.empty_like(parameter, dtype=gradient.dtype, device=gradient.device).copy_(gradient)
