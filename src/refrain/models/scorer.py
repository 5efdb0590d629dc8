"""What scores many sequences at once: a stepper, or a form of it that is faster.

T steps in a window, B batch size, M ids to score.
"""

from typing import Any, Protocol

import torch
from torch import Tensor


class Scorer(Protocol):
    """The nats of ids that follow others, for a batch of sequences. States are those of the model.

    Attributes:
        device: the device on which ids are expected.
    """

    device: torch.device

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first token."""
        ...

    def token_nats(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The negative log-likelihood in nats of each target (T, B), and the state after the window."""
        ...

    def following_nats(self, ids: Tensor, state: Any, rows: Tensor, following: Tensor) -> tuple[Tensor, Any]:
        """The nats of several ids that may follow each sequence of a batch, and the state after the batch.

        Args:
            ids: (B,), read after the states.
            state: the state of the sequences.
            rows: (M,), the sequence that each of the ids follows.
            following: (M,), ids.
        """
        ...


class Reader(Protocol):
    """What reads a token at a time.

    Attributes:
        device: the device on which ids are expected.
    """

    device: torch.device

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first token."""
        ...

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map ids (B,) to natural log-probabilities of the next tokens (B, V) and the state after them."""
        ...


class AnyStepper(Scorer, Reader, Protocol):
    """What does both: a `Stepper`, a `NetworkStepper`, or a mixture of one with another model."""

    @property
    def scorer(self) -> Scorer:
        """What scores many sequences at once."""
        ...

    @property
    def shares_prefixes(self) -> bool:
        """Whether `following_nats` works and the states of sequences can be chosen one by one."""
        ...
