"""The folder of the runs of several seeds or folds: what belongs to it, and its removal."""

import contextlib
from pathlib import Path

from refrain.storage.run_folder import RunFolder
from refrain.storage.run_layout import series_in


def parts_of(folder: Path, plan: str) -> list[Path]:
    """What is replaced when several seeds are trained in a folder again.

    Args:
        folder: the folder.
        plan: the name of the file with the plan of the series.
    """
    return [folder / plan, folder / "summary.json", *series_in(folder)]


def is_temporary(path: Path, plan: str) -> bool:
    """Whether a file is a plan that was not written completely.

    Args:
        path: the file.
        plan: the name of the file with the plan of the series.
    """
    return path.name.startswith(f".tmp-{plan}-")


def remove_runs(folder: Path) -> None:
    """Remove the runs of a series; none of them while another process is writing to one.

    Args:
        folder: the folder of the series, which may be missing.

    Raises:
        InUseError: when another process is writing to a run.
    """
    old = [RunFolder(path) for path in series_in(folder) if path.is_dir()]
    with contextlib.ExitStack() as stack:
        for run in old:
            stack.enter_context(run.locked())
        for run in old:
            run.clear()
    for run in old:
        run.remove()


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that has nothing in it, unless another process is about to find that it was not the first.

    Args:
        folder: the folder.
    """
    with contextlib.suppress(OSError):
        folder.rmdir()
