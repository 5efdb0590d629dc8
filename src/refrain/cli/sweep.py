"""The command `refrain sweep`."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .options import DataOption, Flag, ForceOption, JsonOption
from .output import log
from .recipe_text import log_missing_start

if TYPE_CHECKING:
    from refrain.runs.sweeps.folder import SweepFolder

PAUSE_SECONDS = 5.0
TAKEOVER_SECONDS = 60.0


def sweep(
    file: Path,
    /,
    *,
    data: DataOption = None,
    out: Path | None = None,
    worker: Flag = False,
    workers: int | None = None,
    index: int | None = None,
    status: Flag = False,
    watch: Flag = False,
    best: Path | None = None,
    takeover: float | None = None,
    force: ForceOption = False,
    quiet: Flag = False,
    json: JsonOption = False,
) -> None:
    """Train a recipe with many settings, by any number of workers that share a folder.

    The file is a recipe with a table [sweep], whose table [sweep.space] has the values of settings. Each combination,
    or each draw, is a cell. Without an option, one worker trains the cells in this process. Others can be started at
    any time, on any machine that has the folder: by hand, with --workers, or as an array of jobs with --index. A worker
    that is stopped or killed leaves its cell to the others, who resume it from its last checkpoint.

    Parameters
    ----------
    file
        A TOML file with extends, settings that all cells have, and the table [sweep].
    out
        The folder of the sweep, the same for all workers. The default is runs/NAME for NAME.toml.
    worker
        Train cells in this process, and print a line for each of them, but no epochs and no table at the end.
    workers
        Start so many workers on this machine, each with its share of the cores.
    index
        Train only the cell with this number, counting from 1, as one of an array of jobs.
    status
        Print how far the sweep is, and train nothing.
    watch
        As --status, again every few seconds until the sweep has ended; with --json once, at its end.
    best
        Write the best settings so far to this TOML file, as a recipe, and train nothing.
    takeover
        The seconds after which the heartbeat of a worker on another machine has stopped, and its cell is taken over
        (60).
    quiet
        Print nothing while training.
    """
    from refrain.errors import UserError

    chosen = [name for name, given in (("--worker", worker), ("--workers", workers is not None), ("--status", status),
              ("--index", index is not None), ("--watch", watch), ("--best", best is not None)) if given]  # fmt: skip
    if len(chosen) > 1:
        raise UserError(f"{chosen[0]} and {chosen[1]} exclude each other")
    if workers is not None and workers < 1:
        raise UserError(f"--workers must be at least 1 (got {workers})")
    reading = status or watch or best is not None
    _check_idle(chosen, takeover, reading=reading, quiet=quiet, json=json)
    _check_best(best, file, force=force)
    folder = open_sweep(file, data, out, create=not reading)

    from .sweep_report import print_cell, print_status, write_best

    if best is not None:
        write_best(folder, best, force=force, json=json)
    elif reading:
        while not print_status(folder, json=json, again=watch) and watch:
            time.sleep(PAUSE_SECONDS)
    else:
        if index is not None:
            # out of range, before anything is imported
            folder.check_index(index)
        if not quiet and not worker:
            log_missing_start(str(file), "refrain sweep has no --from, and starts its cells from random weights")
        _train(folder, workers, index, TAKEOVER_SECONDS if takeover is None else takeover, quiet=quiet, brief=worker)
        if index is not None and json:
            print_cell(folder, index)
        elif not worker and index is None:
            print_status(folder, json=json)


def open_sweep(file: Path, data: str | None, out: Path | None, *, create: bool) -> "SweepFolder":
    """Read a sweep with all its cells, and open its folder.

    Args:
        file: the TOML file.
        data: takes the place of `data.corpus`, if given.
        out: the folder; None for the default.
        create: whether the folder is created.

    Raises:
        UserError: when the file or a cell has mistakes, or optuna is needed and not installed.
        DataError: when a text is missing.
        CheckpointError: when the folder is that of another sweep, or cannot be written.
    """
    from refrain.errors import DataError, UserError
    from refrain.recipes import RECIPES
    from refrain.runs.checks import check_training
    from refrain.runs.sweeps.folder import SweepFolder
    from refrain.runs.sweeps.plan import Sweep

    from .corpus import resolved_corpus

    def absolute(name: str) -> str:
        try:
            return resolved_corpus(name) or name
        except DataError:
            # what is missing is reported before anything is trained, and may be missing where one only looks
            return name

    plan = Sweep(file, RECIPES, corpus=resolved_corpus(data), absolute=absolute)
    folder = SweepFolder(Path("runs") / file.stem if out is None else out, plan)
    if create:
        try:
            plan.check_comparable()
        except UserError as error:
            if not (folder.path / "sweep.json").exists():
                raise
            # begun by a version that did not refuse it
            for line in error.mistakes:
                log(f"note: {line}")
        if plan.space.method == "optuna":
            from refrain.runs.sweeps.optuna_search import check_optuna

            check_optuna(plan.space.sampler)
        for experiment in {one.data.corpus: one for one in plan.experiments()}.values():
            check_training(experiment)
    folder.open(create=create)
    return folder


def _train(
    folder: "SweepFolder", workers: int | None, index: int | None, takeover: float, *, quiet: bool, brief: bool
) -> None:
    """Train the cells, or one of them."""
    if workers is not None and workers > 1:
        from .sweep_workers import run_workers

        more = ["--data", folder.sweep.corpus] if folder.sweep.corpus is not None else []
        words = ["sweep", str(folder.sweep.path), "--worker", "--out", str(folder.path), *more]
        run_workers([*words, "--takeover", f"{takeover:g}", *["--quiet"] * quiet], workers)
        return
    from functools import partial

    from refrain.errors import UserError
    from refrain.runs.sweeps.cell_run import Options
    from refrain.runs.sweeps.worker import work, work_on
    from refrain.training import progress

    search = None
    if folder.sweep.space.method == "optuna":
        from refrain.runs.sweeps.optuna_search import OptunaSearch

        search = OptunaSearch(folder)
    command = shlex.join(["refrain", *sys.argv[1:]])
    said = (lambda line: None) if quiet else log
    options = Options(partial(progress, quiet=quiet or brief), said, command, search, takeover, min(5.0, takeover / 4))
    if index is None:
        work(folder, options)
        return
    work_on(folder, index, options)
    result = folder.result(index)
    if result is not None and result.state == "failed":
        raise UserError(f"{folder.run(index)}: cell {index} has failed: {result.error}")


def _check_idle(chosen: Sequence[str], takeover: float | None, *, reading: bool, quiet: bool, json: bool) -> None:
    """Refuse options that cannot take effect with the one that is chosen."""
    from refrain.errors import UserError

    if takeover is not None and not takeover > 0:
        raise UserError(f"--takeover must be greater than 0 (got {takeover:g})")
    for option, given in (("--takeover", takeover is not None), ("--quiet", quiet)):
        if reading and given:
            raise UserError(f"{option} cannot take effect with {chosen[0]}, which trains nothing")
    if json and "--worker" in chosen:
        raise UserError("--json cannot take effect with --worker; --status --json prints how far the sweep is")


def _check_best(best: Path | None, file: Path, *, force: bool) -> None:
    from refrain.errors import UserError
    from refrain.storage.output_checks import check_outputs

    if best is None and force:
        raise UserError("--force cannot take effect without --best")
    if best is not None:
        check_outputs([("--best", best)], [file], force=force)
        if best.suffix != ".toml":
            raise UserError(f"--best must end in .toml (got {best.name!r})")
