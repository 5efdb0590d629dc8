"""Stopping on a signal: the run finishes its window, saves a checkpoint and stops. A second signal kills it."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""The signals that stop a run in order. Batch systems announce the end of a job with SIGUSR1, which Windows lacks."""


class Interrupted(BaseException):
    """Raised after a signal, Ctrl-C included, when the run has saved a checkpoint.

    It is a `BaseException`, as it is a wish of the user and no error: an `except Exception` that goes on with the next
    run does not catch it. It is no `KeyboardInterrupt`, since SIGTERM and SIGUSR1 raise it too. Catch it by its name,
    `refrain.training.Interrupted`. Its text says where the run has stopped and how it is continued, and
    `sys.exit(stopped.exit_status)` ends a program with the status of a stopped command.

    Attributes:
        signal_number: the number of the signal.
        message: where the run has stopped.
    """

    def __init__(self, signal_number: int, message: str, resume: str = "") -> None:
        super().__init__(f"{message}; continue with: {resume}" if resume else message)
        self.signal_number = signal_number
        self.message = message

    def resumed_by(self, command: str) -> "Interrupted":
        """Return a copy that names another command to continue with, for example if the run is one of several.

        Args:
            command: the command; if it is empty, that of the run is kept.
        """
        return Interrupted(self.signal_number, self.message, command) if command else self

    @property
    def exit_status(self) -> int:
        """Return the exit status by the convention of shells: 130 after Ctrl-C, 143 after SIGTERM and SIGUSR1."""
        return 128 + (signal.SIGINT if self.signal_number == signal.SIGINT else signal.SIGTERM)


class Interrupt:
    """A context manager that records SIGINT, SIGTERM and SIGUSR1, and restores their handlers at its end.

    If the body does not end because of a recorded signal, for example one that came after its last check, the signal is
    sent again.

    It does nothing outside the main thread, where Python does not allow signal handlers.

    Args:
        log: called with a line of text when a signal comes.
    """

    def __init__(self, log: Callable[[str], None] = lambda line: None) -> None:
        self._log = log
        self.signal_number: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._notice) for number in SIGNALS}
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.signal_number is not None and not isinstance(error, Interrupted | SystemExit | KeyboardInterrupt):
            signal.raise_signal(self.signal_number)

    def _notice(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number
        for each in SIGNALS:
            signal.signal(each, self._kill)
        again = "press Ctrl-C again" if number == signal.SIGINT else "send a second signal"
        self._say(f"the run stops after this window and saves a checkpoint; to stop at once without one, {again}")

    def _kill(self, number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        self._say("the run stops at once; the checkpoints that it has saved are whole")
        os.kill(os.getpid(), number)

    def _say(self, line: str) -> None:
        # a signal that comes while a line is being printed cannot print another one
        with contextlib.suppress(RuntimeError):
            self._log(line)
