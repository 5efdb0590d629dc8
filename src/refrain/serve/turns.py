"""A stepper that lets other work have its turn between its windows.

T steps in a window, B batch size, M ids to score.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from refrain.models.scorer import AnyStepper, Scorer
from refrain.nn.kernels.packed_linear import WeightType

# the largest T * B of a window between two turns
TURN_TOKENS = 512


class TakingTurns:
    """A stepper, or its scorer, that calls a function before each step and between the parts of a window.

    Args:
        stepper: what computes.
        between: the function.

    Attributes:
        device: the device on which ids are expected.
        weights: `float32` or `int8`, those of the stepper.
    """

    def __init__(self, stepper: Any, between: Callable[[], None]) -> None:
        self._stepper = stepper
        self._between = between
        self.device: torch.device = stepper.device
        self.weights: WeightType = getattr(stepper, "weights", "float32")

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first token."""
        return self._stepper.initial_state(batch_size)

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map ids (B,) to log-probabilities of the next tokens (B, V) and the state after them."""
        self._between()
        log_probabilities, state = self._stepper.step(ids, state)
        return log_probabilities, state

    def token_nats(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The nats of each target (T, B), and the state after the window, which is computed in parts."""
        size = max(1, TURN_TOKENS // inputs.shape[1])
        nats = []
        for some, following in zip(inputs.split(size), targets.split(size), strict=True):
            self._between()
            scores, state = self._stepper.token_nats(some, following, state)
            nats.append(scores)
        return torch.cat(nats), state

    def following_nats(self, ids: Tensor, state: Any, rows: Tensor, following: Tensor) -> tuple[Tensor, Any]:
        """The nats (M,) of ids that may follow each sequence, and the state after the batch; see `Scorer`."""
        self._between()
        nats, state = self._stepper.following_nats(ids, state, rows, following)
        return nats, state

    @property
    def scorer(self) -> Scorer:
        """What scores many sequences at once."""
        return TakingTurns(self._stepper.scorer, self._between)

    @property
    def shares_prefixes(self) -> bool:
        """Whether states can be chosen by sequence; see `AnyStepper`."""
        shares: bool = self._stepper.shares_prefixes
        return shares


def taking_turns(stepper: AnyStepper, between: Callable[[], None]) -> AnyStepper:
    """A stepper that calls a function before each step; see `TakingTurns`.

    Args:
        stepper: what computes.
        between: the function.
    """
    return TakingTurns(stepper, between)
