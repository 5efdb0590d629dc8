"""The manifest of a checkpoint folder, and the comparison of every file with it before anything else is read.

A folder may come from elsewhere, so sizes are compared before a file is read, and links and pipes are refused.
"""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from refrain.errors import CheckpointError

from .plain_json import loads
from .regular_files import is_damage, open_regular, read_regular
from .tensor_header import read_shapes
from .weight_schemes import SCHEMES

FORMAT = 1
FORMAT_WITH_SCHEMES = 2
"""The format of a checkpoint some of whose weights are stored by one of `SCHEMES`, which older versions cannot read."""
MANIFEST = "manifest.json"
SETTINGS_LIMIT = 2**20
"""Bytes of a document of settings or of a manifest: they have a few thousand, and a million keys do not fit."""
DOCUMENT_LIMIT = 2**29
"""Bytes of a vocabulary or of the state of a run: a vocabulary of ten million words has about 300 MB."""
HASHED_ANYWAY = 2**30
"""Bytes of tensors that take a few seconds to hash; a larger file, which may be a hole, needs a sound header first."""
MAX_FILES = 100
"""Files of a checkpoint, which has about six."""
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_REMEDIES = {
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENOMEM: "close other programs",
    errno.EACCES: "make it readable",
    errno.EPERM: "make it readable",
}


class Entry(NamedTuple):
    """The entry of the manifest for a file."""

    size: int  # bytes
    sha256: str
    schemes: tuple[str, ...] = ()  # how some of the weights in it are stored


class UnreadableError(CheckpointError):
    """A checkpoint that cannot be read now, for a reason that is not in the checkpoint: an older one is no remedy."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Turn the errors of reading a file of a checkpoint into errors that name it.

    Raises:
        CheckpointError: when the file is damaged or missing.
        UnreadableError: when the machine cannot read it now.
    """
    try:
        yield path
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: {error.strerror}, but {MANIFEST} lists it") from None
    except OSError as error:
        if is_damage(error):
            raise CheckpointError(f"{path}: damaged ({error.strerror})") from None
        remedy = _REMEDIES.get(error.errno or 0, "look at the disk or the network")
        raise UnreadableError(f"{path}: cannot be read ({error.strerror}); {remedy}, then try again") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged ({error})") from None


def verified_entries(folder: Path) -> dict[str, Entry]:
    """Compare every file of a checkpoint with the manifest, and return its entries by name.

    Raises:
        CheckpointError: when the folder is missing, of a newer format, or damaged; the message names the file.
        UnreadableError: when the machine cannot read a file now.
    """
    entries = _read_manifest(folder)
    for name, entry in entries.items():
        with reading(folder / name) as path, open_regular(path, follow_links=False) as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry.size:
                raise ValueError(f"it has {size:,} bytes, {entry.size:,} in {MANIFEST}")
            limit = SETTINGS_LIMIT if name == "config.json" else DOCUMENT_LIMIT
            if path.suffix == ".json" and size > limit:
                raise ValueError(f"it has {size:,} bytes; at most {limit:,} are read")
            if path.suffix == ".safetensors" and size > HASHED_ANYWAY:
                read_shapes(file, size)
                file.seek(0)
            found = hashlib.file_digest(file, "sha256").hexdigest()
        compare(path, found, entry.sha256)
    return entries


def check_sizes(folder: Path) -> None:
    """Compare the sizes of the files of a checkpoint with the manifest, and read none of them: for lists of many runs.

    Raises:
        CheckpointError: when the folder is missing or of a newer format, or a file is missing or has another size.
        UnreadableError: when the machine cannot look at a file now.
    """
    for name, entry in _read_manifest(folder).items():
        with reading(folder / name) as path:
            size = path.lstat().st_size
            if size != entry.size:
                raise ValueError(f"it has {size:,} bytes, {entry.size:,} in {MANIFEST}")


def _read_manifest(folder: Path) -> dict[str, Entry]:
    path = folder / MANIFEST
    with reading(path):
        try:
            manifest = loads(read_regular(path, limit=SETTINGS_LIMIT, follow_links=False))
        except (FileNotFoundError, NotADirectoryError):
            raise CheckpointError(f"{folder}: is not a checkpoint (it holds no {MANIFEST})") from None
    if not isinstance(manifest, dict) or type(version := manifest.get("format")) is not int:
        raise CheckpointError(f"{path}: damaged (it has no format)")
    if version not in (FORMAT, FORMAT_WITH_SCHEMES):
        raise CheckpointError(
            f"{path}: is in format {version}, but this version reads formats {FORMAT} and {FORMAT_WITH_SCHEMES}; "
            "update refrain-lm"
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or len(files) > MAX_FILES:
        raise CheckpointError(f"{path}: damaged (it does not list the files)")
    entries = {}
    for name, entry in files.items():
        size, digest = (entry.get("bytes"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        sound = type(size) is int and isinstance(digest, str) and _DIGEST.fullmatch(digest)
        if not sound or not _NAME.fullmatch(name):
            raise CheckpointError(f"{path}: damaged (it names {name[:100]!r})")
        assert isinstance(size, int) and isinstance(digest, str)
        schemes = entry.get("schemes", [])
        if not isinstance(schemes, list) or not all(isinstance(scheme, str) for scheme in schemes):
            raise CheckpointError(f"{path}: damaged (it does not say how the weights of {name} are stored)")
        if unknown := [scheme[:100] for scheme in schemes if scheme not in SCHEMES]:
            raise CheckpointError(
                f"{path}: {name} holds weights stored as {', '.join(unknown)}, but this version reads "
                f"{', '.join(SCHEMES)}; update refrain-lm"
            )
        entries[name] = Entry(size, digest, tuple(schemes))
    return entries


def compare(path: Path, found: str, expected: str) -> None:
    """Raise if the sha256 of a file is not the expected one.

    Raises:
        CheckpointError: when they differ.
    """
    if found != expected:
        raise CheckpointError(f"{path}: damaged (its sha256 is not that of {MANIFEST})")
