"""Checks of the paths that a user has given for results, made before the work: nothing of the user's is overwritten.

A file that exists is replaced only if that is requested, and a file that is also read is never replaced.
"""

import contextlib
import glob
import os
import re
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from refrain.errors import CheckpointError, UserError

from .run_layout import BEST, OWN_FILES, OWN_FOLDERS

Identity = tuple[object, ...]

_OPEN_FILES = {"/dev/stdout": 1, "/dev/stderr": 2}


def check_outputs(outputs: Iterable[tuple[str, Path]], inputs: Iterable[str | Path] = (), *, force: bool) -> None:
    """Check that files can be written, before the work whose results they receive. Nothing is changed.

    A link counts as the file that it leads to. Character devices, pipes and the open files `/dev/stdout`, `/dev/stderr`
    and `/dev/fd/N` receive the results as they are and need no `force`.

    Args:
        outputs: the option or argument that names a file, for messages, and the file.
        inputs: what is read: files, patterns, folders with all files below them, and `-` for standard input.
        force: whether existing files are replaced.

    Raises:
        CheckpointError: when a file exists and `force` is not set.
        UserError: when a file is also read, is given twice, or cannot be a file.
        OSError: when nothing can be written to the folder of a file.
    """
    read: set[Identity] | None = None
    printed = open_status(1)
    given = {_identity(printed): "standard output"} if printed and stat.S_ISREG(printed.st_mode) else {}
    for option, path in outputs:
        number = open_file(path)
        status = _status(option, path, number)
        mode = status.st_mode if status else 0
        where = _identity(status) if status else _place(path)
        if status and not stat.S_ISCHR(mode):
            read = _identities(inputs) if read is None else read
            if where in read:
                raise UserError(f"{option}: {path} is also read, so it is never replaced; choose another path")
        if number is None and not stat.S_ISCHR(mode):
            if where in given:
                raise UserError(f"{option}: {path} is the same file as {given[where]}; choose another path")
            given[where] = option
        if number is None and stat.S_ISREG(mode) and not force:
            remedy = "--force" if option.startswith("-") else "force=True"
            raise CheckpointError(f"{option}: {path} exists; choose another path, or replace it with {remedy}")
        if status is None or (number is None and stat.S_ISREG(mode)):
            _check_folder(os.path.dirname(os.path.realpath(path)))


def check_folder(option: str, folder: Path, parts: Iterable[Path], inputs: Iterable[str | Path | None]) -> None:
    """Check that nothing is read from a folder whose parts will be replaced.

    Args:
        option: the option or argument that names the folder, for messages.
        folder: the folder.
        parts: the files and folders in it that will be replaced; some may be missing.
        inputs: files and folders that are read; some may be missing or None.

    Raises:
        UserError: when an input is the folder, one of the parts, or below one of them.
    """
    replaced = {_identity(status) for path in parts if (status := existing(path))}
    own = {_identity(status) for status in [existing(folder)] if status}
    for path in inputs:
        if path is None or (status := existing(path)) is None:
            continue
        parents = [existing(parent) for parent in Path(os.path.realpath(path)).parents]
        found = {_identity(status), *(_identity(parent) for parent in parents if parent)}
        if _identity(status) in own or replaced & found:
            raise UserError(f"{option}: {path} is also read, so it is never replaced; choose another folder")


def check_writable(folder: Path) -> None:
    """Check that a folder, which may be missing, can be written.

    Raises:
        OSError: when it cannot; the error names the folder that exists.
    """
    place = os.path.realpath(folder)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    _check_folder(place)


def run_parts(run: Path) -> list[Path]:
    """List the files and folders that a run writes into its folder; some may be missing."""
    return [run / name for name in (*OWN_FILES, *OWN_FOLDERS, BEST)]


def run_files(run: Path) -> list[Path]:
    """List what belongs to a run folder, or to a checkpoint folder and its run; a command may read all of it.

    Args:
        run: the folder, as the user gave it.
    """
    whole = Path(os.path.realpath(run))
    if whole.parent.name == "checkpoints":
        return [whole, *run_files(whole.parents[1])]
    if not (run / "checkpoints").is_dir():
        return [run]
    return run_parts(run)


def open_file(path: Path) -> int | None:
    """Return the descriptor of the open file that a path such as `/dev/stdout` names, or None for any other path."""
    name = os.path.abspath(path)
    match = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d{1,9})", name)
    return int(match[1]) if match else _OPEN_FILES.get(name)


def open_status(number: int) -> os.stat_result | None:
    """Return the status of a descriptor, or None if it is closed."""
    try:
        return os.fstat(number)
    except OSError:
        return None


def existing(path: str | Path) -> os.stat_result | None:
    """Return the status of the file that a path leads to, or None if there is none."""
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def is_written_to(status: os.stat_result) -> bool:
    """Whether a file receives results as they are: it is a character device or a pipe."""
    return stat.S_ISCHR(status.st_mode) or stat.S_ISFIFO(status.st_mode)


def _status(option: str, path: Path, number: int | None) -> os.stat_result | None:
    """The status of an output, or None if it is missing and can be made.

    Raises:
        UserError: when the path can be no output.
    """
    if number is not None:
        if (found := open_status(number)) is None:
            raise UserError(f"{option}: {path} is closed; choose another path")
        return found
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        found = None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{option}: {path} cannot be a file ({reason}); choose another path") from None
    usable = stat.S_ISREG(found.st_mode) or is_written_to(found) if found else _folder_exists(path)
    if not usable:
        raise UserError(f"{option}: {path} must be a file in a folder that exists")
    return found


def _folder_exists(path: Path) -> bool:
    return os.path.isdir(os.path.dirname(os.path.realpath(path)))


def _check_folder(folder: str) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, folder) from None


def _identity(status: os.stat_result) -> Identity:
    return (status.st_dev, status.st_ino)


def _place(path: Path) -> Identity:
    """The identity of a missing file: its folder and its name, whose case some file systems ignore."""
    folder, name = os.path.split(os.path.realpath(path))
    status = existing(folder)
    return (*_identity(status), name.casefold()) if status else (folder, name)


def _identities(inputs: Iterable[str | Path]) -> set[Identity]:
    """The identities of files and folders, and of everything below the folders."""
    found: set[Identity] = set()
    names = [str(given) for given in inputs]
    if "-" in names and (status := open_status(0)):
        found.add(_identity(status))
    waiting = [path for name in names for path in ([name] if os.path.lexists(name) else _matches(name))]
    while waiting:
        path = waiting.pop()
        status = existing(path)
        if status is None or _identity(status) in found:
            continue
        found.add(_identity(status))
        if stat.S_ISDIR(status.st_mode):
            with contextlib.suppress(OSError), os.scandir(path) as entries:
                waiting += [entry.path for entry in entries]
    return found


def _matches(pattern: str) -> list[str]:
    return glob.glob(pattern, recursive=True) if glob.has_magic(pattern) else []
