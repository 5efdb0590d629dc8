"""The training loop.

T steps in the window, batch B.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from refrain.arguments import at_least_one, check_choice, real_of
from refrain.errors import UserError
from refrain.nn.columns import computing
from refrain.nn.recurrent.protocol import detached
from refrain.optim import SGD, any_gradient_dtype, clip_scale, gradient_norm, scale_gradients, scaled_step, used_once
from refrain.parallel import ALONE, Ranks

from .hooks import Hooks, Window
from .share import share_of

LossScale = Literal["sum-over-time", "mean-over-tokens"]


@dataclass
class Tally:
    """Sums since the last reset: nats, tokens, and the last gradient norm before clipping."""

    nats: float = 0.0
    tokens: int = 0
    gradient_norm: float = 0.0


class NonFiniteError(ArithmeticError):
    """A loss or gradient is not finite. The weights were not updated with it."""


@torch.enable_grad()
def train_round(
    model: nn.Module,
    windows: Iterable[tuple[Tensor, Tensor]],
    state: Any,
    optimizer: torch.optim.Optimizer,
    *,
    loss_scale: LossScale,
    max_norm: float | None,
    hooks: Hooks,
    tallies: Iterable[Tally] = (),
    ranks: Ranks = ALONE,
    accumulate: int = 1,
) -> Any:
    """Train on `windows` by truncated backpropagation, also within `torch.no_grad()`.

    Args:
        model: maps (inputs, targets, state) to the nats summed over the window, the outputs and the state.
        windows: pairs (inputs, targets), each (T, B). A round is an epoch, or as many windows as the caller gives.
        state: the recurrent state at the beginning of the first window, of the columns that this rank computes.
        optimizer: an optimiser of the model's parameters.
        loss_scale: `sum-over-time` divides the nats by B, `mean-over-tokens` by the number of targets, usually T * B.
            Penalties, clipping and learning rate are relative to it.
        max_norm: the value to which the global gradient norm is clipped; None does not clip.
        hooks: the methods that act on the run.
        tallies: the nats and tokens of every window are added to each of them.
        ranks: the processes that train the model together. Their gradients are summed, so that each takes the step that
            one process would take.
        accumulate: the number of windows whose gradients are averaged before each step of the optimiser.

    Returns:
        The state after the last window.

    Raises:
        UserError: when `loss_scale` is another word, `max_norm` is not positive or `accumulate` is less than 1.
        NonFiniteError: when the loss or a gradient is not finite; the weights are those after the window before.
    """
    check_choice("loss_scale", loss_scale, get_args(LossScale))
    accumulate = at_least_one(accumulate, "accumulate")
    if max_norm is not None and not real_of(max_norm, "max_norm") > 0:
        raise UserError(f"max_norm must be positive, or None (got {max_norm})")
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    update = _Update(optimizer, parameters, max_norm, hooks, tallies)
    held: list[_Part] = []
    window = None
    # gradients that are summed, or that methods change, are float32
    as_formed = update.native and ranks.size == accumulate == 1 and not hooks.before_step
    with any_gradient_dtype(used_once(model)) if as_formed else nullcontext():
        for inputs, targets in windows:
            share = share_of(inputs, targets, ranks, loss_scale)
            with computing(share.columns, inputs):
                # the value of the state is carried over, its gradient is not; a head has its own formula of the nats
                nats, outputs, state = model(share.inputs, share.targets, detached(state))
            window = Window(model, optimizer, share.inputs, share.targets, outputs, ranks)
            loss = nats / (share.divisor * share.copies)
            for term in hooks.loss_terms:
                loss = loss + share.weight * term(window)
            if not held:
                optimizer.zero_grad()
            if accumulate == 1:
                total, summed = ranks.backward(loss, nats / share.copies, parameters)
                update(window, total, summed, share.tokens)
                continue
            (loss / accumulate).backward()
            rates = [group["lr"] for group in optimizer.param_groups]
            held.append(_Part(loss.item(), nats.item() / share.copies, share.tokens, rates))
            if len(held) == accumulate:
                _update_from(held, update, window, accumulate, ranks)
        if held and window is not None:
            # at the end of an epoch there may be fewer windows
            _update_from(held, update, window, accumulate, ranks)
    return detached(state)


class _Part(NamedTuple):
    """A window whose gradient is held until the next update, with the learning rate of each group of parameters."""

    loss: float
    nats: float
    tokens: int
    rates: Sequence[float]


@dataclass
class _Update:
    """One step of an optimiser, with what comes before and after it."""

    optimizer: torch.optim.Optimizer
    parameters: Sequence[nn.Parameter]
    max_norm: float | None
    hooks: Hooks
    tallies: Iterable[Tally]

    @property
    def native(self) -> bool:
        """Whether norm and step are computed by native kernels, which take gradients in bf16 too."""
        return isinstance(self.optimizer, SGD) and self.optimizer.native

    def __call__(self, window: Window, loss: float, nats: float, tokens: int) -> None:
        """Take the step, unless the loss or the gradient is not finite."""
        norm = gradient_norm(self.parameters, native=self.native).item()
        if not math.isfinite(norm + loss):
            raise NonFiniteError(f"the loss is {loss}, the gradient norm {norm}")
        scale = clip_scale(norm, self.max_norm)
        if self.hooks.before_step:
            scale_gradients(self.parameters, scale)
            scale = 1.0
        for act in self.hooks.before_step:
            act(window)
        averaging = self.hooks.averaging
        averages = None if averaging is None else averaging.averages(self.parameters)
        scaled_step(self.optimizer, self.parameters, scale, averages)
        for act in self.hooks.after_step:
            act(window)
        for tally in self.tallies:
            tally.nats += nats
            tally.tokens += tokens
            tally.gradient_norm = norm


def _update_from(held: list[_Part], update: _Update, window: Window, accumulate: int, ranks: Ranks) -> None:
    """Take a step on the mean gradient of the windows that are held, at the mean of each group's learning rates."""
    loss, nats = ranks.sum_gradients(
        sum(part.loss for part in held), sum(part.nats for part in held), update.parameters
    )
    scale_gradients(update.parameters, accumulate / len(held))
    for index, group in enumerate(update.optimizer.param_groups):
        group["lr"] = sum(part.rates[index] for part in held) / len(held)
    tokens = sum(part.tokens for part in held)
    held.clear()
    update(window, loss, nats, tokens)
