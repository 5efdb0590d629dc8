"""Gradient clipping and plain SGD with as few passes over memory as possible.

The speed of a large model's update is bounded by memory: the norm reads every gradient once, and the update, which
reads it a second time, also scales it and adds the new weights to their running means, so that neither clipping nor
averaging needs a pass of its own.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import optimizer as hooks

from refrain.nn.precision import HALF, widened

from .eager import EagerSGD
from .layouts import is_dense, laid_out
from .native import Averages, native_norm, native_step


def _listed(parameters: Tensor | Iterable[nn.Parameter]) -> list[Any]:
    """The parameters, each once; one alone is given as itself."""
    return [parameters] if isinstance(parameters, Tensor) else list(dict.fromkeys(parameters))


def gradient_norm(parameters: Tensor | Iterable[nn.Parameter], *, native: bool = False) -> Tensor:
    """Return the norm of all gradients together. Sparse gradients are coalesced in place, so that it is exact.

    Args:
        parameters: the parameters, or a single one; those without a gradient are ignored, and one that is given twice
            counts once.
        native: use the C++ kernel, for the gradients that it takes.
    """
    parameters = _listed(parameters)
    parts = []
    for parameter in parameters:
        if parameter.grad is not None and parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
            parts.append(parameter.grad.values())
        elif parameter.grad is not None:
            parts.append(parameter.grad)
    if not parts:
        return torch.zeros(())
    if native and (found := native_norm(parameters)) is not None:
        return found
    # the norm of a tensor of two bytes would have two bytes
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm([widened(part) for part in parts])))
    return norm


def clip_scale(norm: float | Tensor, max_norm: float | None) -> float:
    """Return the factor that clips gradients to a norm of at most `max_norm`; as in torch, 1e-6 is added to the norm.

    Args:
        norm: the norm of the gradients.
        max_norm: the largest norm allowed, or None for no clipping.

    Returns:
        The factor; 1 for a norm that is not finite.

    Raises:
        ValueError: when `max_norm` is not positive.
    """
    if max_norm is not None and not max_norm > 0:
        raise ValueError(f"max_norm must be positive, or None (got {max_norm!r})")
    norm = float(norm)
    return 1.0 if max_norm is None or not math.isfinite(norm) else min(1.0, max_norm / (norm + 1e-6))


def scale_gradients(parameters: Tensor | Iterable[nn.Parameter], scale: float) -> None:
    """Multiply all gradients by a factor, in place. This is one more pass over memory.

    Args:
        parameters: the parameters, or a single one; those without a gradient are ignored.
        scale: the factor.
    """
    for parameter in _listed(parameters):
        if parameter.grad is not None:
            parameter.grad.mul_(scale)


def scaled_step(
    optimizer: torch.optim.Optimizer,
    parameters: Tensor | Iterable[nn.Parameter],
    scale: float | Tensor,
    averages: Averages | None = None,
) -> None:
    """Take a step of an optimiser with all gradients multiplied by `scale`, and add the new weights to their means.

    A fused optimiser scales the gradients during the update, and SGD with native kernels averages the weights there as
    well. For others, the gradients are scaled in place before the update and the weights are averaged after it.

    Args:
        optimizer: an optimiser of the parameters.
        parameters: the parameters, or a single one, whose gradients are not scaled yet; one that is given twice counts
            once.
        scale: the factor.
        averages: the running means of the parameters, or None.

    Raises:
        ValueError: when `scale` is not positive.
    """
    parameters, scale = _listed(parameters), float(scale)
    if not scale > 0:
        raise ValueError(f"scale must be positive (got {scale!r})")
    if isinstance(optimizer, SGD) and optimizer.native_step(parameters, scale, averages):
        return
    fused = all(group.get("fused") for group in optimizer.param_groups)
    if scale != 1.0 and not fused:
        scale_gradients(parameters, scale)
    moved = [part for group in optimizer.param_groups for part in group["params"] if part.grad is not None]
    given = [(part, part.grad) for part in moved if fused and not part.grad.is_sparse]
    for parameter, gradient in given:
        parameter.grad = laid_out(gradient, parameter)
    # the attribute that torch.amp.GradScaler sets on fused optimisers, which divide by it and read it as float32
    divisor = torch.tensor(1 / scale, dtype=torch.float32) if scale != 1.0 and fused else None
    optimizer.grad_scale = divisor  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale  # type: ignore[attr-defined]
        for parameter, gradient in given:
            parameter.grad = gradient
    # torch's fused updates do not mark the weights as changed
    torch.autograd.graph.increment_version(parameters)
    if averages is not None:
        averages.add(parameters)


_plain_step = inspect.unwrap(torch.optim.SGD.step)

OTHER_STEPS = ("momentum", "dampening", "nesterov", "maximize")
"""Options of a group of parameters with which a step is not plain gradient descent."""


class SGD(EagerSGD):
    """Stochastic gradient descent that also takes sparse gradients of embeddings, and updates only the rows in them.

    The result equals the dense update without weight decay, since the gradient of the other rows is zero. Gradients of
    float32 parameters may be bf16.

    Args:
        parameters: the parameters to update.
        lr: the learning rate.
        weight_decay: this factor times the weight is added to the gradient.
        native: let `scaled_step` update the parameters by the C++ kernel, where it takes them.

    Attributes:
        native: as given.

    Raises:
        ValueError: by `step`, when a parameter has both weight decay and a sparse gradient, or when its group was given
            momentum or another option with which a step is not plain gradient descent, and the gradient is sparse, its
            precision is half, or the parameter has gaps in memory.
    """

    # the default for a copy, because torch's optimisers do not copy attributes
    native = False

    def __init__(self, parameters: Any, *, lr: float, weight_decay: float = 0.0, native: bool = False) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        self.native = native

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove all gradients, as torch does, without reporting it to torch's profiler, which takes longer than that.

        Args:
            set_to_none: False sets them to zero instead.
        """
        if not set_to_none:
            return super().zero_grad(set_to_none=False)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Args:
            closure: computes the gradients anew and returns the loss, as in torch; None takes those that are there.

        Returns:
            The loss of the closure; None without one.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        scale = getattr(self, "grad_scale", None)
        # the attribute with which torch.amp.GradScaler says that a gradient is infinite, and the step is to be left out
        infinite = getattr(self, "found_inf", None)
        if infinite is not None and infinite.item():
            return loss
        moved = [
            (group, parameter, parameter.grad)
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        for group, parameter, gradient in moved:
            if not _is_for_fused(parameter, gradient):
                _check_plain(group, gradient)
        for group, parameter, gradient in moved:
            if _is_for_fused(parameter, gradient):
                parameter.grad = laid_out(gradient, parameter)
                continue
            rate = group["lr"] if scale is None else group["lr"] / scale.item()
            if gradient.is_sparse:
                rows = gradient.coalesce()
                parameter.index_add_(0, rows.indices()[0], rows.values(), alpha=-rate)
            else:
                kept = widened(parameter).mul(1 - group["lr"] * group["weight_decay"])
                parameter.copy_(kept.add_(gradient, alpha=-rate))
            parameter.grad = None
        # not the one of the class above, which torch may have wrapped to call the hooks, as it has wrapped this one
        _plain_step(self)
        torch.autograd.graph.increment_version([p for group in self.param_groups for p in group["params"]])
        for _, parameter, gradient in moved:
            parameter.grad = gradient
        return loss

    @torch.no_grad()
    def native_step(self, parameters: Sequence[nn.Parameter], scale: float, averages: Averages | None = None) -> bool:
        """Update the parameters by the C++ kernel, in one call; see `scaled_step`.

        Args:
            parameters: the parameters; those without a gradient stay.
            scale: the factor of all gradients.
            averages: the running means of the parameters, or None.

        Returns:
            Whether they were updated; nothing was changed otherwise, for example because there is no compiler, or
            because the optimiser updates other parameters too or in another way.

        Raises:
            ValueError: when a parameter has both weight decay and a sparse gradient.
        """
        # torch's `step` calls the hooks
        own = self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
        hooked = bool(own or hooks._global_optimizer_pre_hooks or hooks._global_optimizer_post_hooks)
        if not self.native or hooked or not self._has_only(parameters):
            return False
        groups = {id(parameter): group for group in self.param_groups for parameter in group["params"]}
        for parameter in parameters:
            if parameter.grad is not None and parameter.grad.is_sparse:
                _check_plain(groups[id(parameter)], parameter.grad)
                parameter.grad = parameter.grad.coalesce()
        rates, decays = ([groups[id(part)][key] for part in parameters] for key in ("lr", "weight_decay"))
        if not native_step(parameters, rates, decays, scale, averages):
            return False
        torch.autograd.graph.increment_version(parameters)
        # what torch's schedules look at, which warn where no step was taken before theirs
        self._opt_called = True
        return True

    def _has_only(self, parameters: Sequence[nn.Parameter]) -> bool:
        """Whether a step of this optimiser is plain gradient descent on these parameters and on no others."""
        own = {id(parameter) for group in self.param_groups for parameter in group["params"]}
        others = own - {id(parameter) for parameter in parameters}
        moved = (part for group in self.param_groups for part in group["params"] if part.grad is not None)
        return (
            all(id(parameter) in own for parameter in parameters)
            and not (others and any(id(part) in others for part in moved))
            and not any(group.get(option) for group in self.param_groups for option in OTHER_STEPS)
        )


def _is_for_fused(parameter: Tensor, gradient: Tensor) -> bool:
    """Whether torch's fused update is right: for dense gradients of one dtype.

    On a CPU it leaves most entries of parameters of half precision as they were, and writes into the gaps of others.
    """
    halves = gradient.dtype in HALF or parameter.dtype in HALF
    return not gradient.is_sparse and not halves and is_dense(parameter)


def _check_plain(group: dict[str, Any], gradient: Tensor) -> None:
    """Refuse what an update of our own does not do."""
    if gradient.is_sparse and group["weight_decay"]:
        raise ValueError("a sparse gradient does not cover all rows that decay; use a dense gradient")
    other = [option for option in OTHER_STEPS if group.get(option)]
    if other:
        raise ValueError(
            f"a step with {' and '.join(other)} is not taken for sparse gradients, for parameters or gradients of half "
            "precision, or for slices of tensors; use torch.optim.SGD"
        )
