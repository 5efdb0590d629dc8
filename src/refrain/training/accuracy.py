"""How much of the training text a model knows by heart: the share of positions whose most likely word is right.

Demeester et al. (2018), Predefined Sparseness in Recurrent Sequence Models, section 4: a model that learns to recite.

T steps in the window, B sequences, V words in the vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import torch

from refrain.optim import Verdict

from .hooks import Window

ROWS = 500
"""Positions whose distribution is held at once."""


class TrainingAccuracy:
    """Counts right positions during an epoch, each window before the step that it makes.

    Args:
        stop_at: share of right positions at which training may end; None for no end.
    """

    def __init__(self, stop_at: float | None = None) -> None:
        self._stop_at = stop_at
        self._right = self._positions = 0
        self.last = 0.0
        """Share of the last whole epoch."""

    def before_step(self, window: Window) -> None:
        """Count a window.

        Args:
            window: with the outputs that its loss was made of.
        """
        with torch.no_grad():
            hidden = window.outputs.dropped.flatten(0, 1).split(ROWS)
            for rows, targets in zip(hidden, window.targets.flatten().split(ROWS), strict=True):
                predicted = window.model.head.log_probabilities(rows).argmax(-1)  # type: ignore[operator, union-attr]
                self._right += int((predicted == targets).sum())
                self._positions += len(targets)

    def validated(self, record: Mapping[str, Any]) -> Verdict:
        """An epoch is over: keep its share, begin to count anew, and stop the run where the share is reached.

        Args:
            record: of the epoch's validation; not looked at.
        """
        self.last = self._right / max(self._positions, 1)
        self._right = self._positions = 0
        return Verdict(stop=self._stop_at is not None and self.last >= self._stop_at)

    def metrics(self) -> dict[str, Any]:
        """The share since the epoch began."""
        return {"train_accuracy": self._right / max(self._positions, 1)}

    def state_dict(self) -> dict[str, Any]:
        """The counts, as plain data."""
        return {"right": self._right, "positions": self._positions, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave.

        Args:
            state: as from `state_dict`.
        """
        self._right, self._positions, self.last = int(state["right"]), int(state["positions"]), float(state["last"])
