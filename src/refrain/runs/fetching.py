"""Fetches packed runs from a web server or from a file. A run is kept only if every hash is the expected one."""

import os
import re
import urllib.parse
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from refrain.data.download import Patience, download
from refrain.data.known import Remote
from refrain.errors import CheckpointError, DataError, UserError, shortened
from refrain.storage.checkpoint import atomic_folder
from refrain.storage.folders import cached_folder

from .named import bundled_names, fetched_folder, is_name
from .packed import LARGEST, unpack

SCHEMES = ("http", "https", "file")
REMEDY = "check the address, or get the file by other means and fetch it from file:///PATH/TO/FILE.tar"


def fetch_run(
    url: str,
    sha256: str,
    *,
    out: Path | None = None,
    log: Callable[[str], None] = lambda line: None,
    patience: Patience | None = None,
    largest: int = LARGEST,
) -> Path:
    """Download a packed run and unpack it, either completely or not at all.

    Args:
        url: the address of the file: http, https or file.
        sha256: the sha256 that the file must have, as `refrain models pack` prints it.
        out: the run folder to make; None is a folder of the cache, in which the run is found by its name, that of the
            file.
        log: called with lines of text.
        patience: how long to wait for a server; None for the usual times.
        largest: a size in bytes that the file must not exceed.

    Returns:
        The run folder.

    Raises:
        UserError: when the address or the hash is not one, or the run would have the name of one that comes with
            refrain.
        DataError: when the file cannot be fetched, is another file, or is not a packed run.
        CheckpointError: when the folder exists, or the run in the file is damaged.
    """
    name = _name_in(url)
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UserError(f"--sha256 must be the 64 hexadecimal digits that refrain models pack prints (got {sha256!r})")
    if out is None and not is_name(name):
        raise UserError(f"{shortened(url, 300)}: the file name is no name for a run; give a folder with --out")
    if out is None and name in bundled_names():
        raise UserError(f"{name} is the name of a model that comes with refrain; give a folder with --out")
    folder = fetched_folder() / name if out is None else out
    if os.path.lexists(folder):
        raise CheckpointError(f"{folder}: exists already; use it, or delete it to fetch again")
    with cached_folder(folder) if out is None else atomic_folder(folder) as fresh:
        packed = fresh / ".download"
        log(f"fetching {shortened(url, 300)}")
        remote = Remote(url, sha256, packed.name, largest=largest)
        download(url, packed, remote, log, patience or Patience(), remedy=REMEDY)
        try:
            with packed.open("rb") as file:
                unpack(file, fresh)
        except DataError as error:
            raise DataError(f"{shortened(url, 300)}: {error}; nothing was kept") from None
        packed.unlink()
    return folder


def _name_in(url: str) -> str:
    """The name of the file at an address, without its ending."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        parts = urllib.parse.urlsplit("")
    if parts.scheme not in SCHEMES:
        raise UserError(f"{shortened(url, 300)}: is no address; give one that begins with {'://, '.join(SCHEMES)}://")
    if parts.scheme == "file" and (parts.netloc not in ("", "localhost") or not parts.path.startswith("/")):
        raise UserError(
            f"{shortened(url, 300)}: names no file of this machine; write file:///PATH/TO/FILE.tar, with three slashes "
            "before an absolute path"
        )
    return PurePosixPath(urllib.parse.unquote(parts.path)).name.removesuffix(".tar")
