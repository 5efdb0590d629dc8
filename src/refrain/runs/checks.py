"""Checks before a command imports torch: the paths that it is given, and the settings of a run."""

from pathlib import Path
from shlex import quote

from refrain.assembly.corpus import check_vocabulary, find_texts, locate
from refrain.config import AnyExperiment, Experiment
from refrain.data import find_tagged
from refrain.data.embedded import DESCRIPTIONS
from refrain.data.tagged.folders import find_any
from refrain.errors import CheckpointError, UserError, quantity, shown
from refrain.storage.output_checks import check_folder, check_writable, run_parts
from refrain.storage.run_folder import RunFolder
from refrain.storage.run_layout import SEEDS

from .config_document import experiment_from
from .documents import MOST_RUNS, read_manifest
from .loading import find

SEED_LIMIT = 2**63
"""Every seed is less than this."""


def check_training(
    experiment: AnyExperiment, out: Path | None = None, start_from: Path | None = None, *, force: bool = False
) -> None:
    """Check that a run can be trained: its corpus exists, its folder is free, and the run that it starts from exists.

    Args:
        experiment: the settings of the run.
        out: the run folder; None if it is new.
        start_from: a run whose best weights are the initial weights, or None.
        force: whether `out` may exist.

    Raises:
        DataError: when a text is missing or empty.
        UserError: when `data.split` is set for a folder of splits, something is read from the run at `out`, or a name
            is not UTF-8.
        CheckpointError: when `start_from` has no complete checkpoint, or `out` exists and is not empty.
    """
    check_encodable("--out", out)
    check_encodable("--data", experiment.data.corpus)
    if out is not None and force:
        check_folder("--out", out, run_parts(out), [start_from, experiment.data.corpus])
    elif out is not None:
        RunFolder(out).check_available()
    # a corpus of the running Python always exists, and is made when it is first read
    if experiment.data.corpus not in DESCRIPTIONS:
        if isinstance(experiment, Experiment):
            find_texts(experiment.data)
            check_vocabulary(experiment.data)
        else:
            path = locate(experiment.data.corpus)
            if path.is_dir():
                find_any(path) if experiment.data.folds else find_tagged(path)
    if start_from is not None:
        find(start_from)


def check_encodable(option: str, path: str | Path | None) -> None:
    """Check that a run can record a path as text.

    Args:
        option: the option that names it, for the message.
        path: the path, or None.

    Raises:
        UserError: when its name is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(
            f"{option}: the name {shown(str(path))} is not UTF-8, so that a run cannot record it; rename it"
        ) from None


def check_seed_count(count: int, first: int) -> None:
    """Check the number of seeds.

    Args:
        count: the number of seeds.
        first: the first seed.

    Raises:
        UserError: when the number is out of range, or the last seed would be.
    """
    if not 1 <= count <= MOST_RUNS:
        raise UserError(f"--seeds must be at least 1 and at most {MOST_RUNS:,} (got {count:,})")
    if first + count > SEED_LIMIT:
        raise UserError(f"training.seed: must be at most {SEED_LIMIT - count:,} with {quantity(count, 'seed')}")


def check_resumable(out: Path) -> None:
    """Check that a folder holds a run with settings that can be read, or the runs of several seeds.

    Args:
        out: the folder.

    Raises:
        CheckpointError: when it does not.
    """
    run = RunFolder(out)
    if not run.path.is_dir():
        raise CheckpointError(f"{run.path}: no such run folder; leave out --resume to start a run")
    if not (run.path / SEEDS).is_file():
        experiment_from(run.read_json("config.json"), run.path)
        check_trained(run)


def check_trained(run: RunFolder) -> None:
    """Check that a run was trained here, so that there is a training to continue.

    Args:
        run: the run folder.

    Raises:
        CheckpointError: when it was imported.
    """
    if read_manifest(run).get("imported"):
        raise CheckpointError(
            f"{run.path}: was imported, so that there is no training to continue; start one from its weights: refrain "
            f"train RECIPE --from {quote(str(run.path))} --data TEXT"
        )


def check_apart(checkpoint: Path, out: Path, *, force: bool) -> None:
    """Check that a compressed run can be written, and that this would not change the run that is read.

    Args:
        checkpoint: the checkpoint that is read.
        out: the new run folder.
        force: whether an existing run may be replaced.

    Raises:
        UserError: when `out` overlaps with the run that is read.
        CheckpointError: when `out` exists and is not empty, and may not be replaced.
        OSError: when `out` cannot be written.
    """
    read = checkpoint.resolve()
    target = out.resolve()
    run = read.parents[1] if read.parent.name == "checkpoints" else read
    if target == run or target in run.parents or run in target.parents:
        raise UserError(f"--out {out}: overlaps with {run}, which must not be changed; choose another folder")
    check_writable(out)
    folder = RunFolder(out)
    if not force and out.is_dir() and any(out.iterdir()) and folder.is_run():
        raise CheckpointError(f"{out}: exists already; choose another --out, or replace it with --force")
    folder.check_available(force=force)


def grown(seeds: list[int], count: int | None, folder: Path) -> list[int]:
    """The seeds of a series that grows to a number of seeds.

    Args:
        seeds: those that it has.
        count: the number that is asked for; None is the number that it has.
        folder: its folder, for the message.

    Raises:
        CheckpointError: when it has more already.
    """
    if count is None:
        return seeds
    if count < len(seeds):
        raise CheckpointError(f"{folder}: has the runs of {len(seeds)} seeds; give --seeds {len(seeds)} or more")
    return seeds + list(range(max(seeds) + 1, max(seeds) + 1 + count - len(seeds)))
