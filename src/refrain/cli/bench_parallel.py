"""`refrain bench parallel`: one process against several that train the same model."""

import os
import sys
from typing import Any

from refrain.errors import UserError
from refrain.parallel.environment import is_first

from .bench_table import table_of
from .output import log, print_json
from .processes import run_processes, without_option


def bench_parallel(
    recipe: str, experiment: Any, windows: int, repeats: int, processes: int | None, device: str, *, json: bool
) -> None:
    """Start the processes, or measure as one of them.

    Args:
        recipe: the name of the recipe.
        experiment: its settings.
        windows: the number of windows of a timed call.
        repeats: the number of timed calls.
        processes: the number of processes; None is one for each core.
        device: the device that was asked for.
        json: whether to print JSON.

    Raises:
        UserError: when there are too few processes, or more than columns, or the device is no CPU.
    """
    if device == "cuda":
        raise UserError("--device: bench parallel measures on CPUs only")
    if "RANK" not in os.environ:
        count = processes or os.cpu_count() or 1
        if not 2 <= count <= experiment.training.batch_size:
            raise UserError(
                f"--processes must be from 2 to training.batch_size, {experiment.training.batch_size} (got {count})"
            )
        raise SystemExit(run_processes(count, without_option(sys.argv[1:])))
    import torch

    from refrain.bench.parallel import bench_parallel as measure
    from refrain.parallel import joined
    from refrain.progress import reporter, timing_reports

    with joined() as ranks:
        threads = torch.get_num_threads()
        each = f"{threads} thread{'s' * (threads > 1)} each"
        if is_first():
            amount = f"{repeats} repeat{'s' * (repeats > 1)} of {windows} window{'s' * (windows > 1)}"
            log(f"{recipe}: {amount}, {ranks.size} processes, {each}")
        with timing_reports(reporter(quiet=not is_first())).step("measuring parallel, in turns"):
            rows = measure(experiment, ranks, windows=windows, repeats=repeats)
        if not is_first():
            return
        if json:
            print_json({"bench": "parallel", "recipe": recipe, "threads": threads, "rows": rows})
        else:
            print(table_of(rows))
