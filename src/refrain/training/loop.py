"""The training loop.

T steps in the window, batch B.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from refrain.nn.columns import computing
from refrain.nn.recurrent.protocol import detached
from refrain.optim import clip_scale, gradient_norm, scale_gradients, scaled_step
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
) -> Any:
    """Train on `windows` by truncated backpropagation.

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

    Returns:
        The state after the last window.

    Raises:
        NonFiniteError: when the loss or a gradient is not finite; the weights are those after the window before.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for inputs, targets in windows:
        share = share_of(inputs, targets, ranks, loss_scale)
        with computing(share.columns, inputs):
            # the value of the state is carried over, its gradient is not; each head computes the nats by its own formula
            nats, outputs, state = model(share.inputs, share.targets, detached(state))
        window = Window(model, optimizer, share.inputs, share.targets, outputs, ranks)
        loss = nats / (share.divisor * share.copies)
        for term in hooks.loss_terms:
            loss = loss + share.weight * term(window)
        optimizer.zero_grad()
        total, all_nats = ranks.backward(loss, nats / share.copies, parameters)
        norm = gradient_norm(parameters).item()
        if not math.isfinite(norm + total):
            raise NonFiniteError(f"the loss is {total}, the gradient norm {norm}")
        scale = clip_scale(norm, max_norm)
        if hooks.before_step:
            scale_gradients(parameters, scale)
            scale = 1.0
        for act in hooks.before_step:
            act(window)
        scaled_step(optimizer, parameters, scale)
        for act in hooks.after_step:
            act(window)
        for tally in tallies:
            tally.nats += all_nats
            tally.tokens += share.tokens
            tally.gradient_norm = norm
    return detached(state)
