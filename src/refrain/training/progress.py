"""Progress on standard error while a run trains: a progress bar on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

from refrain.models.perplexity import perplexity
from refrain.progress import Bar, Lines, Reporter, duration, live_progress, perplexity_text
from refrain.storage.plain_text import errors_on_terminal, log_line, visible

from .task import Position

PLAIN_SECONDS = 10.0

LossText = Callable[[float], str]
"""Formats the loss, given in nats per token."""


class Progress(Protocol):
    """Reports the progress of a run to the user.

    Attributes:
        reports: reports steps besides training, such as a validation.
    """

    @property
    def reports(self) -> Reporter: ...

    def begin(self, loss_text: LossText) -> None:
        """Called before training with a function that formats the loss."""
        ...

    def window(self, position: Position, windows: int, epochs: int) -> None:
        """Called after each window."""
        ...

    def validated(self, record: dict[str, Any]) -> None:
        """Called after each validation with its line of metrics."""
        ...

    def log(self, line: str) -> None:
        """Called with a line of text about anything else."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Clock:
    """Estimates the speed and the remaining time from the windows of this process."""

    def __init__(self) -> None:
        self.loss_text: LossText = loss_text
        self._start: tuple[float, int] | None = None
        self._best = ""

    def validated(self, record: dict[str, Any]) -> None:
        """Keep the figure of a validation if it is the best so far."""
        if record["best"]:
            self._best = f"  best valid {valid_text(record)}"

    def describe(self, position: Position, windows: int, epochs: int) -> str:
        """The loss in this epoch, the best validation, tokens per second, and the time left for epoch and run."""
        now = time.monotonic()
        if self._start is None:
            self._start = now, position.step
        since, first = self._start
        tally = position.epoch_tally
        figure = self.loss_text(tally.nats / tally.tokens if tally.tokens else math.inf)
        if not self._best and position.best is not None:
            # the best validation was in an earlier process, whose metrics are not loaded
            self._best = f"  best valid {self.loss_text(position.best.nats_per_token)}"
        figure += self._best
        if position.step == first:
            return figure
        seconds = (now - since) / (position.step - first)
        rate = tally.tokens / max(position.window, 1) / seconds
        in_run = position.steps_at_end(windows, epochs) - position.step
        in_epoch = min(windows - position.window, in_run)
        left = f"{duration(seconds * in_run)} left"
        if in_epoch < in_run:
            left = f"{duration(seconds * in_epoch)} left in the epoch, {left}"
        return f"{figure}  {rate:,.0f} tokens/s  {left}"


def loss_text(nats_per_token: float, *, bytes_per_token: float | None = None, tagger: bool = False) -> str:
    """Format the loss in the unit that the lines of validations have.

    Args:
        nats_per_token: the loss.
        bytes_per_token: of the text; if given, bits/byte are added to the perplexity, or replace it where a token is a
            byte.
        tagger: whether the model is a tagger, for which the unit is nats/word.
    """
    if tagger:
        return f"{nats_per_token:.3f} nats/word"
    if bytes_per_token == 1:
        return f"{nats_per_token / math.log(2):.3f} bits/byte"
    bits = "" if bytes_per_token is None else f" ({nats_per_token / math.log(2) / bytes_per_token:.3f} bits/byte)"
    return f"perplexity {perplexity_text(perplexity(nats_per_token), 1)}{bits}"


class PlainProgress:
    """Prints a line at most every ten seconds, and one for each validation.

    Args:
        quiet: print nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._clock = Clock()
        self._logged_at = time.monotonic()
        self.reports = Reporter(None if quiet else Lines())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: there is nothing to close."""

    def begin(self, loss_text: LossText) -> None:
        """Set how the loss is printed."""
        self._clock.loss_text = loss_text

    def window(self, position: Position, windows: int, epochs: int) -> None:
        """Print a line if the last one is at least ten seconds old."""
        text = self._clock.describe(position, windows, epochs)
        if time.monotonic() - self._logged_at >= PLAIN_SECONDS:
            self._logged_at = time.monotonic()
            share = f"{position.window / windows:.0%}"
            self.log(f"epoch {position.epoch + 1}/{epochs}  window {position.window}/{windows} ({share})  {text}")

    def validated(self, record: dict[str, Any]) -> None:
        """Print a line with the figures."""
        self._clock.validated(record)
        self.log(epoch_line(record))

    def log(self, line: str) -> None:
        """Print a line on standard error."""
        if not self._quiet:
            log_line(line)


class LiveProgress:
    """Shows a progress bar, and prints a line above it for each validation."""

    def __init__(self) -> None:
        self._clock = Clock()
        self._live = live_progress()
        self._task: Any = None
        self.reports = Reporter(Bar(self._live))

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def begin(self, loss_text: LossText) -> None:
        """Set how the loss is shown."""
        self._clock.loss_text = loss_text

    def window(self, position: Position, windows: int, epochs: int) -> None:
        """Update the bar."""
        text = self._clock.describe(position, windows, epochs)
        what = f"epoch {position.epoch + 1}/{epochs} {position.window / windows:4.0%}"
        if self._task is None:
            self._task = self._live.add_task(text, total=windows, what=what)
        self._live.update(self._task, completed=position.window, total=windows, description=text, what=what)
        if position.window == windows or (position.plan is not None and position.step >= position.plan.end):
            # a step that is not training comes next
            self._live.remove_task(self._task)
            self._task = None

    def validated(self, record: dict[str, Any]) -> None:
        """Print a line with the figures above the bar, in green if they are the best so far."""
        self._clock.validated(record)
        self._print(epoch_line(record), style="green" if record["best"] else None)

    def log(self, line: str) -> None:
        """Print a line above the bar."""
        self._print(line)

    def _print(self, line: str, style: str | None = None) -> None:
        # rich leaves colours out where the terminal has none or NO_COLOR is set
        self._live.console.print(visible(line), style=style, markup=False, highlight=False, emoji=False)


def progress(*, quiet: bool = False) -> Progress:
    """Return a progress bar if standard error is a terminal, otherwise plain lines."""
    return LiveProgress() if errors_on_terminal() and not quiet else PlainProgress(quiet=quiet)


def valid_text(record: dict[str, Any]) -> str:
    """Format the deciding figure of a validation: accuracy, bits per byte where a token is a byte, or perplexity.

    Args:
        record: the line of metrics of the validation.
    """
    if "accuracy" in record:
        return f"{100 * record['accuracy']:.2f} %"
    return f"{record['bits_per_byte']:.3f}" if _of_bytes(record) else perplexity_text(record["perplexity"], 1)


def _of_bytes(record: dict[str, Any]) -> bool:
    """Whether a token is a byte, so that the perplexity says the same as the bits per byte."""
    bits = record.get("bits_per_byte")
    return bits is not None and bits == record["nats_per_token"] / math.log(2)


def epoch_line(record: dict[str, Any]) -> str:
    """Format a validation as a line; a star marks the best so far."""
    where = (
        f"epoch {record['epoch']}" if record["epoch_ended"] else f"epoch {record['epoch']} window {record['window']}"
    )
    bits = record.get("bits_per_byte")
    if _of_bytes(record):
        figures = f"train {record['train_bits_per_byte']:.4f}  valid {record['bits_per_byte']:.4f} bits/byte"
    elif "accuracy" in record:
        train, valid = record["train_nats_per_token"], record["nats_per_token"]
        figures = f"train {train:.4f}  valid {valid:.4f} nats/word  accuracy {100 * record['accuracy']:.2f} %"
    else:
        train, valid = perplexity_text(record["train_perplexity"]), perplexity_text(record["perplexity"])
        figures = f"train {train}  valid {valid}"
        figures += "" if bits is None else f" ({bits:.4f} bits/byte)"
    if "span_f1" in record:
        figures += f"  span F1 {100 * record['span_f1']:.2f} %"
    if "train_accuracy" in record:
        figures += f"  train accuracy {record['train_accuracy']:.2%}"
    if "sparsity" in record:
        figures += f"  zeros {record['sparsity']:.1%}"
    # a user's method may have a figure of this name
    if isinstance(record.get("units"), dict) and "compact_parameters" in record:
        units = "-".join(map(str, record["units"].values()))
        figures += f"  left {units} units, {record['compact_parameters']:,} parameters"
    return (
        f"{where}  {figures}{' *' if record['best'] else '  '}  last learning rate {record['learning_rate']:g}  "
        f"{duration(record['wall_seconds'])} since the start"
    )
