"""Writes files whose paths a user has given for results: completely or not at all.

Before the work, `refrain.storage.output_checks.check_outputs` checks the paths.
"""

import contextlib
import io
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from refrain.errors import CheckpointError

from .output_checks import check_outputs, existing, is_written_to, open_file


@contextlib.contextmanager
def replace_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """Open a file to write bytes to; it gets its name when it is complete and on the disk.

    Until then it has a temporary name in the same folder. If an exception is raised, it is removed, and an old file is
    intact. A file that is replaced keeps its permissions, and its owner where that is allowed. If `path` is a link, the
    link stays, and the file that it leads to is written. A character device, a pipe and the open files `/dev/stdout`,
    `/dev/stderr` and `/dev/fd/N` are written to directly.

    Args:
        path: the file.
        force: whether a file that exists is replaced.

    Raises:
        CheckpointError: when the file exists and `force` is not set, even if another program has just made it.
        OSError: when the file cannot be written.
    """
    check_outputs([("path", path)], force=force)
    number = open_file(path)
    status = existing(path)
    if number is not None or (status is not None and is_written_to(status)):
        with _direct(path, number) as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    # cut, because a name may have the largest length already
    temporary = target.with_name(f".tmp-{target.name[:40]}-{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            _copy_permissions(target, temporary)
            temporary.replace(target)
        else:
            _give_name(temporary, target)
        _flush_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_text(path: Path, *, force: bool = False) -> Iterator[TextIO]:
    """Open a file to write text to, as UTF-8 without changes to its line ends; otherwise like `replace_file`.

    Args:
        path: the file.
        force: whether a file that exists is replaced.

    Raises:
        CheckpointError: when the file exists and `force` is not set, even if another program has just made it.
        OSError: when the file cannot be written.
    """
    with replace_file(path, force=force) as file:
        # a single surrogate, which UTF-8 lacks, is written as \udcNN
        text = io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")
        try:
            yield text
            text.flush()
        finally:
            # the file is closed where it was opened
            with contextlib.suppress(OSError):
                text.detach()


def write_files(contents: Iterable[tuple[Path, str | bytes]], *, force: bool = False) -> None:
    """Write files with given contents. None of them gets its name before all of them are written.

    Args:
        contents: each file and its content.
        force: whether files that exist are replaced.

    Raises:
        CheckpointError: when a file exists and `force` is not set.
        OSError: when a file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        for path, content in contents:
            file = stack.enter_context(replace_file(path, force=force))
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
            file.flush()


@contextlib.contextmanager
def _direct(path: Path, number: int | None) -> Iterator[BinaryIO]:
    # what was printed before comes first
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    with path.open("wb") if number is None else os.fdopen(os.dup(number), "wb") as file:
        yield file


def _copy_permissions(old: Path, new: Path) -> None:
    wanted = existing(old)
    if wanted is None:
        return
    mode = stat.S_IMODE(wanted.st_mode) & 0o777
    own = new.stat()
    if (own.st_uid, own.st_gid) != (wanted.st_uid, wanted.st_gid):
        try:
            os.chown(new, wanted.st_uid, wanted.st_gid)
        except OSError:
            # the group may be another one, which gets no more permissions than everybody has
            mode = mode & ~0o070 | (mode & 0o007) << 3
    new.chmod(mode)


def _give_name(temporary: Path, target: Path) -> None:
    """Give a complete file its name, unless another file has it by now."""
    try:
        # unlike a rename, a hard link replaces nothing
        os.link(temporary, target)
    except (OSError, NotImplementedError) as error:
        if os.path.lexists(target):
            raise CheckpointError(f"{target}: another program has made this file; choose another path") from None
        if isinstance(error, FileNotFoundError):
            raise
        # a file system without hard links
        temporary.replace(target)


def _flush_folder(folder: Path) -> None:
    # Windows opens no folders, and some network file systems cannot flush them
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
