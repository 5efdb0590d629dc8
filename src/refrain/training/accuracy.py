"""Accuracy on the training text: the fraction of positions at which the most likely word is correct.

Demeester et al. (2018), Predefined Sparseness in Recurrent Sequence Models, section 4: a model that learns a
text by heart.

T steps in the window, batch B, V words in the vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import torch

from refrain.models.modes import evaluating
from refrain.optim import Verdict
from refrain.storage.documents import Amount, Document, Index, state_of

from .hooks import Window

CHUNK_POSITIONS = 500
"""The number of positions whose distributions are in memory at once."""


class AccuracyState(Document):
    """The state of a `TrainingAccuracy`."""

    right: Index
    positions: Index
    last: Amount


class TrainingAccuracy:
    """Counts correct predictions during an epoch, for each window with the weights before its update.

    Args:
        stop_at: the accuracy at which training stops; None never stops it.
    """

    def __init__(self, stop_at: float | None = None) -> None:
        self._stop_at = stop_at
        self._right = self._positions = 0
        self.last = 0.0
        """The accuracy in the last complete epoch."""

    def before_step(self, window: Window) -> None:
        """Count a window.

        Args:
            window: the window, with the outputs from which its loss was computed.
        """
        right = 0
        # in evaluation mode, because a head with dropout would draw masks, which training must not notice
        head: Any = window.model.head
        with torch.no_grad(), evaluating(head):
            hidden = window.outputs.dropped.flatten(0, 1).split(CHUNK_POSITIONS)
            for chunk, targets in zip(hidden, window.targets.flatten().split(CHUNK_POSITIONS), strict=True):
                predicted = head.log_probabilities(chunk).argmax(-1)
                right += int((predicted == targets).sum())
        every = window.ranks.sums(right, window.targets.numel())
        self._right += int(every[0])
        self._positions += int(every[1])

    def validated(self, record: Mapping[str, Any]) -> Verdict:
        """Store the accuracy of the epoch, reset the counts, and stop the run if the accuracy is reached.

        Args:
            record: the record of the validation after the epoch; not used.

        Returns:
            The verdict.
        """
        self.last = self._right / max(self._positions, 1)
        self._right = self._positions = 0
        if self._stop_at is None or self.last < self._stop_at:
            return Verdict()
        return Verdict(True, f"training stops: {self.last:.2%} of the training text are right (stop_accuracy)")

    def metrics(self) -> dict[str, Any]:
        """Return the accuracy since the epoch began."""
        return {"train_accuracy": self._right / max(self._positions, 1)}

    def state_dict(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {"right": self._right, "positions": self._positions, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state from `state_dict`.

        Args:
            state: a state from `state_dict`.
        """
        saved = state_of(AccuracyState, state)
        self._right = saved.right
        self._positions = saved.positions
        self.last = saved.last
