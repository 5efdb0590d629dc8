"""The names in a run folder, and checks that each of them is a plain file or folder, not a link to another place.

A folder that came from elsewhere may contain links, and a run that wrote to it would change or delete what they lead
to. The run folder itself may be a link, as users keep large folders on other disks.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from refrain.errors import CheckpointError

from .regular_files import is_link, read_regular, what_is_wrong

REPORT = "report.html"
SEEDS = "seeds.json"
"""The file of a folder with the runs of several seeds."""
OWN_FILES = (
    "config.json",
    "recipe.toml",
    "manifest.json",
    "metrics.jsonl",
    "summary.json",
    "README.md",
    REPORT,
    ".lock",
)
OWN_FOLDERS = ("checkpoints", "samples", "tensorboard")
BEST = "best"
# files that are changed where they are, so that a hard link would change a file of another folder
CHANGED_IN_PLACE = ("metrics.jsonl", ".lock")
REMEDY = "put a copy in its place"
_STEP = re.compile(r"step-[0-9]{1,18}")


def steps_in(checkpoints: Path) -> list[Path]:
    """The folders `step-N` in the folder of checkpoints, sorted by N."""
    found = [path for path in checkpoints.glob("step-*") if _STEP.fullmatch(path.name)]
    return sorted(found, key=step_of)


def holds_checkpoints_only(checkpoints: Path) -> bool:
    """Whether all that is in a folder of checkpoints was written by a run, but for hidden files of the system."""
    names = (path.name for path in checkpoints.iterdir()) if checkpoints.is_dir() else iter(())
    return all(name.startswith(".") or _STEP.fullmatch(name.removeprefix("damaged-")) for name in names)


def step_of(folder: Path) -> int:
    """The N of a folder `step-N`."""
    return int(folder.name.removeprefix("step-"))


def check_parts(run: Path, *, writing: bool) -> None:
    """Check that the files and folders of a run belong to its folder.

    Args:
        run: the run folder, which may be missing.
        writing: whether the run will be written to; hard links are then refused where a file is changed in place.

    Raises:
        CheckpointError: when one is a link to another place, or is not a file or folder as it has to be.
    """
    for path, problem in _problems(run, writing=writing):
        raise CheckpointError(f"{path}: {problem}, which is refused in a run folder; {REMEDY}")


def _problems(run: Path, *, writing: bool) -> Iterator[tuple[Path, str]]:
    for name in (*OWN_FILES, *OWN_FOLDERS):
        path = run / name
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
        if is_link(path):
            yield path, "is a link to another place"
        elif name in OWN_FOLDERS and not stat.S_ISDIR(found.st_mode):
            yield path, "is not a folder"
        elif name in OWN_FILES and (problem := what_is_wrong(path)):
            yield path, problem
        elif writing and name in CHANGED_IN_PLACE and found.st_nlink > 1:
            yield path, "is also a file of another folder (it has a hard link)"
    for step in (run / "checkpoints").glob("step-*"):
        if is_link(step):
            yield step, "is a link to another place"
    best_of(run)


def best_of(run: Path) -> Path | None:
    """The checkpoint folder that `best` names: a link to `checkpoints/step-N`, or a text file with these words.

    Args:
        run: the run folder.

    Returns:
        The folder, which may be missing or damaged; None where the run has no `best`.

    Raises:
        CheckpointError: when `best` leads to another place.
    """
    path = run / BEST
    try:
        if is_link(path):
            target = os.readlink(path).replace("\\", "/")
        elif path.is_dir():
            # a copy of a run without links has the files of the checkpoint here
            return path
        else:
            target = read_regular(path, limit=1000, follow_links=False).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}; delete it") from None
    parts = PurePosixPath(target).parts
    if len(parts) != 2 or parts[0] != "checkpoints" or not _STEP.fullmatch(parts[1]):
        raise CheckpointError(
            f"{path}: must lead to a checkpoint of this run, as checkpoints/step-N does (it leads to "
            f"{target[:100]!r}); delete it"
        )
    return run / "checkpoints" / parts[1]


def series_in(folder: Path) -> list[Path]:
    """The folders of the runs of several seeds or folds, `seed-N` and `fold-N`."""
    return sorted([*folder.glob("seed-*"), *folder.glob("fold-*")])


def check_seeds(folder: Path) -> None:
    """Check that the files and run folders of a folder of several seeds belong to it.

    Args:
        folder: the folder, which may be missing.

    Raises:
        CheckpointError: when one is a link to another place, or a file is a pipe or a device.
    """
    for path in (folder / SEEDS, folder / "summary.json", *series_in(folder)):
        problem = None
        if is_link(path):
            problem = "is a link to another place"
        elif not path.name.startswith(("seed-", "fold-")) and os.path.lexists(path):
            problem = what_is_wrong(path)
        if problem:
            raise CheckpointError(f"{path}: {problem}, which is refused in a folder of runs; {REMEDY}")
