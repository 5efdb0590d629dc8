"""The limits and counters of the operating system for this process, where it reports them."""

import contextlib
import os
import re
import socket
import sys
import time
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


def quota_cores(root: Path = Path("/")) -> float | None:
    """How many cores' time the control groups of this process allow, as for a container; None without a limit.

    Args:
        root: of the file system.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    limits = []
    for line in groups:
        _, kinds, path = line.split(":", 2)
        if not kinds:
            limits += [_v2_limit(folder) for folder in _upwards(root / "sys/fs/cgroup", path)]
        elif "cpu" in kinds.split(","):
            limits += [_v1_limit(folder) for folder in _upwards(root / "sys/fs/cgroup/cpu", path)]
    return min((limit for limit in limits if limit), default=None)


def _upwards(root: Path, path: str) -> list[Path]:
    """The folder of a control group and those above it. Inside a container, that of the group is the root itself."""
    parts = [part for part in path.split("/") if part and part != ".."]
    return [root.joinpath(*parts[:count]) for count in range(len(parts), -1, -1)]


def _v2_limit(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _v1_limit(folder: Path) -> float | None:
    try:
        quota, period = (
            int((folder / f"cpu.cfs_{name}_us").read_text(encoding="ascii")) for name in ("quota", "period")
        )
        return quota / period if quota > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


def idle_cores(seconds: float = 0.2, root: Path = Path("/")) -> float | None:
    """How many of the cores that this process may use are idle, while it waits; None where the system does not tell.

    What runs with a lower priority than this process counts as idle.

    Args:
        seconds: how long it waits.
        root: of the file system.
    """
    before = _core_times(root)
    if before is None:
        # the processes that were ready to run in the last minute
        return max(0.0, usable_cores() - os.getloadavg()[0]) if hasattr(os, "getloadavg") else None
    time.sleep(seconds)
    after = _core_times(root) or before
    idle = 0.0
    for core, (free, all_times) in after.items():
        was_free, was_all = before.get(core, (0, 0))
        # a core that has counted nothing was idle
        idle += (free - was_free) / (all_times - was_all) if all_times > was_all else 1.0
    return idle


def _core_times(root: Path) -> dict[int, tuple[int, int]] | None:
    """Of each core that this process may use the time in which it was free, and all time; None where not known."""
    try:
        lines = (root / "proc/stat").read_text(encoding="ascii").splitlines()
        own = os.sched_getaffinity(0)
        is_nice = os.nice(0) > 0
    except (OSError, AttributeError):
        return None
    found = {}
    for name, *words in (line.split() for line in lines if re.match(r"cpu\d+ ", line)):
        if (core := int(name.removeprefix("cpu"))) in own:
            # user, nice, system, idle, waiting for a disk, interrupts in two parts, stolen by other machines
            times = [int(word) for word in words[:8]]
            found[core] = times[3] + times[4] + (0 if is_nice else times[1]), sum(times)
    return found or None


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
