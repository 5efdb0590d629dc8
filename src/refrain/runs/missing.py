"""The message for a run folder that does not exist."""

import difflib
import shlex
from pathlib import Path

from refrain.errors import CheckpointError

from .named import bundled_names, fetched_names, is_name


def missing_run(path: Path) -> str:
    """The message for a run folder that does not exist, with a run of a similar name beside it or known by name."""
    if path.is_symlink() and not path.exists():
        return (
            f"{path}: is a link to {path.readlink()}, which does not exist; copy what a link leads to with cp -rL, or "
            "give the run folder"
        )
    if path.exists():
        return f"{path}: is a file, but a run folder is needed; give a folder that refrain train has made"
    beside = [folder.parent.name for folder in path.parent.glob("*/checkpoints")]
    if is_name(str(path)):
        beside += [*bundled_names(), *fetched_names()]
    close = difflib.get_close_matches(path.name, beside, n=1)
    hint = f"did you mean {path.parent / close[0]}? " if close else ""
    return f"{path}: no such run folder; {hint}train one with: refrain train RECIPE --out {shlex.quote(str(path))}"


def check_is_there(path: Path) -> None:
    """Check that a run folder exists.

    Raises:
        CheckpointError: when it does not, or is a file.
    """
    if not path.is_dir():
        raise CheckpointError(missing_run(path))
