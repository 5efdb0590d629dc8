"""Reports of steps that take long, on standard error: a progress bar on a terminal, a line now and then elsewhere.

A function with a long loop takes a `Track` and wraps the items of the loop with it. The loop only counts; a thread
looks at the count and reports it. Nothing is printed about a step of less than two seconds.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any, Protocol, TypeVar

from refrain.storage.plain_text import errors_on_terminal, log_line, visible

Item = TypeVar("Item")

FIRST_SECONDS = 2.0
"""The time from the beginning of a step to the first line about it."""
NEXT_SECONDS = (8.0, 20.0, 30.0, 60.0)
"""The times between lines about a step; the last one repeats."""
BAR_SECONDS = 0.5
"""The time from the beginning of a step until its bar is shown."""
REFRESH_SECONDS = 0.2
LARGE = 1e6
"""From here on, perplexities are written in scientific notation."""


class Track(Protocol):
    """Wraps the items of a loop and reports how many of them are done."""

    def __call__(self, items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
        """The same items.

        Args:
            items: the items of the loop.
            what: what the loop does, such as `evaluating the test split`.
            total: the number of items; None if it is not known.
        """
        ...


def untracked(items: Iterable[Item], what: str, total: int | None = None) -> Iterable[Item]:
    """The `Track` that reports nothing.

    Args:
        items: the items of the loop, which are returned.
        what: what the loop does.
        total: the number of items.
    """
    return items


@dataclass
class Step:
    """A step of a command.

    Attributes:
        what: what the step does.
        total: the number of its items; None if it is not known.
        done: the number of finished items.
        started: the time at which it began, by the monotonic clock.
        ended: set at its end.
    """

    what: str
    total: int | None = None
    done: int = 0
    started: float = field(default_factory=lambda: time.monotonic())
    ended: threading.Event = field(default_factory=threading.Event)

    def figures(self) -> str:
        """The number of finished items, and the time that is left or has passed."""
        seconds = time.monotonic() - self.started
        if not self.done:
            return f"{duration(seconds)} so far"
        if self.total is None:
            return f"{self.done:,} in {duration(seconds)}"
        left = seconds / self.done * max(self.total - self.done, 0)
        return f"{self.done:,} of {self.total:,}, {duration(left)} left"


_WATCHED: dict[int, tuple[Step, threading.Thread]] = {}
"""The steps that are running, and the threads that watch them."""


class Display(Protocol):
    """Shows steps. Its methods are called by the thread that watches a step."""

    def pauses(self) -> Iterable[float]:
        """The seconds from the beginning of a step to the first call of `show`, and between the calls."""
        ...

    def show(self, step: Step) -> None:
        """Show the state of a step."""
        ...

    def hide(self, step: Step) -> None:
        """Called at the end of a step that was shown."""
        ...


class Lines:
    """Prints a line about a step after two seconds, and further lines at growing intervals."""

    def pauses(self) -> Iterable[float]:
        """The seconds from the beginning of a step to the first line, and between lines."""
        return chain([FIRST_SECONDS], NEXT_SECONDS, repeat(NEXT_SECONDS[-1]))

    def show(self, step: Step) -> None:
        """Print a line."""
        log_line(f"{step.what}: {step.figures()}")

    def hide(self, step: Step) -> None:
        """Do nothing: a line stays."""


class Bar:
    """Shows a progress bar on the terminal for each step.

    Args:
        progress: a live display of rich that already runs and is kept; None makes one that runs while steps are shown.
    """

    def __init__(self, progress: Any | None = None) -> None:
        self._progress = progress
        self._own = progress is None
        self._tasks: dict[int, Any] = {}

    def pauses(self) -> Iterable[float]:
        """The seconds from the beginning of a step to its bar, and between updates."""
        return chain([BAR_SECONDS], repeat(REFRESH_SECONDS))

    def show(self, step: Step) -> None:
        """Show or update the bar."""
        if self._progress is None:
            self._progress = live_progress()
        if self._own and not self._tasks:
            self._progress.start()
        text = step.figures()
        if id(step) not in self._tasks:
            self._tasks[id(step)] = self._progress.add_task(text, total=step.total, what=visible(step.what))
        self._progress.update(self._tasks[id(step)], completed=step.done, description=text, refresh=True)

    def hide(self, step: Step) -> None:
        """Remove the bar."""
        assert self._progress is not None
        self._progress.remove_task(self._tasks.pop(id(step)))
        if self._own and not self._tasks:
            self._progress.stop()


def live_progress() -> Any:
    """A live display of rich on standard error, whose tasks have a field `what` before the bar."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.fields[what]}", markup=False),
        BarColumn(),
        TextColumn("{task.description}", markup=False),
    )
    # standard output may be a file that receives the results
    return Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)


class Reporter:
    """Reports the steps of a command.

    Args:
        display: shows the steps; None reports nothing.
    """

    def __init__(self, display: Display | None) -> None:
        self._display = display

    def track(self, items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
        """Report a loop; this method is a `Track`.

        Args:
            items: the items of the loop.
            what: what the loop does.
            total: the number of items; None if it is not known.
        """
        with self.step(what, total) as step:
            for item in items:
                yield item
                step.done += 1

    @contextlib.contextmanager
    def step(self, what: str, total: int | None = None) -> Iterator[Step]:
        """Report a step while the body runs.

        Args:
            what: what the step does.
            total: the number of its items, which the body counts in `done`; None if it is not known.
        """
        step = Step(what, total)
        if self._display is None:
            yield step
            return
        thread = threading.Thread(target=watch, args=(step, self._display, step.ended.wait), daemon=True)
        _WATCHED[id(step)] = (step, thread)
        thread.start()
        try:
            yield step
        finally:
            _end(step)


def _end(step: Step) -> None:
    step.ended.set()
    _, thread = _WATCHED.pop(id(step), (step, None))
    if thread is not None:
        thread.join()


def end_reports() -> None:
    """End the reports of all steps, before the error that has ended them is printed.

    The generator of a loop that an exception has left is closed only when the exception is gone.
    """
    for step, _ in list(_WATCHED.values()):
        _end(step)


def watch(step: Step, display: Display, wait: Callable[[float], bool]) -> None:
    """Show a step until it ends.

    Args:
        step: the step.
        display: shows the step.
        wait: waits for the end of the step for at most so many seconds; returns whether it has ended.
    """
    shown = False
    # nothing can be reported any more if standard error was closed, and the command continues
    with contextlib.suppress(OSError, ValueError):
        for seconds in display.pauses():
            if wait(seconds):
                break
            display.show(step)
            shown = True
        if shown:
            display.hide(step)


def reporter(*, quiet: bool = False) -> Reporter:
    """A reporter with progress bars if standard error is a terminal, otherwise with lines.

    Args:
        quiet: report nothing.
    """
    if quiet:
        return Reporter(None)
    return Reporter(Bar() if errors_on_terminal() else Lines())


def timing_reports(reports: Reporter) -> Reporter:
    """The reporter of steps that measure speed: a bar would disturb them, and `interleaved` shows their rounds.

    Args:
        reports: the reporter of other steps.
    """
    return Reporter(None) if errors_on_terminal() else reports


def perplexity_text(value: float, digits: int = 2) -> str:
    """Format a perplexity with some digits after the point, and one of a million or more as 1.23e+91.

    Args:
        value: the perplexity, which may be infinite.
        digits: the digits after the point.
    """
    return f"{value:,.{digits}f}" if not LARGE <= value < math.inf else f"{value:.2e}"


def duration(seconds: float) -> str:
    """Format seconds as 45s, 3m05s or 2h07m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}m"
