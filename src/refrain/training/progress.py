"""What a user sees while a run trains: a live line on a terminal, plain lines elsewhere. All on standard error."""

import math
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self

from refrain.models.perplexity import perplexity

from .task import Position

PLAIN_SECONDS = 10.0


class Progress(Protocol):
    """Is told what happens."""

    def window(self, position: Position, windows: int, epochs: int) -> None:
        """A window was trained."""
        ...

    def validated(self, record: dict[str, Any]) -> None:
        """The model was validated; `record` is its line of metrics."""
        ...

    def log(self, line: str) -> None:
        """Anything else."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Clock:
    """Windows per second of this process, and what is left."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None

    def describe(self, position: Position, windows: int, epochs: int) -> str:
        """Perplexity, rate and time left, in a few words."""
        now = time.monotonic()
        if self._start is None:
            self._start = now, position.step
        since, first = self._start
        tally = position.epoch_tally
        shown = perplexity(tally.nats / tally.tokens) if tally.tokens else math.inf
        if position.step == first:
            return f"perplexity {shown:,.1f}"
        seconds = (now - since) / (position.step - first)
        rate = tally.tokens / max(position.window, 1) / seconds
        left = seconds * (windows * epochs - position.step)
        return f"perplexity {shown:,.1f}  {rate:,.0f} tokens/s  {duration(left)} left"


class PlainProgress:
    """A line at most every ten seconds, and one an epoch.

    Args:
        quiet: say nothing but what went wrong.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._clock = Clock()
        self._logged_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing to close."""

    def window(self, position: Position, windows: int, epochs: int) -> None:
        """A line when the last one is ten seconds old."""
        text = self._clock.describe(position, windows, epochs)
        if time.monotonic() - self._logged_at >= PLAIN_SECONDS:
            self._logged_at = time.monotonic()
            self.log(f"epoch {position.epoch + 1}/{epochs}  window {position.window}/{windows}  {text}")

    def validated(self, record: dict[str, Any]) -> None:
        """A line."""
        self.log(epoch_line(record))

    def log(self, line: str) -> None:
        """A line on standard error."""
        if not self._quiet:
            print(line, file=sys.stderr, flush=True)


class LiveProgress:
    """A bar that moves, with a line above it for each epoch."""

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
        """Move the bar."""
        text = self._clock.describe(position, windows, epochs)
        epoch = f"{position.epoch + 1}/{epochs}"
        if self._task is None:
            self._task = self._bar.add_task(text, total=windows, epoch=epoch)
        self._bar.update(self._task, completed=position.window, total=windows, description=text, epoch=epoch)

    def validated(self, record: dict[str, Any]) -> None:
        """A line above the bar."""
        self.log(epoch_line(record))

    def log(self, line: str) -> None:
        """A line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False)


def progress(*, quiet: bool = False) -> Progress:
    """The progress that suits standard error."""
    return LiveProgress() if sys.stderr.isatty() and not quiet else PlainProgress(quiet=quiet)


def epoch_line(record: dict[str, Any]) -> str:
    """A validation in a line; a star marks the best so far."""
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
    """Seconds as 45s, 3m05s or 2h07m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}m"
