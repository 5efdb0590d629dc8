"""The threads of a run on a CPU: as many as cores are free when it starts.

A thread that shares its core with another program makes all others wait: at each barrier they wait for the slowest.
"""

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from refrain.config import AnyExperiment
from refrain.errors import MachineError, quantity
from refrain.storage.machine import idle_cores, quota_cores, usable_cores

CHOSEN = "OMP_NUM_THREADS"
"""The environment variable with which a user chooses the number of threads."""
MOST_PER_CORE = 16
"""More threads than this for each core are a mistake, and many more cannot be started."""


@contextlib.contextmanager
def threads_for(
    experiment: AnyExperiment, log: Callable[[str], None], *, ranks: int = 1, before: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Any]]:
    """Let torch and the kernels use the threads of a run inside.

    Args:
        experiment: the settings of the run.
        log: called with a line of text about a choice.
        ranks: the number of processes; several of them keep their threads, which torch's launcher has set.
        before: the manifest of a run that is resumed, which keeps its number of threads; None for a new run.

    Yields:
        What the manifest says about the choice; nothing where there was none.
    """
    count = torch.get_num_threads()
    choice: dict[str, Any] = {}
    settings = experiment.training
    if settings.threads is not None:
        chosen = _requested(settings.threads, log)
    elif before is not None:
        chosen = min(count, int(before["threads"]))
    elif count == 1 or ranks > 1 or CHOSEN in os.environ:
        chosen = count
    else:
        chosen, choice = free_threads(count, fixed=settings.deterministic)
    if choice and chosen < count:
        log(f"threads {chosen} of {count}: {_reason(choice)}; training.threads={count} uses all")
    torch.set_num_threads(chosen)
    try:
        yield {"free_cores": choice} if choice else {}
    finally:
        torch.set_num_threads(count)


def _requested(threads: int, log: Callable[[str], None]) -> int:
    """The setting `training.threads`, unless it is far from what this machine has."""
    cores = usable_cores()
    if threads > MOST_PER_CORE * cores:
        raise MachineError(
            f"training.threads: {threads:,} are too many for {quantity(cores, 'core')}; "
            f"use at most {MOST_PER_CORE * cores}"
        )
    if threads > cores:
        log(f"threads {threads}: more than the {quantity(cores, 'core')} here, so that threads wait for each other")
    return threads


def free_threads(count: int, *, fixed: bool = False) -> tuple[int, dict[str, Any]]:
    """How many of some threads have a core of their own.

    Args:
        count: the largest number of threads.
        fixed: whether other programs are not looked at.

    Returns:
        The number, at least 1, and the figures that say so: the cores that may be used, the quota of the control group,
        and the cores that are idle.
    """
    quota, idle = quota_cores(), None if fixed else idle_cores()
    most = count if quota is None else min(count, max(1, math.floor(quota)))
    # a core that is busy half of the time or more is not free
    free = most if idle is None else min(most, max(1, math.floor(idle + 0.5)))
    figures = {"usable": usable_cores(), "quota": quota, "idle": None if idle is None else round(idle, 2)}
    return free, figures


def _reason(choice: Mapping[str, Any]) -> str:
    quota, idle, usable = choice["quota"], choice["idle"], choice["usable"]
    if idle is None or (quota is not None and quota < idle):
        return f"the control group allows the time of {quota:g} cores"
    return f"{idle:.1f} of {usable} cores were idle at the start"
