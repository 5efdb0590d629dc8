"""Limits of time and memory for a call in this process, where the system has them."""

import contextlib
import pathlib
import signal
import time

try:
    import resource
except ImportError:
    resource = None

PATIENCE = 10
STATUS = pathlib.Path("/proc/self/statm")


class Exceeded(BaseException):
    """The body took too long; no `except Exception` of the code under test catches it."""


@contextlib.contextmanager
def time_limit(seconds):
    """Raise `Exceeded` in a body that computes for longer, or that takes `PATIENCE` times as long, waiting included.

    Processor time is limited, because other programs may keep a body waiting that would soon be done. An earlier timer
    continues afterwards.
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(number, frame):
        raise Exceeded(f"not done after {seconds} s")

    started = time.monotonic()
    handlers = {number: signal.signal(number, stop) for number in (signal.SIGALRM, signal.SIGPROF)}
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if remaining:
            signal.setitimer(signal.ITIMER_REAL, max(remaining - (time.monotonic() - started), 0.01), interval)


@contextlib.contextmanager
def memory_limit(megabytes):
    """Let allocations of a body fail beyond so many megabytes more than the process has now."""
    if resource is None or not STATUS.exists():
        yield
        return
    pages = int(STATUS.read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
