"""`refrain train --processes N`: starts N ranks on this machine, which train one model, and waits for them.

The ranks find each other by the environment variables that torch's own launcher, torchrun, sets as well.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from refrain.errors import LostRankError, UserError
from refrain.parallel.environment import are_started, is_restarted
from refrain.storage.machine import usable_cores
from refrain.storage.run_layout import SEEDS

from .output import follow

if TYPE_CHECKING:
    from refrain.config import AnyExperiment

PATIENCE = 45.0
"""Seconds that the other ranks have to leave when one of them has ended with an error."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
POLL = 0.1


def run_processes(count: int, words: Sequence[str]) -> int:
    """Run a command in several ranks, and wait for all of them.

    Args:
        count: the number of ranks.
        words: the words of the command, without `--processes`.

    Returns:
        The exit status: that of rank 0, or of the first rank that failed where rank 0 was killed.

    Raises:
        UserError: when the number is not positive, or this process is a rank itself.
    """
    check_count(count)
    environment = dict(os.environ) | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
    }
    environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // count)))
    if sys.platform == "linux":
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    command = [sys.executable, "-m", "refrain", *words]
    ranks: list[subprocess.Popen[Any]] = []
    with _passing_signals(ranks) as received:
        try:
            for rank in range(count):
                if received:
                    break
                each = environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
                # a session of its own, so that Ctrl-C reaches a rank once, by way of this process
                ranks.append(subprocess.Popen(command, env=each, start_new_session=True))
            # before all have started, nothing was begun that could be saved
            return _status_of(received[0]) if received else _wait(ranks, received)
        finally:
            for process in ranks:
                if process.poll() is None:
                    process.kill()
                    process.wait()


def check_count(count: int) -> None:
    """Check that a number of ranks can be started here.

    Raises:
        UserError: when the number is not positive, or this process is a rank itself.
    """
    if count < 1:
        raise UserError(f"--processes must be at least 1 (got {count})")
    if "RANK" in os.environ:
        raise UserError("--processes: torchrun has started several processes already; leave the option out")


def without_option(words: Sequence[str]) -> list[str]:
    """Remove `--processes N` from the words of a command.

    Args:
        words: the words.
    """
    kept: list[str] = []
    skip = False
    for word in words:
        if not skip and word != "--processes" and not word.startswith("--processes="):
            kept.append(word)
        skip = word == "--processes"
    return kept


def as_ranks(processes: int | None, out: Path | None, series: int | None) -> bool:
    """Prepare to be a rank, or to start ranks.

    Args:
        processes: the number of ranks to start; None starts none.
        out: the run folder, if it was given.
        series: the number of runs of a series, if one was asked for.

    Returns:
        Whether torchrun has started this rank again, so that it goes on with its run.
    """
    if processes is not None:
        check_count(processes)
        # rank 0 prints what this process has to say
        follow()
    check_ranks(out, series, several=processes is not None)
    return is_restarted()


def start_ranks(processes: int | None, experiment: "AnyExperiment | None") -> None:
    """Start the ranks of a run whose settings are known to be good, and end with their status.

    Args:
        processes: the number of ranks to start; None starts none.
        experiment: the settings; None where they are those of the run that is resumed.

    Raises:
        UserError: when there are more ranks than sequences in a batch.
    """
    if processes is None:
        return
    if experiment is not None and experiment.training.batch_size < processes:
        raise UserError(
            f"--processes {processes} is more than training.batch_size ({experiment.training.batch_size}), of which "
            "each process needs at least one sequence; start fewer processes, or raise training.batch_size"
        )
    raise SystemExit(run_processes(processes, without_option(sys.argv[1:])))


def check_ranks(out: Path | None, series: int | None, *, several: bool = False) -> None:
    """Check what several processes that train one model need.

    Args:
        out: the run folder, if it was given.
        series: the number of runs of a series, if one was asked for.
        several: whether this process starts several ranks; otherwise it may be one of them.

    Raises:
        UserError: when there is a series, or torchrun may restart the processes without a run folder to continue.
    """
    several |= are_started()
    if not several:
        return
    if series is not None or (out is not None and (out / SEEDS).is_file()):
        raise UserError(
            "--seeds and --folds train several models, but these processes train one; start a process for each run"
        )
    if out is None and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        raise UserError("--max-restarts needs a run that can be found again: refrain train ... --out RUN")


def _status_of(number: int) -> int:
    """The exit status after a signal: 130 after Ctrl-C, 143 after SIGTERM and SIGUSR1."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


def _wait(ranks: Sequence[subprocess.Popen[Any]], received: Sequence[int]) -> int:
    """Wait for all ranks, and end those that do not leave after another one has failed.

    Args:
        ranks: the ranks.
        received: the signals that this process has passed on.
    """
    failed: list[int] = []
    deadline: float | None = None
    while any(process.poll() is None for process in ranks):
        for rank, process in enumerate(ranks):
            if process.poll() and rank not in failed:
                failed.append(rank)
                deadline = deadline or time.monotonic() + PATIENCE
        # a rank that has not begun to heed signals is ended by one, and the others would wait for it
        ended_by_it = bool(received) and ranks[0].returncode == -received[0]
        if ended_by_it or (deadline is not None and time.monotonic() > deadline):
            for process in ranks:
                if process.poll() is None:
                    # a stopped process can be killed, but not asked
                    process.kill()
        time.sleep(POLL)
    statuses = [process.returncode for process in ranks]
    if received and statuses[0] == -received[0]:
        return _status_of(received[0])
    if statuses[0] >= 0:
        return statuses[0] or max(0, *statuses[1:], *(LostRankError.exit_status * (each < 0) for each in statuses))
    return next((statuses[rank] for rank in failed if statuses[rank] > 0), LostRankError.exit_status)


@contextlib.contextmanager
def _passing_signals(ranks: Sequence[subprocess.Popen[Any]]) -> Iterator[list[int]]:
    """Pass the first signal to one rank, with which all of them stop, and a second one to every rank.

    Yields:
        The signals that were received so far.
    """
    received: list[int] = []

    def passed(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for process in ranks[: 1 if len(received) == 1 else None]:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, passed) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
