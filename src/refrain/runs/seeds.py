"""Trains an experiment with several seeds or folds, and computes the mean and standard deviation of the results."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from refrain.arguments import path_of
from refrain.config import AnyExperiment
from refrain.config.toml_text import toml_of
from refrain.config.upgrade import FORMAT
from refrain.errors import CheckpointError, DivergedError, UserError
from refrain.storage.checkpoint import write_atomically, write_once
from refrain.storage.locks import InUseError
from refrain.storage.output_checks import check_folder
from refrain.storage.plain_json import dumps
from refrain.storage.run_folder import RunFolder
from refrain.storage.run_layout import SEEDS, check_seeds, series_in
from refrain.training import Interrupted
from refrain.training.progress import Progress

from .checks import check_seed_count, grown
from .config_document import config_document, experiment_from
from .continuing import run_state
from .documents import read_plan
from .folds import member_of
from .kinds import kind_of
from .resumed_settings import with_changes
from .resuming import resume_unfinished
from .seeds_summary import mixes_precisions, summarise_seeds
from .series_folder import is_temporary, parts_of, remove_if_empty, remove_runs
from .training import train

FILE = SEEDS
PAUSE_SECONDS = 1.0
"""The time after which runs that other processes train are looked at again."""


def train_seeds(
    experiment: AnyExperiment,
    out: str | Path,
    count: int,
    *,
    progress: Callable[[], Progress],
    start_from: str | Path | None = None,
    force: bool = False,
    recipe_text: str = "",
    command: str = "",
) -> dict[str, Any]:
    """Train a run for each seed, beginning with the seed of the experiment, in the folders `seed-N` of a new folder.

    Args:
        experiment: the settings of the runs.
        out: the folder for the runs, which must be empty or missing.
        count: the number of seeds.
        progress: creates the progress report of each run.
        start_from: a run whose best weights are the initial weights of each run.
        force: whether the result of an earlier call is replaced.
        recipe_text: the requested recipe as TOML, stored in each run.
        command: the command line, stored in each run.

    Returns:
        The summary, as in `summary.json`: `seeds`, the `runs` with their figures, and for each split `mean` and `std`;
        `failed` where trainings have diverged, with the reason by seed (as text), which count in no figure.

    Raises:
        DivergedError: when every training has diverged.
        UserError: when the count or a seed is out of range, or something is read from the result of an earlier call.
        CheckpointError: when the folder is not empty, or another process has started runs there at the same moment, or
            trains one that would be replaced.
    """
    check_seed_count(count, experiment.training.seed)
    seeds = [experiment.training.seed + index for index in range(count)]
    about: Any = {"start_from": start_from, "force": force, "recipe_text": recipe_text, "command": command}
    return _train_series(experiment, path_of(out, "out"), {"seeds": seeds}, progress, **about)


def train_folds(
    experiment: AnyExperiment,
    out: str | Path,
    *,
    progress: Callable[[], Progress],
    start_from: str | Path | None = None,
    force: bool = False,
    recipe_text: str = "",
    command: str = "",
) -> dict[str, Any]:
    """Train a tagger for each fold of a cross-validation, in the folders `fold-N` of a new folder.

    Args:
        experiment: the settings of the runs, with `data.folds`.
        out: the folder for the runs, which must be empty or missing.
        progress: creates the progress report of each run.
        start_from: a run whose best weights are the initial weights of each run.
        force: whether the result of an earlier call is replaced.
        recipe_text: the requested recipe as TOML, stored in each run.
        command: the command line, stored in each run.

    Returns:
        The summary, as in `summary.json`: `folds`, the `runs` with their figures, for each split `mean` and `std`, and
        the figures of all test texts together as `pooled`; `failed` as in `train_seeds`.

    Raises:
        DivergedError: when every training has diverged.
        UserError: when the settings have no folds, or something is read from the result of an earlier call.
        CheckpointError: when the folder is not empty, or another process trains a run that would be replaced.
    """
    folds = getattr(experiment.data, "folds", None)
    if folds is None:
        raise UserError("data.folds: must be set for a cross-validation, and is a setting of taggers")
    about: Any = {"start_from": start_from, "force": force, "recipe_text": recipe_text, "command": command}
    members = {"seeds": list(range(1, folds + 1)), "folds": folds}
    return _train_series(experiment, path_of(out, "out"), members, progress, **about)


def _train_series(
    experiment: AnyExperiment,
    folder: Path,
    members: dict[str, Any],
    progress: Callable[[], Progress],
    *,
    start_from: str | Path | None,
    force: bool,
    recipe_text: str,
    command: str,
) -> dict[str, Any]:
    # a series that was killed before its plan was complete has left a temporary file
    if folder.exists() and (not folder.is_dir() or any(not is_temporary(path, FILE) for path in folder.iterdir())):
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: exists already and is no folder; choose another --out")
        if not force and (folder / "config.json").is_file():
            raise CheckpointError(f"{folder}: is the run of one seed; choose another --out for the runs of several")
        if not (folder / FILE).is_file():
            other = "contains other files than runs of --seeds or --folds"
            found = f"{other}, which --force keeps" if force else f"exists already and {other}"
            raise CheckpointError(f"{folder}: {found}; choose another --out")
        if not force:
            remedy = "choose another --out, continue with --resume, or replace it with --force"
            raise CheckpointError(f"{folder}: exists already; {remedy}")
    check_seeds(folder)
    check_folder("--out", folder, parts_of(folder, FILE), [start_from, experiment.data.corpus])
    kind_of(experiment).corpus(experiment, lambda line: None)
    new = not folder.exists()
    if force:
        remove_runs(folder)
    folder.mkdir(parents=True, exist_ok=True)
    plan = {
        **members,
        "config": config_document(experiment),
        "from": None if start_from is None else str(start_from),
        "recipe": recipe_text,
        "command": command,
    }
    _write_plan(folder, plan, replace=force)
    (folder / "summary.json").unlink(missing_ok=True)
    try:
        return _run_all(folder, plan, progress)
    except UserError:
        # a mistake that the first run found before it wrote anything leaves nothing to resume
        if not series_in(folder):
            (folder / FILE).unlink(missing_ok=True)
            if new:
                remove_if_empty(folder)
        raise


def _write_plan(folder: Path, plan: dict[str, Any], *, replace: bool) -> None:
    """Write the plan of a series. Of processes that start in the same folder at the same moment, one does so.

    Raises:
        InUseError: when another process was faster.
    """
    text = dumps(plan, indent=2) + "\n"
    if replace:
        write_atomically(folder / FILE, text)
    elif not write_once(folder / FILE, text):
        raise InUseError(
            f"{folder}: in use by another process, which has started its runs at the same moment; share them with "
            "--resume=auto, or choose another --out"
        )


def has_seeds(out: str | Path) -> bool:
    """Whether a folder holds the runs of several seeds."""
    return os.path.lexists(Path(out) / FILE)


def resume_seeds(
    out: str | Path,
    *,
    experiment: AnyExperiment | None = None,
    settings: Sequence[str] = (),
    count: int | None = None,
    progress: Callable[[], Progress],
) -> dict[str, Any]:
    """Continue the runs of several seeds: keep the finished ones, resume one and start the others.

    Args:
        out: the folder of the runs.
        experiment: if given, must equal the settings of the runs, except for those that may change when a run is
            resumed.
        settings: changes of settings, such as `["training.epochs=16"]`.
        count: the number of seeds, if it grows; the number of folds cannot.
        progress: creates the progress report of each run.

    Returns:
        The summary, as in `train_seeds`.

    Raises:
        CheckpointError: when a run cannot be continued, the settings differ, or there are more seeds already.
    """
    folder = path_of(out, "out")
    check_seeds(folder)
    plan = read_plan(RunFolder(folder), FILE)
    own = experiment_from(plan["config"], folder)
    given = with_changes(own, experiment, settings, folder)
    if given.training.epochs < own.training.epochs:
        raise CheckpointError(
            f"{folder}: training.epochs: the runs of several seeds cannot be shortened; give {own.training.epochs} or "
            "more"
        )
    if plan.get("folds") and count not in (None, plan["folds"]):
        raise CheckpointError(f"{folder}: has the runs of {plan['folds']} folds; give --folds {plan['folds']}")
    seeds = grown(plan["seeds"], count, folder)
    changed = {**plan, "seeds": seeds}
    if given != own or plan["config"].get("format") != FORMAT:
        # a recipe of version 0.1 has names of settings that are not known any more
        changed |= {"config": config_document(given), "recipe": toml_of(given)}
    if changed != plan:
        (folder / "summary.json").unlink(missing_ok=True)
        write_atomically(folder / FILE, dumps(changed, indent=2) + "\n")
    return _run_all(folder, changed, progress)


def _run_all(folder: Path, plan: dict[str, Any], progress: Callable[[], Progress]) -> dict[str, Any]:
    """Train what is left of a series; runs that other processes train are left to them, and waited for at the end."""
    numbers, summaries, failed = plan["seeds"], dict[int, dict[str, Any]](), dict[int, str]()
    reported = set[int]()
    what = "fold" if plan.get("folds") else "seed"
    while left := [number for number in numbers if number not in summaries and number not in failed]:
        in_use = 0
        for number in left:
            report = progress()
            if number not in reported:
                report.log(f"{what} {number}, run {numbers.index(number) + 1} of {len(numbers)}")
            try:
                summaries[number] = _run_one(folder, plan, number, report)
            except Interrupted as stopped:
                raise stopped.resumed_by(f"refrain train --resume --out {quote(str(folder))}") from None
            except DivergedError as error:
                failed[number] = str(error)
                report.log(f"{what} {number} has failed: {error}")
            except InUseError as error:
                in_use += 1
                if number not in reported:
                    report.log(str(error).partition(";")[0])
            reported.add(number)
        if in_use == len(left):
            time.sleep(PAUSE_SECONDS)
    done = [number for number in numbers if number in summaries]
    if not done:
        raise DivergedError(f"every {what} has failed: {next(iter(failed.values()))}")
    found = [summaries[number] for number in done]
    if mixes_precisions(found):
        progress().log(
            "note: some of these runs were trained in bf16 and others in float32, as training.precision=auto chose on "
            "their processors; compare them with care, or train all with training.precision=float32"
        )
    summary = summarise_seeds(folder, done, found, folds=bool(plan.get("folds")))
    if failed:
        summary["failed"] = {str(number): error for number, error in failed.items()}
    write_atomically(folder / "summary.json", dumps(summary, indent=2) + "\n")
    return summary


def _run_one(folder: Path, plan: dict[str, Any], number: int, report: Progress) -> dict[str, Any]:
    """Train or continue one run of a series, and return its summary; that of a finished one is read."""
    folds = plan.get("folds")
    own = "data.fold " if folds else "training.seed "
    name, experiment, line = member_of(experiment_from(plan["config"], folder), number, folds)
    run = RunFolder(folder / name)
    if (run.path / "summary.json").is_file() or run_state(run.path) == "run":
        return resume_unfinished(run.path, experiment=experiment, progress=report)
    lines = [line for line in plan["recipe"].splitlines() if not line.startswith(own)]
    return train(
        experiment,
        run.path,
        start_from=plan["from"],
        force=True,
        resume="auto",
        recipe_text="\n".join([*lines, line]) + "\n",
        command=plan["command"],
        progress=report,
    )
