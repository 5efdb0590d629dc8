"""Clipping and plain SGD in as few passes over memory as they need.

A large model's step is bounded by memory, not by arithmetic: the norm reads every gradient once, and the update, which
reads it again, scales it on the way instead of after a pass of its own.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The norm of all gradients together; sparse ones are coalesced in place, so that it is exact.

    Args:
        parameters: those without a gradient do not count.
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
    """What gradients are multiplied with so that their norm is at most `max_norm`; as torch does it, 1e-6 is added.

    Args:
        norm: of the gradients.
        max_norm: None for no clipping.
    """
    return 1.0 if max_norm is None or not math.isfinite(norm) else min(1.0, max_norm / (norm + 1e-6))


def scale_gradients(parameters: Sequence[nn.Parameter], scale: float) -> None:
    """Multiply all gradients, in place: a pass over memory.

    Args:
        parameters: those without a gradient are passed over.
        scale: the factor.
    """
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(scale)


def scaled_step(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], scale: float) -> None:
    """A step of an optimiser with gradients times `scale`, which are scaled as the update reads them where it can.

    Args:
        optimizer: over the parameters.
        parameters: with gradients that are not scaled yet.
        scale: the factor.
    """
    fused = all(group.get("fused") for group in optimizer.param_groups)
    if scale != 1.0 and not fused:
        scale_gradients(parameters, scale)
    # what torch's own loss scaling hands to fused optimisers; they divide by it, and read it as float32
    divisor = torch.tensor(1 / scale, dtype=torch.float32) if scale != 1.0 and fused else None
    optimizer.grad_scale = divisor  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale  # type: ignore[attr-defined]
    # fused updates of torch do not tell that the weights have changed
    torch.autograd.graph.increment_version(parameters)


class SGD(torch.optim.SGD):
    """Stochastic gradient descent that also takes the sparse gradient of a lookup, of which it moves the rows touched.

    Equal to the dense update where weight decay is 0, since the other rows' gradient is zero.

    Args:
        parameters: what is moved.
        lr: the learning rate.
        weight_decay: times the weight, added to the gradient.

    Raises:
        ValueError: when a weight decays whose gradient is sparse; at the step.
    """

    def __init__(self, parameters: Any, *, lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient.

        Args:
            closure: not taken; there for the interface.
        """
        scale, put_back = getattr(self, "grad_scale", None), []
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is not None and gradient.is_sparse:
                    if group["weight_decay"]:
                        raise ValueError("a sparse gradient says nothing of the rows that decay; use a dense one")
                    rate = group["lr"] if scale is None else group["lr"] / scale.item()
                    gradient = gradient.coalesce()
                    parameter.index_add_(0, gradient.indices()[0], gradient.values(), alpha=-rate)
                    put_back.append((parameter, parameter.grad))
                    parameter.grad = None
        super().step()
        torch.autograd.graph.increment_version([p for group in self.param_groups for p in group["params"]])
        for parameter, gradient in put_back:
            parameter.grad = gradient
