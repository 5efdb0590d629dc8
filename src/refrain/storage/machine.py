"""The limits and counters of the operating system for this process, where it reports them."""

import contextlib
import os
import socket
import sys
from pathlib import Path

FEW_FILES = 256
"""Open files that every system allows: macOS has this as its default, Windows 512."""


def open_files_limit() -> int | None:
    """How many files this process may have open at a time; None where there is no limit."""
    try:
        import resource
    except ModuleNotFoundError:
        return FEW_FILES
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if allowed == resource.RLIM_INFINITY else allowed


def usable_cores() -> int:
    """The cores that this process may use, of which a batch system may give it a few only."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def peak_memory_bytes() -> int | None:
    """The largest memory that this process has used so far; None on systems that do not count it, such as Windows."""
    try:
        import resource
    except ModuleNotFoundError:
        return None
    # macOS counts bytes, other systems count KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine_name() -> str:
    """A name of this machine since it was started, which no other machine has where the system can tell."""
    started = ""
    with contextlib.suppress(OSError):
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{socket.gethostname()} {started}".strip()
