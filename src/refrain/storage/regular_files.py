"""Reads files of folders that are not trusted: pipes, devices and files that are too large are refused at once."""

import contextlib
import errno
import os
import stat
from io import BufferedReader, BufferedWriter
from pathlib import Path

# absent on Windows, which has neither pipes nor devices in folders
_WITHOUT_WAITING = getattr(os, "O_NONBLOCK", 0)
_WITHOUT_LINKS = getattr(os, "O_NOFOLLOW", 0)
_NAMES = (
    (stat.S_ISDIR, "is a folder, not a file"),
    (stat.S_ISFIFO, "is a pipe, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
)
_OTHER = "is not a regular file"
_PART = 1 << 20
_DAMAGE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EINVAL,
    errno.EFBIG,
    errno.ENXIO,
    errno.EIO,
}


def open_regular(path: str | Path, *, follow_links: bool = True) -> BufferedReader:
    """Open a regular file to read its bytes.

    Args:
        path: the file.
        follow_links: whether `path` itself may be a symbolic link; links among its parent folders are followed.

    Raises:
        OSError: when the file is missing or cannot be read, is not a regular file, or is a link that may not be
            followed. `strerror` names the reason.
    """
    if not follow_links and os.path.islink(path):
        raise OSError(errno.ELOOP, "is a link to another place", str(path))
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | _WITHOUT_WAITING | (0 if follow_links else _WITHOUT_LINKS)
    # asked before the file is opened, because some devices act when they are opened
    _check_mode(os.stat(path).st_mode, path)
    handle = os.open(path, flags)
    try:
        # asked again, because another process may have replaced the file in the meantime
        _check_mode(os.fstat(handle).st_mode, path)
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def read_regular(path: str | Path, *, limit: int, follow_links: bool = True) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        OSError: as `open_regular`, and when the file is larger than `limit`; not more than `limit` bytes are read.
    """
    with open_regular(path, follow_links=follow_links) as file:
        # in parts, because Python allocates as many bytes at once as are asked for, however small the file is
        parts = []
        remaining = limit + 1
        while part := file.read(min(remaining, _PART)):
            parts.append(part)
            remaining -= len(part)
        content = b"".join(parts)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit:,} bytes, the most that is read here", str(path))
    return content


def append_regular(path: str | Path) -> BufferedWriter:
    """Open a regular file to append bytes to it and to truncate it; it is created if it is missing.

    Raises:
        OSError: when it cannot be written, is a link, is not a regular file, or has a second name (a hard link), under
            which the file of another folder would be changed. `strerror` names the reason.
    """
    return os.fdopen(open_own(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab")


def open_own(path: str | Path, flags: int) -> int:
    """Open a regular file that has no other name, and return its handle.

    Args:
        path: the file.
        flags: the flags of `os.open`.

    Raises:
        OSError: as `append_regular`.
    """
    if is_link(path):
        raise OSError(errno.ELOOP, "is a link to another place", str(path))
    with contextlib.suppress(FileNotFoundError):
        _check_own(os.lstat(path), path)
    handle = os.open(path, flags | getattr(os, "O_BINARY", 0) | _WITHOUT_WAITING | _WITHOUT_LINKS, 0o644)
    try:
        _check_own(os.fstat(handle), path)
    except OSError:
        os.close(handle)
        raise
    return handle


def is_link(path: str | Path) -> bool:
    """Whether a path is a symbolic link, or on Windows a junction."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return False
    junction = getattr(stat, "IO_REPARSE_TAG_MOUNT_POINT", None)
    return stat.S_ISLNK(found.st_mode) or (junction is not None and getattr(found, "st_reparse_tag", 0) == junction)


def is_damage(error: OSError) -> bool:
    """Whether an error of reading is due to a damaged, incomplete or hostile folder.

    Other errors, such as too many open files or a lost network, are due to the state of the machine, and pass.

    Args:
        error: the error.
    """
    return error.errno in _DAMAGE


def what_is_wrong(path: str | Path) -> str | None:
    """Why a path is not a regular file and not a link: words such as `is a pipe, not a file`; None where it is one.

    Raises:
        OSError: when the file is missing or cannot be looked at.
    """
    if is_link(path):
        return "is a link to another place"
    mode = os.lstat(path).st_mode
    return None if stat.S_ISREG(mode) else next((words for test, words in _NAMES if test(mode)), _OTHER)


def _check_own(found: os.stat_result, path: str | Path) -> None:
    _check_mode(found.st_mode, path)
    if found.st_nlink > 1:
        raise OSError(errno.EMLINK, "is also a file of another folder (it has a hard link)", str(path))


def _check_mode(mode: int, path: str | Path) -> None:
    if not stat.S_ISREG(mode):
        what = next((words for test, words in _NAMES if test(mode)), _OTHER)
        raise OSError(errno.EINVAL, what, str(path))
