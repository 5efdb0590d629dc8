"""Downloading a known corpus. A file is kept only if its sha256 is the expected one."""

import hashlib
import http.client
import math
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

from refrain.errors import DataError
from refrain.progress import Track, untracked
from refrain.storage.checkpoint import atomic_folder

from .known import KNOWN, Remote, fetched_folder

TIMEOUT_SECONDS = 60


def fetch(
    name: str,
    *,
    to: Path | None = None,
    base_url: str | None = None,
    log: Callable[[str], None] = lambda line: None,
    track: Track = untracked,
) -> Path:
    """Download a corpus into a folder, either completely or not at all.

    Args:
        name: a key of `KNOWN`.
        to: the folder, which must not exist; None is the folder where `--data NAME` looks.
        base_url: download `base_url/FILE` from a mirror instead; the sha256 must be the same.
        log: called with a line of text for every file.
        track: reports each download, in megabytes.

    Returns:
        The folder.

    Raises:
        DataError: when the name is unknown, a host cannot be reached, or a file is not the expected one.
    """
    if name not in KNOWN:
        raise DataError(f"unknown corpus {name!r}; known: {', '.join(KNOWN)}")
    folder = to or fetched_folder(name)
    if folder.exists():
        raise DataError(f"{folder}: exists already; use it with --data {folder}, or delete it to fetch again")
    downloads: dict[str, Path] = {}
    with atomic_folder(folder) as fresh:
        for remote in KNOWN[name].files:
            url = remote.url if base_url is None else f"{base_url.rstrip('/')}/{remote.url.rpartition('/')[2]}"
            if url not in downloads:
                downloads[url] = fresh / (".download" if remote.member else remote.name)
                log(f"fetching {url}")
                _download(url, downloads[url], remote, track)
            if remote.member is not None:
                _extract(downloads[url], remote.member, fresh / remote.name)
        (fresh / ".download").unlink(missing_ok=True)
    return folder


def _download(url: str, target: Path, remote: Remote, track: Track) -> None:
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, target.open("wb") as file:
            length = response.headers.get("Content-Length", "")
            size = math.ceil(int(length) / (1 << 20)) if length.isdecimal() else None
            blocks = iter(lambda: response.read(1 << 20), b"")
            for block in track(blocks, f"fetching {target.name}, in megabytes", size):
                digest.update(block)
                file.write(block)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        # the error text of a server may contain newlines
        reason = " ".join(str(getattr(error, "reason", error)).split())
        raise DataError(
            f"{url}: cannot be fetched ({reason}); get the file by other means and give its folder with --data, "
            "or name a mirror with --url"
        ) from None
    if digest.hexdigest() != remote.sha256:
        raise DataError(
            f"{url}: sha256 is {digest.hexdigest()}, expected {remote.sha256}; the file has changed there or was "
            "damaged on the way, and was not kept"
        )


def _extract(archive: Path, member: str, target: Path) -> None:
    try:
        # only the named member is extracted, and never under the name it has in the archive
        with zipfile.ZipFile(archive) as opened, opened.open(member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive.name}: {error}") from None
