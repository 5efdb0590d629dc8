"""Signals that end a program, and that end it wherever they come.

A handler in Python ends a program by raising an exception in the code that runs just then. In a finalizer, and in some
places of compiled libraries, such as checks of types while pydantic validates settings, exceptions are dropped: the
signal would be lost.
"""

import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

# seconds after which a signal is sent again
LATER = 0.01


def send_dropped_signals_again() -> None:
    """Send a signal again when the exception of its handler was dropped, and print nothing about the exception.

    The exception is `KeyboardInterrupt`, or `SystemExit` with the status of a program that a signal has ended. Changes
    `sys.unraisablehook`; other exceptions still go to the hook that was there before.
    """
    if not isinstance(sys.unraisablehook, _SendAgain):
        sys.unraisablehook = _SendAgain(sys.unraisablehook)


def signal_main_thread(number: int) -> None:
    """Send a signal to the main thread of this process, so that it interrupts a system call there.

    Args:
        number: the number of the signal.
    """
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


class _SendAgain:
    def __init__(self, before: Callable[["UnraisableHookArgs"], object]) -> None:
        self._before = before

    def __call__(self, dropped: "UnraisableHookArgs", /) -> None:
        """Handle an exception that was dropped."""
        number = _signal_of(dropped.exc_value)
        if number is None:
            self._before(dropped)
            return
        # not at once: the exception would be raised in this hook, and be dropped, too
        timer = threading.Timer(LATER, signal_main_thread, [number])
        timer.daemon = True
        timer.start()


def _signal_of(error: BaseException | None) -> int | None:
    if isinstance(error, KeyboardInterrupt):
        return signal.SIGINT
    if not isinstance(error, SystemExit) or not isinstance(error.code, int):
        return None
    number = error.code - 128
    # a program may end with such a status by itself, also with that of a signal which no handler can have raised
    return number if number in signal.valid_signals() and callable(signal.getsignal(number)) else None
