"""Reads files of folders that are not trusted: pipes, devices and files that are too large are refused at once."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

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


def open_regular(path: str | Path, *, follow_links: bool = True) -> BinaryIO:
    """Open a regular file to read its bytes.

    Args:
        path: the file.
        follow_links: whether `path` itself may be a symbolic link; links among its parent folders are followed.

    Raises:
        OSError: when the file is missing or cannot be read, is not a regular file, or is a link that may not be
            followed. `strerror` says which.
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
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit:,} bytes, the most that is read here", str(path))
    return content


def _check_mode(mode: int, path: str | Path) -> None:
    if not stat.S_ISREG(mode):
        what = next((words for test, words in _NAMES if test(mode)), "is not a regular file")
        raise OSError(errno.EINVAL, what, str(path))
