"""The folder of compiled kernels: what is loaded from it was compiled by this user and is as it was compiled.

Loading a library runs its code. A library is therefore loaded only if it and its folder belong to this user, nobody
else can write them, and its bytes have the sha256 that was recorded in a file beside it. The bytes are hashed just
before the library is opened by its path; in between, nobody but this user could replace it.
"""

import errno
import hashlib
import os
import stat
from pathlib import Path

from refrain.storage.checkpoint import write_atomically
from refrain.storage.folders import cache_folder
from refrain.storage.regular_files import open_regular

LARGEST_LIBRARY = 1 << 26
_WRITTEN_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def kernel_folder() -> Path:
    """The folder of this user's kernels, which may not exist yet; another user of the same cache has another one."""
    folder = cache_folder() / "native"
    try:
        shared = not _belongs(folder.lstat())
    except OSError:
        shared = False
    return folder.with_name(f"native-{os.getuid()}") if shared else folder


def make_folder(folder: Path) -> None:
    """Create a folder that only this user can read and write; of an existing one, only this user can write it.

    Args:
        folder: from `kernel_folder`.

    Raises:
        OSError: when it cannot be created, or is a link or another user's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or not _belongs(found):
        raise PermissionError(errno.EPERM, "belongs to another user; set REFRAIN_CACHE to another folder", str(folder))
    if found.st_mode & _WRITTEN_BY_OTHERS:
        folder.chmod(0o700)


def record(library: Path) -> Path:
    """The path of the file with the sha256 of a library."""
    return library.with_name(f"{library.name}.sha256")


def put(made: Path, library: Path) -> None:
    """Move a compiled library to its place, with its sha256 beside it.

    Args:
        made: the complete file, in a folder on the same disk.
        library: the path in the cache.
    """
    made.chmod(0o700)
    with made.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    # a process that reads between the two steps finds a difference, and compiles the library again
    write_atomically(record(library), digest)
    record(library).chmod(0o600)
    os.replace(made, library)


def put_record(path: Path, text: str) -> None:
    """Write a small file that only this user can change into a folder inside that of the kernels.

    Args:
        path: the file.
        text: its content.

    Raises:
        OSError: when it cannot be written.
    """
    make_folder(path.parent.parent)
    make_folder(path.parent)
    write_atomically(path, text)
    path.chmod(0o600)


def is_intact(library: Path) -> bool:
    """Whether a library may be loaded; False also where it does not exist.

    Args:
        library: the path in the cache.
    """
    return damage(library) is None


def damage(library: Path) -> str | None:
    """Why a library may not be loaded, in words that are empty if it does not exist; None if it may be loaded.

    Args:
        library: the path in the cache.
    """
    try:
        folder = library.parent.lstat()
        if not stat.S_ISDIR(folder.st_mode):
            return "its folder is a link to another place"
        if not _is_own(folder):
            return "others can write its folder"
        digest = hashlib.sha256(read_own(library)).hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    try:
        recorded = read_own(record(library))
    except OSError as error:
        return f"its recorded sha256 cannot be read ({error.strerror})"
    return None if digest.encode() == recorded else "it does not have its recorded sha256"


def read_own(path: Path, limit: int = LARGEST_LIBRARY) -> bytes:
    """The content of a file that belongs to this user, and that nobody else can write.

    Args:
        path: the file; a link is not followed.
        limit: the number of bytes that are read.

    Raises:
        OSError: when it does not exist, or others can write it.
    """
    with open_regular(path, follow_links=False) as file:
        if not _is_own(os.fstat(file.fileno())):
            raise PermissionError(errno.EPERM, "others can write this file", str(path))
        return file.read(limit)


def _is_own(found: os.stat_result) -> bool:
    # Windows has neither numbers of users nor these permissions
    return _belongs(found) and (not hasattr(os, "getuid") or not found.st_mode & _WRITTEN_BY_OTHERS)


def _belongs(found: os.stat_result) -> bool:
    return not hasattr(os, "getuid") or found.st_uid == os.getuid()
