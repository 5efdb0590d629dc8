"""The lock of a run folder, which the system releases when a process ends, however it ends.

The file `.lock` is locked, and where the system can lock a folder, the folder as well: a `.lock` that somebody deletes
then lets no other process in. Where it cannot, the process that finds its `.lock` gone stops.
"""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from refrain.errors import CheckpointError

from .regular_files import open_own

# Windows lets no other process read the locked bytes, so one far behind the name of the owner is locked
_LOCKED_BYTE = 1 << 30
_TRIES = 10
# seconds to wait for a process that only looks whether a folder is locked
_LOOK = 0.005


class InUseError(CheckpointError):
    """A folder that another process has locked."""


class Lock:
    """A lock that this process holds.

    Args:
        folder: the locked folder.
        file: the handle of its `.lock`.
        directory: the handle of the folder itself if that is locked, too.
    """

    def __init__(self, folder: Path, file: int, directory: int | None) -> None:
        self._folder = folder
        self._file = file
        self._directory = directory

    def check(self) -> None:
        """Check that the lock still keeps other processes out.

        Raises:
            CheckpointError: when the folder was moved, or its `.lock` was removed and another process may write.
        """
        if self._directory is not None:
            if not _is_at(self._directory, self._folder):
                raise CheckpointError(
                    f"{self._folder}: was moved or replaced while this process was writing to it; nothing more is "
                    "written; continue the run with --resume where it is now"
                )
        elif os.name != "nt" and not _is_at(self._file, self._folder / ".lock"):
            raise CheckpointError(
                f"{self._folder / '.lock'}: was removed while this process was writing to the folder, so that another "
                "process may write as well; nothing more is written; continue the run with --resume"
            )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[Lock]:
    """Lock a folder.

    Args:
        folder: the folder, which must exist.

    Raises:
        InUseError: when another process holds the lock; the message names it.
        OSError: when `.lock` cannot be written, or is a link.
    """
    with contextlib.ExitStack() as stack:
        directory = _lock_directory(folder, stack)
        file = _lock_file(folder, stack)
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield Lock(folder, file, directory)


def is_locked(folder: Path) -> bool:
    """Whether a process of this machine holds the lock of a folder, or one of another machine where that can be seen.

    The function takes the lock for an instant, shared with other processes that look. A process that wants to write
    waits for that instant.

    Args:
        folder: the folder.

    Raises:
        OSError: when the folder has no `.lock`, or its file system does not support locks.
    """
    handle = open_own(folder / ".lock", os.O_RDONLY)
    try:
        return not try_lock(handle, shared=True)
    finally:
        os.close(handle)


def owner_of(folder: Path) -> tuple[str, str]:
    """Who has locked a folder last: the words `process N on HOST`, and the host; empty where nobody has."""
    try:
        handle = open_own(folder / ".lock", os.O_RDONLY)
    except OSError:
        return "", ""
    with os.fdopen(handle, "rb") as file:
        words = file.read(200).decode(errors="replace").strip()
    return words, words.rpartition(" on ")[2]


def try_lock(handle: int, *, shared: bool = False) -> bool:
    """Lock an open file or folder, or return False when another process holds its lock.

    Without a module that locks files, as on WebAssembly, it returns True.

    Args:
        handle: the open file or folder.
        shared: whether other processes may hold a shared lock as well, where the system knows shared locks.

    Raises:
        OSError: when the file system does not support locks.
    """
    if sys.platform == "win32":
        import msvcrt

        os.lseek(handle, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True
    try:
        import fcntl
    except ModuleNotFoundError:
        return True
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_directory(folder: Path, stack: contextlib.ExitStack) -> int | None:
    if os.name == "nt":
        return None
    handle = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, handle)
    try:
        if try_lock(handle):
            return handle
    except OSError:
        # network file systems lock only what is open for writing, which a folder never is
        return None
    raise _in_use(folder)


def _lock_file(folder: Path, stack: contextlib.ExitStack) -> int:
    path = folder / ".lock"
    for _ in range(_TRIES):
        handle = open_own(path, os.O_RDWR | os.O_CREAT)
        stack.callback(os.close, handle)
        if not _lock_soon(handle):
            raise _in_use(folder)
        # another process may have removed the run, and its .lock, between the two calls
        if os.name == "nt" or _is_at(handle, path):
            return handle
    raise _in_use(folder)


def _lock_soon(handle: int) -> bool:
    """Lock an open file, after a process that only looks at its lock has done so."""
    for _ in range(_TRIES):
        if try_lock(handle):
            return True
        time.sleep(_LOOK)
    return False


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except OSError:
        return False


def _in_use(folder: Path) -> InUseError:
    owner = owner_of(folder)[0] or "another process"
    return InUseError(f"{folder}: in use by {owner}; wait for it or choose another --out")
