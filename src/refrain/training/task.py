"""What a run trains with, and where it stands."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from refrain.data import Batches, Windows
from refrain.models import LanguageModel, Tagger
from refrain.optim import Schedule

from .loop import LossScale, Tally
from .methods import Methods


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
        sample: text drawn from the model with the given seed, or None for no samples.
        methods: what acts on the run, in the order in which it acts.
        validation_windows: validate also after so many windows of an epoch; None for at its end alone.
        sample_windows: draw samples also after so many windows of an epoch; None for at its end alone.
        carry_state: an epoch begins with the state in which the last one ended.
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
    methods: Methods = field(default_factory=Methods)
    log_windows: int = 100
    validation_windows: int | None = None
    sample_windows: int | None = None
    carry_state: bool = False
    checkpoint_minutes: float = 10.0


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
