"""Downloading a known corpus. A file is kept only if its sha256 is the expected one."""

import os
from collections.abc import Callable
from pathlib import Path

from refrain.errors import DataError
from refrain.storage.checkpoint import atomic_folder

from .archive import extract
from .download import Patience, download
from .known import KNOWN, fetched_folder


def fetch(
    name: str,
    *,
    to: Path | None = None,
    base_url: str | None = None,
    log: Callable[[str], None] = lambda line: None,
    patience: Patience | None = None,
) -> Path:
    """Download a corpus into a folder, either completely or not at all.

    Args:
        name: a key of `KNOWN`.
        to: the folder, which must not exist; None is the folder where `--data NAME` looks.
        base_url: download `base_url/FILE` from a mirror instead; the sha256 must be the same.
        log: called with a line of text for every file.
        patience: how long to wait for a server; None for the usual times.

    Returns:
        The folder.

    Raises:
        DataError: when the name is unknown, a host cannot be reached, or a file is not the expected one.
    """
    if name not in KNOWN:
        raise DataError(f"unknown corpus {name!r}; known: {', '.join(KNOWN)}")
    folder = to or fetched_folder(name)
    if os.path.lexists(folder):
        raise DataError(f"{folder}: exists already; use it with --data {folder}, or delete it to fetch again")
    downloads: dict[str, Path] = {}
    with atomic_folder(folder) as fresh:
        for remote in KNOWN[name].files:
            url = remote.url if base_url is None else f"{base_url.rstrip('/')}/{remote.url.rpartition('/')[2]}"
            if url not in downloads:
                downloads[url] = fresh / (".download" if remote.member else remote.name)
                log(f"fetching {url}")
                download(url, downloads[url], remote, log, patience or Patience())
            if remote.member is not None:
                extract(downloads[url], remote.member, fresh / remote.name, remote.largest_member)
        (fresh / ".download").unlink(missing_ok=True)
    return folder
