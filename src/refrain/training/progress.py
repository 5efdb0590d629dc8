"""Progress on standard error while a run trains: a progress bar on a terminal, plain lines elsewhere."""

import math
import time
from types import TracebackType
from typing import Any, Protocol, Self

from refrain.models.perplexity import perplexity
from refrain.storage.plain_text import errors_on_terminal, log_line, shown

from .task import Position

PLAIN_SECONDS = 10.0


class Progress(Protocol):
    """Reports the progress of a run to the user."""

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
        self._start: tuple[float, int] | None = None

    def describe(self, position: Position, windows: int, epochs: int) -> str:
        """Return perplexity, tokens per second and remaining time as a short text."""
        now = time.monotonic()
        if self._start is None:
            self._start = now, position.step
        since, first = self._start
        tally = position.epoch_tally
        figure = perplexity(tally.nats / tally.tokens) if tally.tokens else math.inf
        if position.step == first:
            return f"perplexity {figure:,.1f}"
        seconds = (now - since) / (position.step - first)
        rate = tally.tokens / max(position.window, 1) / seconds
        left = seconds * (windows * epochs - position.step)
        return f"perplexity {figure:,.1f}  {rate:,.0f} tokens/s  {duration(left)} left"


class PlainProgress:
    """Prints a line at most every ten seconds, and one for each validation.

    Args:
        quiet: print nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._clock = Clock()
        self._logged_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Do nothing: there is nothing to close."""

    def window(self, position: Position, windows: int, epochs: int) -> None:
        """Print a line if the last one is at least ten seconds old."""
        text = self._clock.describe(position, windows, epochs)
        if time.monotonic() - self._logged_at >= PLAIN_SECONDS:
            self._logged_at = time.monotonic()
            self.log(f"epoch {position.epoch + 1}/{epochs}  window {position.window}/{windows}  {text}")

    def validated(self, record: dict[str, Any]) -> None:
        """Print a line with the figures."""
        self.log(epoch_line(record))

    def log(self, line: str) -> None:
        """Print a line on standard error."""
        if not self._quiet:
            log_line(line)


class LiveProgress:
    """Shows a progress bar, and prints a line above it for each validation."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._clock = Clock()
        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task: Any = None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def window(self, position: Position, windows: int, epochs: int) -> None:
        """Update the bar."""
        text = self._clock.describe(position, windows, epochs)
        epoch = f"{position.epoch + 1}/{epochs}"
        if self._task is None:
            self._task = self._bar.add_task(text, total=windows, epoch=epoch)
        self._bar.update(self._task, completed=position.window, total=windows, description=text, epoch=epoch)

    def validated(self, record: dict[str, Any]) -> None:
        """Print a line with the figures above the bar."""
        self.log(epoch_line(record))

    def log(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(shown(line), markup=False, highlight=False, emoji=False)


def progress(*, quiet: bool = False) -> Progress:
    """Return a progress bar if standard error is a terminal, otherwise plain lines."""
    return LiveProgress() if errors_on_terminal() and not quiet else PlainProgress(quiet=quiet)


def epoch_line(record: dict[str, Any]) -> str:
    """Format a validation as a line; a star marks the best so far."""
    where = (
        f"epoch {record['epoch']}" if record["epoch_ended"] else f"epoch {record['epoch']} window {record['window']}"
    )
    if "bits_per_byte" in record:
        figures = f"train {record['train_bits_per_byte']:.4f}  valid {record['bits_per_byte']:.4f} bits/byte"
    elif "accuracy" in record:
        train, valid = record["train_nats_per_token"], record["nats_per_token"]
        figures = f"train {train:.4f}  valid {valid:.4f} nats/word  accuracy {100 * record['accuracy']:.2f} %"
    else:
        figures = f"train {record['train_perplexity']:,.2f}  valid {record['perplexity']:,.2f}"
    if "train_accuracy" in record:
        figures += f"  right in training {record['train_accuracy']:.2%}"
    return (
        f"{where}  {figures}{' *' if record['best'] else '  '}  learning rate {record['learning_rate']:g}  "
        f"{duration(record['wall_seconds'])}"
    )


def duration(seconds: float) -> str:
    """Format seconds as 45s, 3m05s or 2h07m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}m"
