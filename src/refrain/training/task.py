"""What a run trains with, and where it stands."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch

from refrain.data import Batches, Windows
from refrain.models import LanguageModel, Tagger
from refrain.optim import EarlyStop, Schedule, TriggeredAveraging

from .accuracy import TrainingAccuracy
from .hooks import Hooks
from .loop import LossScale, Tally
from .sparsifier import Sparsifier


class Stateful(Protocol):
    """Something that changes during a run and must survive a restart. Plain data and tensors, nested."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Validation(NamedTuple):
    """What a validation found.

    Attributes:
        nats: summed over the tokens.
        tokens: how many there were.
        accuracy: the share of them that were told right, for a tagger, which is judged by it; None for a language
            model, which is judged by its loss.
    """

    nats: float
    tokens: int
    accuracy: float | None = None

    @property
    def judged(self) -> float:
        """What makes one validation better than another: less of this."""
        return self.nats / self.tokens if self.accuracy is None else 1 - self.accuracy


@dataclass
class Task:
    """All that a run trains with; built once, the same after every restart.

    Attributes:
        windows: the windows of an epoch, counted from 0; the same for the same epoch at every call.
        validate: what the validation text costs, by the run's protocol.
        averaging: keeps the mean of the weights, which is then what is evaluated and saved for use.
        early_stop: says when to stop before the last epoch.
        validation_windows: validate also after so many windows of an epoch; None for at its end alone.
        sample_windows: draw samples also after so many windows of an epoch; None for at its end alone.
        carry_state: an epoch begins with the state in which the last one ended.
        sample: text drawn from the model with the given seed, or None for no samples.
        sparsifier: makes weights zero.
        accuracy: counts what of the training text is right.
        stateful: what else changes during the run, by name; the schedule is among them.
    """

    model: LanguageModel | Tagger
    optimizer: torch.optim.Optimizer
    windows: Callable[[int], Windows | Batches]
    batch_size: int
    schedule: Schedule
    learning_rate: float
    epochs: int
    loss_scale: LossScale
    max_norm: float | None
    validate: Callable[[], Validation]
    sample: Callable[[int], str] | None = None
    averaging: TriggeredAveraging | None = None
    early_stop: EarlyStop | None = None
    hooks: Hooks = field(default_factory=Hooks)
    sparsifier: Sparsifier | None = None
    accuracy: TrainingAccuracy | None = None
    stateful: dict[str, Stateful] = field(default_factory=dict)
    log_windows: int = 100
    validation_windows: int | None = None
    sample_windows: int | None = None
    carry_state: bool = False
    checkpoint_minutes: float = 10.0

    def figures(self) -> dict[str, Any]:
        """What belongs into a line of metrics besides the loss."""
        parts = (self.sparsifier, self.accuracy)
        return {name: value for part in parts if part is not None for name, value in part.figures().items()}

    def settled(self) -> bool:
        """Whether the model has the size that the run was asked for."""
        return self.sparsifier is None or self.sparsifier.settled

    def weights_for_use(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the model has the weights to evaluate and to save for use: the mean, where there is one."""
        return contextlib.nullcontext() if self.averaging is None else self.averaging.mean_weights()


@dataclass
class Best:
    """The best validation so far.

    Attributes:
        nats_per_token: its loss.
        settled: whether the model had the size that the run was asked for; one that has beats one that has not.
        judged: see `Validation.judged`; None in a checkpoint of an earlier version, whose loss it is.
    """

    epoch: int
    step: int
    nats_per_token: float
    settled: bool = True
    judged: float | None = None

    def rank(self) -> tuple[bool, float]:
        """Smaller is better: models of the size that was asked for before all others."""
        return not self.settled, self.nats_per_token if self.judged is None else self.judged


@dataclass
class Position:
    """Where a run stands: everything that a restart needs besides tensors.

    Attributes:
        epoch: finished epochs.
        window: finished windows of the epoch in progress.
        step: finished windows of the run.
        epoch_tally: since the epoch began.
        line_tally: since the last line of metrics.
        best: the best validation so far.
        stopped: whether the run ended before its last epoch.
        metrics_bytes: how long the file of metrics was.
        seconds: time spent in training, over all restarts.
    """

    epoch: int = 0
    window: int = 0
    step: int = 0
    epoch_tally: Tally = field(default_factory=Tally)
    line_tally: Tally = field(default_factory=Tally)
    best: Best | None = None
    stopped: bool = False
    metrics_bytes: int = 0
    seconds: float = 0.0
