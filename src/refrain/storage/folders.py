"""The folder of files that the library can make again."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from refrain.errors import DataError, MachineError

from .checkpoint import atomic_folder, discard

_FULL = (errno.ENOSPC, errno.EDQUOT)
# errors of writing alone; others may come from a text that is read
_OF_WRITING = (*_FULL, errno.EROFS, errno.EFBIG)


LEFT_SECONDS = 7 * 24 * 3600


class CacheError(MachineError):
    """The cache cannot be written."""

    exit_status = 4


def cache_folder() -> Path:
    """Return the folder of encoded corpora and compiled kernels: $REFRAIN_CACHE, or `refrain` in the user's cache.

    Raises:
        MachineError: when the user has no home and names no folder.
    """
    if chosen := os.environ.get("REFRAIN_CACHE"):
        return Path(chosen)
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "refrain"
    try:
        return Path.home() / ".cache" / "refrain"
    except RuntimeError:
        raise MachineError(
            "this user has no home folder for the cache; name a folder in the environment variable REFRAIN_CACHE"
        ) from None


@contextlib.contextmanager
def cached_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes a folder of the cache; one that was made in the meantime is kept.

    Args:
        folder: a folder below `cache_folder()`.

    Raises:
        CacheError: when the cache is full or cannot be written; the message names it and the environment variable.
    """
    try:
        _remove_old(folder.parent)
        with atomic_folder(folder) as fresh:
            yield fresh
    except OSError as error:
        cache = cache_folder()
        if error.errno not in _OF_WRITING and not str(error.filename or "").startswith(str(cache)):
            raise
        remedy = "choose a folder that can be written"
        if error.errno in _FULL:
            remedy = f"free some space ({_free_bytes(cache):,} bytes are free) or choose another folder"
        raise CacheError(
            f"{cache}: {error.strerror}; {remedy}; the environment variable REFRAIN_CACHE names the folder of the cache"
        ) from None


def _remove_old(place: Path) -> None:
    """Remove what processes that were killed have left in a folder of the cache a week ago or earlier."""
    for leftover in place.glob(".tmp-*"):
        with contextlib.suppress(OSError):
            if leftover.lstat().st_mtime < time.time() - LEFT_SECONDS:
                discard(leftover)


def check_owner(folder: Path) -> None:
    """Check that a folder of the cache was made by this user or by the administrator of the machine.

    Args:
        folder: a folder below `cache_folder()`.

    Raises:
        DataError: when it belongs to another user, who could change what is read from it.
    """
    # Windows has no numbers of users
    if hasattr(os, "getuid") and folder.stat().st_uid not in (0, os.getuid()):
        raise DataError(
            f"{folder}: belongs to another user; name a folder of your own in the environment variable REFRAIN_CACHE"
        )


def _free_bytes(folder: Path) -> int:
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free
