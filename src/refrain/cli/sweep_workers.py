"""Several workers of a sweep on this machine: processes that each run `refrain sweep FILE --worker`."""

import multiprocessing
import os
import signal
from collections.abc import Sequence
from types import FrameType
from typing import Any

from refrain.storage.machine import usable_cores


def run_workers(words: Sequence[str], count: int) -> None:
    """Start workers and wait for them. A signal is passed on, so that each saves a checkpoint and stops.

    Args:
        words: the command line of a worker.
        count: the number of workers.

    Raises:
        CheckpointError: when none of them has come to the end of the sweep; what each complains of was printed by it.
    """
    from refrain.errors import CheckpointError

    from .output import log

    if "OMP_NUM_THREADS" not in os.environ:
        os.environ["OMP_NUM_THREADS"] = str(max(1, usable_cores() // count))
    context = multiprocessing.get_context("spawn")
    processes: list[Any] = [context.Process(target=_work, args=(list(words),)) for _ in range(count)]
    # workers are not reached by the end of the terminal, either; nohup ignores it
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _hang_up)
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    except BaseException:
        _stop(processes)
        raise
    ended = [process.exitcode for process in processes]
    for process in processes:
        if process.exitcode:
            how = f"killed by {_name(-process.exitcode)}" if process.exitcode < 0 else f"status {process.exitcode}"
            log(f"worker {process.pid} has ended: {how}")
    if 0 not in ended:
        raise CheckpointError("every worker has ended before the sweep has; start the same command again to continue")


def _stop(processes: Sequence[Any]) -> None:
    """Send a signal to each worker, after which it saves a checkpoint, and wait; a second signal is passed on, too."""
    for process in processes:
        if process.is_alive():
            process.terminate()
    try:
        for process in processes:
            if process.pid is not None:
                process.join()
    except BaseException:
        _stop(processes)
        raise


def _hang_up(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _work(words: list[str]) -> None:
    from refrain.cli import run

    # Ctrl-C reaches a worker once, by way of the process that started it; a second signal would save no checkpoint
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    run(words)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
