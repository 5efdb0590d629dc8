"""The speed of training beside another busy program, by one thread and by several."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from refrain.config import Experiment
from refrain.errors import UserError
from refrain.runs.threads import free_threads

from .timing import interleaved, rows_against
from .train import random_windows, trainer

ALONE, BUSY = "alone", "beside a busy program"


def bench_load(experiment: Experiment, *, windows: int, repeats: int) -> list[dict[str, Any]]:
    """Measure training by one thread and by all threads, alone and while another program keeps a core busy.

    In the last row the threads are as many as a run would choose beside that program.

    Args:
        experiment: its model and training settings are used.
        windows: the number of windows in a timed call.
        repeats: the number of timed calls of each candidate.

    Returns:
        A row for each candidate, compared with one thread alone.

    Raises:
        UserError: when there is one thread only, or programs cannot be stopped on this system.
    """
    threads = torch.get_num_threads()
    if threads < 2:
        raise UserError("bench load compares one thread with several; unset OMP_NUM_THREADS, or give it 2 or more")
    if not hasattr(signal, "SIGSTOP"):
        raise UserError("bench load stops a program and lets it continue, which this system cannot")
    settings = experiment.training
    text = random_windows(windows, settings.window_steps, settings.batch_size, torch.device("cpu"))
    with _busy_program() as let_it_run:
        candidates = {
            f"{count} thread{'s' * (count > 1)}, {where}": _training(experiment, text, count, where == BUSY, let_it_run)
            for where in (ALONE, BUSY)
            for count in (1, threads)
        }
        let_it_run(True)
        chosen, _ = free_threads(threads)
        let_it_run(False)
        name = f"as a run chooses, {chosen} thread{'s' * (chosen > 1)}, {BUSY}"
        candidates[name] = _training(experiment, text, chosen, True, let_it_run)
        seconds = interleaved(candidates, repeats=repeats)
    torch.set_num_threads(threads)
    tokens = windows * settings.window_steps * settings.batch_size
    return rows_against(next(iter(candidates)), seconds, tokens, "tokens/s")


def _training(
    experiment: Experiment, text: Any, threads: int, is_busy: bool, let_it_run: Callable[[bool], None]
) -> Callable[[], None]:
    # a run measures its backends with the threads that it uses
    torch.set_num_threads(threads)
    train = trainer(experiment.model, experiment.training, text)

    def run() -> None:
        torch.set_num_threads(threads)
        let_it_run(is_busy)
        train()
        let_it_run(False)

    return run


@contextlib.contextmanager
def _busy_program() -> Iterator[Callable[[bool], None]]:
    """A program that keeps a core busy while it is let run; it is stopped at first."""
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL)
    try:

        def let_it_run(runs: bool) -> None:
            os.kill(program.pid, signal.SIGCONT if runs else signal.SIGSTOP)

        let_it_run(False)
        yield let_it_run
    finally:
        program.kill()
        program.wait()
