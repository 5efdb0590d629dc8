"""Gradient clipping and plain SGD with as few passes over memory as possible.

The speed of a large model's update is bounded by memory: the norm reads every gradient once, and the update, which
reads it a second time, also scales it, so that clipping needs no pass of its own.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .eager import EagerSGD


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the norm of all gradients together. Sparse gradients are coalesced in place, so that it is exact.

    Args:
        parameters: the parameters; those without a gradient are ignored.
    """
    parts = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            parts.append(parameter.grad.values())
        elif parameter.grad is not None:
            parts.append(parameter.grad)
    if not parts:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts)))
    return norm


def clip_scale(norm: float, max_norm: float | None) -> float:
    """Return the factor that clips gradients to a norm of at most `max_norm`; as in torch, 1e-6 is added to the norm.

    Args:
        norm: the norm of the gradients.
        max_norm: the largest norm allowed, or None for no clipping.
    """
    return 1.0 if max_norm is None or not math.isfinite(norm) else min(1.0, max_norm / (norm + 1e-6))


def scale_gradients(parameters: Sequence[nn.Parameter], scale: float) -> None:
    """Multiply all gradients by a factor, in place. This is one more pass over memory.

    Args:
        parameters: the parameters; those without a gradient are ignored.
        scale: the factor.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(scale)


def scaled_step(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], scale: float) -> None:
    """Take a step of an optimiser with all gradients multiplied by `scale`.

    A fused optimiser scales the gradients during the update. For others they are scaled in place before it.

    Args:
        optimizer: an optimiser of the parameters.
        parameters: the parameters, whose gradients are not scaled yet.
        scale: the factor.
    """
    fused = all(group.get("fused") for group in optimizer.param_groups)
    if scale != 1.0 and not fused:
        scale_gradients(parameters, scale)
    # the attribute that torch.amp.GradScaler sets on fused optimisers, which divide by it and read it as float32
    divisor = torch.tensor(1 / scale, dtype=torch.float32) if scale != 1.0 and fused else None
    optimizer.grad_scale = divisor  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale  # type: ignore[attr-defined]
    # torch's fused updates do not mark the weights as changed
    torch.autograd.graph.increment_version(parameters)


class SGD(EagerSGD):
    """Stochastic gradient descent that also takes sparse gradients of embeddings, and updates only the rows in them.

    The result equals the dense update without weight decay, since the gradient of the other rows is zero.

    Args:
        parameters: the parameters to update.
        lr: the learning rate.
        weight_decay: this factor times the weight is added to the gradient.

    Raises:
        ValueError: by `step`, when a parameter has both weight decay and a sparse gradient.
    """

    def __init__(self, parameters: Any, *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Args:
            closure: not used; part of the optimiser interface of torch.
        """
        scale = getattr(self, "grad_scale", None)
        sparse_gradients = []
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is not None and gradient.is_sparse:
                    if group["weight_decay"]:
                        raise ValueError("a sparse gradient does not cover all rows that decay; use a dense gradient")
                    rate = group["lr"] if scale is None else group["lr"] / scale.item()
                    gradient = gradient.coalesce()
                    parameter.index_add_(0, gradient.indices()[0], gradient.values(), alpha=-rate)
                    sparse_gradients.append((parameter, parameter.grad))
                    parameter.grad = None
        super().step()
        torch.autograd.graph.increment_version([p for group in self.param_groups for p in group["params"]])
        for parameter, gradient in sparse_gradients:
            parameter.grad = gradient
