"""The hooks of the training loop, by which methods act on a run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from refrain.optim import TriggeredAveraging
from refrain.parallel import ALONE, Ranks


class Window(NamedTuple):
    """One window of a run, which is the argument of each hook.

    When several processes train one model, it has the columns of this one; see `refrain.parallel`. A loss term counts
    by the fraction of columns that the process has, so it must be a mean over columns or not depend on them.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    inputs: Tensor  # (T, B)
    targets: Tensor  # (T, B)
    outputs: Any  # the last layer's output before and after dropout, for regularisers
    ranks: Ranks = ALONE  # to sum figures over the processes


@dataclass
class Hooks:
    """Four lists of functions, each called in order.

    Attributes:
        loss_terms: each maps a window to a scalar that is added to the loss, on the scale of the loss.
        before_step: each is called before an update, with its last window, when the gradients are final and clipped.
        after_step: each is called after an update, with its last window, for example to project or average the weights.
        after_round: each is called with the record of the validation at the end of an epoch.
        averaging: averages the weights right after the update, before `after_step`, and so in the same pass over memory
            where the optimiser can; None for no averaging.
    """

    loss_terms: list[Callable[[Window], Tensor]] = field(default_factory=list)
    before_step: list[Callable[[Window], None]] = field(default_factory=list)
    after_step: list[Callable[[Window], None]] = field(default_factory=list)
    after_round: list[Callable[[dict[str, Any]], None]] = field(default_factory=list)
    averaging: TriggeredAveraging | None = None
