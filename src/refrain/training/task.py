"""The task of a run (all that it trains with), and the position in a run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from refrain.data import Batches, Windows
from refrain.models import LanguageModel, Tagger
from refrain.optim import Schedule
from refrain.parallel import ALONE, Ranks
from refrain.progress import Track

from .loop import LossScale, Tally
from .methods import Methods
from .planned_end import Plan


class Validation(NamedTuple):
    """The result of a validation.

    Attributes:
        nats: the loss, summed over the tokens.
        tokens: the number of tokens.
        accuracy: for a tagger, the fraction of correct predictions, by which taggers are compared; None for a language
            model, as these are compared by their loss.
        span_f1: for a tagger whose tags mark spans, the F1 of the spans.
        by_f1: whether validations are compared by `span_f1`.
    """

    nats: float
    tokens: int
    accuracy: float | None = None
    span_f1: float | None = None
    by_f1: bool = False

    @property
    def judged(self) -> float:
        """Return the figure by which validations are compared, where less is better."""
        if self.by_f1 and self.span_f1 is not None:
            return 1 - self.span_f1
        return self.nats / self.tokens if self.accuracy is None else 1 - self.accuracy


@dataclass
class Task:
    """All that a run trains with; it is built again, with the same content, after every restart.

    Attributes:
        windows: returns the windows of an epoch, counted from 0; every call returns the same for the same epoch.
        validate: validates the model by the run's protocol; its arguments report the loop over the text, and are the
            ranks among which the text is split.
        sample: returns text sampled from the model with the given seed; None for no samples.
        methods: the methods that act on the run, in their order.
        validation_windows: the number of windows between validations within an epoch; None validates only at its end.
        sample_windows: the number of windows between samples within an epoch; None samples only at its end.
        carry_state: whether an epoch begins with the recurrent state at the end of the last one.
        accumulate: the number of windows whose gradients are averaged before each update.
        max_minutes: the time after which training ends with its schedule finished; None is after the last epoch.
        ranks: the processes that train the model together.
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
    validate: Callable[[Track, Ranks], Validation]
    sample: Callable[[int], str] | None = None
    methods: Methods = field(default_factory=Methods)
    log_windows: int = 100
    validation_windows: int | None = None
    sample_windows: int | None = None
    carry_state: bool = False
    checkpoint_minutes: float = 10.0
    accumulate: int = 1
    max_minutes: float | None = None
    ranks: Ranks = ALONE

    def between(self, windows: int | None) -> int:
        """Return a number of windows, rounded up to whole updates; 0 for None."""
        return -(-(windows or 0) // self.accumulate) * self.accumulate

    def initial_state(self) -> Any:
        """Return the state before the first token, of the columns that this rank computes."""
        columns = self.ranks.columns(self.batch_size)
        return self.model.initial_state(self.batch_size if columns is None else columns.number)


@dataclass
class Best:
    """The best validation so far.

    Attributes:
        nats_per_token: its loss.
        settled: whether all methods were settled; a settled validation is better than all others.
        judged: see `Validation.judged`; None in a checkpoint of an earlier version, which was compared by its loss.
    """

    epoch: int
    step: int
    nats_per_token: float
    settled: bool = True
    judged: float | None = None

    def rank(self) -> tuple[bool, float]:
        """Return a key by which validations are compared, where less is better: settled ones come before all others."""
        return not self.settled, self.nats_per_token if self.judged is None else self.judged


@dataclass
class Position:
    """The position in a run: everything that a restart needs besides tensors.

    Attributes:
        epoch: the number of finished epochs.
        window: the number of finished windows of the current epoch.
        step: the number of finished windows of the run.
        epoch_tally: the sums since the beginning of the epoch.
        line_tally: the sums since the last line of metrics.
        best: the best validation so far.
        stopped: whether a method has stopped the run before its last epoch.
        metrics_bytes: the length of the file of metrics.
        seconds: the time spent in training, over all restarts.
        spent_seconds: the same with validations, samples and checkpoints, for a run with a limit of time.
        plans: the decisions about the end of the run; the last one is in effect.
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
    spent_seconds: float = 0.0
    plans: list[Plan] = field(default_factory=list)

    @property
    def epochs_begun(self) -> int:
        """Return the number of epochs that have begun, of which the last may not have ended."""
        return self.epoch + (self.window > 0)

    def steps_of_epochs(self, windows: int, epochs: int) -> int:
        """Return the number of steps after all epochs, if those to come are as long as the current one.

        Args:
            windows: the number of windows of the current epoch.
            epochs: the number of epochs of the run.
        """
        return self.step + windows * (epochs - self.epoch) - self.window

    def steps_at_end(self, windows: int, epochs: int) -> int:
        """Return the number of steps at the end of the run: that of its plan, or `steps_of_epochs`."""
        return self.steps_of_epochs(windows, epochs) if self.plan is None else self.plan.end

    @property
    def plan(self) -> Plan | None:
        """Return the plan that is in effect; None if the run ends after its last epoch."""
        return self.plans[-1] if self.plans else None
