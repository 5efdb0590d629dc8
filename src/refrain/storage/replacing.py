"""Replacing a run by another one that is complete, so that a failure keeps the run that was there."""

import os
from pathlib import Path

from refrain.errors import UnwritableError

from .checkpoint import discard, temporary_path
from .output_checks import run_parts
from .run_folder import RunFolder


def holds_run(folder: RunFolder, *, force: bool) -> bool:
    """Whether a run has to be replaced. The caller holds the lock: another process may have just finished it.

    Args:
        folder: the folder, which exists.
        force: whether an existing run may be replaced.

    Raises:
        CheckpointError: when the folder holds one and `force` is not set, or other files.
    """
    names = {path.name for path in folder.path.iterdir() if not path.name.startswith(".tmp-")}
    return names > {".lock"} and folder.check_available(force=force)


def move_run(start: Path, out: Path) -> None:
    """Move the parts of a run to another folder in place of those that are there. The caller holds the lock of it.

    The old parts come back if that fails, and what killed processes have left there is removed. Checkpoints are the
    last to go and the first to come, without which the files beside them are not known as those of a run.

    Args:
        start: the folder of the run, on the file system of the other one.
        out: the folder where it is to be.

    Raises:
        UnwritableError: when a part cannot be moved.
    """
    aside = temporary_path(out / "old")
    try:
        aside.mkdir()
        moves = [(part, aside / part.name) for part in reversed(_parts(out))]
        moves += [(part, out / part.name) for part in _parts(start)]
        _move(moves)
    except OSError as error:
        discard(aside)
        raise UnwritableError(f"{out}: cannot be replaced ({error.strerror}); choose another --out") from None
    except BaseException:
        discard(aside)
        raise
    for leftover in out.glob(".tmp-*"):
        discard(leftover)


def _move(moves: list[tuple[Path, Path]]) -> None:
    """Rename files in turn, or none of them."""
    try:
        for source, target in moves:
            source.rename(target)
    except BaseException:
        for source, target in reversed(moves):
            if os.path.lexists(target) and not os.path.lexists(source):
                target.rename(source)
        raise


def _parts(run: Path) -> list[Path]:
    """The parts of a run that exist, checkpoints first; the lock stays with its folder."""
    found = [part for part in run_parts(run) if part.name != ".lock" and os.path.lexists(part)]
    return sorted(found, key=lambda part: part.name != "checkpoints")
