"""Where a method may act on a run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Window(NamedTuple):
    """One window of a run, as a hook sees it."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    inputs: Tensor  # (T, B)
    targets: Tensor  # (T, B)
    outputs: Any  # what regularisers read: hidden states before and after dropout


@dataclass
class Hooks:
    """Four lists of callables, each called in order.

    Attributes:
        loss_terms: (window) -> a scalar added to the loss, in the loss's own scale.
        before_step: (window): gradients are final and clipped.
        after_step: (window): weights have moved; project or average them.
        after_round: (metrics): an epoch was validated; triggers and reports.
    """

    loss_terms: list[Callable[[Window], Tensor]] = field(default_factory=list)
    before_step: list[Callable[[Window], None]] = field(default_factory=list)
    after_step: list[Callable[[Window], None]] = field(default_factory=list)
    after_round: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
