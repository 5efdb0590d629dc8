"""Runs that have a name and need no path: the models that come with refrain, and those that were fetched.

A text without a path separator may be such a name. A run folder of that name in the current folder comes first, then
the models that come with refrain, then those in the cache. A text with a separator, as in `./python-docs`, is a path.
"""

import os
import re
from pathlib import Path

from refrain.arguments import path_of
from refrain.errors import UserError
from refrain.storage.checkpoint_manifest import MANIFEST
from refrain.storage.folders import cache_folder
from refrain.storage.run_layout import series_in

BUNDLED = Path(__file__).parent / "bundled"
"""The folder of the runs that come with refrain."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_name(text: str) -> bool:
    """Whether a text can be the name of a run.

    Args:
        text: what a user gave for a run.
    """
    return _NAME.fullmatch(text) is not None


def fetched_folder() -> Path:
    """The folder of the cache in which fetched runs are found by name.

    Raises:
        UserError: when the user has no home and names no folder for the cache.
    """
    return cache_folder() / "models"


def bundled_names() -> list[str]:
    """The names of the runs that come with refrain, sorted."""
    return _names_in(BUNDLED)


def fetched_names() -> list[str]:
    """The names of the runs in the cache, sorted; none where there is no cache."""
    try:
        return _names_in(fetched_folder())
    except UserError:
        return []


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in os.scandir(folder) if is_name(entry.name) and entry.is_dir())
    except OSError:
        return []


def named_run(path: str | Path) -> Path:
    """The folder that a user means by a path or by the name of a run.

    Args:
        path: a path, or a name. A `Path` has lost the `./` by which a text says that it is a path.

    Returns:
        The folder of a named run; any other path as it is, and in full where it could be taken for a name.

    Raises:
        UserError: when it is neither a text nor a path.
    """
    path_of(path, "path", "a run folder or the name of a run")
    text = os.fspath(path)
    if not is_name(text):
        given = Path(text)
        # a Path drops the ./ that the user wrote
        return Path.cwd() / given if is_name(str(given)) and _folder_of(str(given)) else given
    return Path(text) if _is_run(Path(text)) else _folder_of(text) or Path(text)


def _folder_of(name: str) -> Path | None:
    """The folder of a run that comes with refrain or was fetched."""
    if name in bundled_names():
        return BUNDLED / name
    return fetched_folder() / name if name in fetched_names() else None


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, of a checkpoint, or of several seeds."""
    if not folder.is_dir():
        return False
    return (folder / "checkpoints").is_dir() or os.path.lexists(folder / MANIFEST) or bool(series_in(folder))
