"""The standard streams of a command.

What goes to a pipe or a file is UTF-8 with newlines as line ends, on every platform and in every locale. A closed
stream is the null device. What cannot be written to standard error is lost, and the command continues.
"""

import io
import os
import select
import shutil
import sys
from typing import Any, TextIO

LEAST_COLUMNS = 20


class ReaderLeft(Exception):
    """Raised when the reader of standard output has ended, as in `refrain generate ... | head`.

    It is not an `OSError`, because some libraries end the process at a `BrokenPipeError`, with a status of their own.
    """


# FileIO is inherited from because a text stream writes to an object of this kind only
class _Output(io.FileIO):
    """Standard output as bytes; its errors name it."""

    def write(self, data: Any) -> int:
        try:
            return _write(self, data)
        except BrokenPipeError:
            raise ReaderLeft from None
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from None


class _Errors(io.FileIO):
    """Standard error as bytes; what cannot be written is lost."""

    def write(self, data: Any) -> int:
        try:
            return _write(self, data)
        except OSError:
            return len(data)


def _write(file: io.FileIO, data: Any) -> int:
    """Write what can be written at once, after waiting for room; returns the number of bytes."""
    count: int | None = io.FileIO.write(file, data)
    while count is None:
        # another program that has the same pipe or terminal has made it non-blocking, and it is full
        select.select([], [file.fileno()], [])
        count = io.FileIO.write(file, data)
    return count


def open_streams() -> None:
    """Prepare the standard streams of this process. Streams that somebody has replaced are left as they are."""
    _occupy_closed()
    if shutil.get_terminal_size().columns < LEAST_COLUMNS:
        # rich does not end where a table has no room
        os.environ["COLUMNS"] = str(LEAST_COLUMNS)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _text(1, sys.stdout, _Output)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(2, sys.stderr, _Errors)


def flush_output() -> None:
    """Write what is left of the output, or drop it, so that Python has nothing to write when it exits."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ReaderLeft):
        drop_output()


def drop_output() -> None:
    """Let standard output be the null device from here on, so that nothing waits for its reader."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _occupy_closed() -> None:
    """Open the null device in place of closed standard streams, so that no file that is opened later becomes one."""
    for handle in (0, 1, 2):
        try:
            os.fstat(handle)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            # processes that are started from this one have streams, too
            os.dup2(null, handle, inheritable=True) if null != handle else os.set_inheritable(null, True)
            if null != handle:
                os.close(null)


def _text(handle: int, stream: TextIO | None, kind: type[_Output] | type[_Errors]) -> TextIO:
    """A text stream that writes to one of the standard streams."""
    if isinstance(stream, io.TextIOWrapper):
        stream.flush()
    terminal = os.isatty(handle)
    if terminal and os.name == "nt" and isinstance(stream, io.TextIOWrapper):
        # the console of Windows takes text by a way of its own
        stream.reconfigure(errors="replace")
        return stream
    encoding = stream.encoding if terminal and stream is not None else "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(kind(handle, "wb", closefd=False)),
        encoding=encoding,
        errors="backslashreplace" if encoding.lower().replace("-", "") == "utf8" else "replace",
        newline=None if terminal else "\n",
        line_buffering=terminal or kind is _Errors,
        write_through=getattr(stream, "write_through", False),
    )
