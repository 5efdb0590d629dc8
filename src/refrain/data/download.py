"""Downloading one file from a server that may be slow, broken or hostile: every answer ends in a limited time."""

import hashlib
import http.client
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from refrain.errors import DataError, shortened
from refrain.storage.regular_files import open_regular

from .known import Remote

BLOCK_BYTES = 1 << 16
MOST_REDIRECTIONS = 5
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Attributes:
        silence_seconds: the longest time without a byte.
        whole_seconds: the time for a file, in addition to that at the slowest rate.
        slowest_rate: bytes per second; a file of the largest size at this rate is still downloaded.
        report_seconds: how often the number of bytes is reported.
    """

    silence_seconds: float = 20.0
    whole_seconds: float = 60.0
    slowest_rate: float = 100_000.0
    report_seconds: float = 5.0


class _Failed(Exception):
    """A download that cannot be completed; the text is the cause."""


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Follows a few redirections, and only those to other web servers."""

    max_redirections = MOST_REDIRECTIONS
    max_repeats = MOST_REDIRECTIONS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            fp.close()
            raise _Failed(f"redirected to {shortened(newurl, 100)}, which is not on a web server")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@dataclass
class _Progress:
    """What the thread of a download has reached."""

    received: int = 0
    digest: str = ""
    error: BaseException | None = None
    abandoned: bool = False


REMEDY = "get the file by other means and give its folder with --data, or name a mirror with --url"


def download(
    url: str,
    target: Path,
    remote: Remote,
    log: Callable[[str], None],
    patience: Patience,
    *,
    remedy: str = REMEDY,
) -> None:
    """Download a file and compare its sha256.

    The network is used in a thread of its own, which is left behind when the time is up. So no look-up of a name and no
    answer, however slow, lasts longer.

    Args:
        url: its address: http, https, or a local file.
        target: the file to write.
        remote: the size and the sha256 that it must have.
        log: called with a line of text every few seconds.
        patience: how long to wait.
        remedy: what to do where it cannot be downloaded.

    Raises:
        DataError: when it cannot be downloaded or is another file.
        OSError: when the file cannot be written.
    """
    progress = _Progress()
    deadline = patience.whole_seconds + remote.largest / patience.slowest_rate
    with target.open("wb") as file:
        thread = threading.Thread(target=_receive, args=(url, file, remote.largest, patience, progress), daemon=True)
        thread.start()
        waited = 0.0
        while waited < deadline:
            # the first report comes early
            wanted = patience.report_seconds if waited else min(2.0, patience.report_seconds)
            pause = min(wanted, deadline - waited)
            thread.join(pause)
            if not thread.is_alive():
                break
            waited += pause
            log(f"  {progress.received:,} bytes")
        else:
            progress.abandoned = True
            progress.error = _Failed(f"not complete after {deadline:.0f} s, with {progress.received:,} bytes")
    if isinstance(progress.error, _Failed):
        raise DataError(f"{shortened(url, 300)}: cannot be fetched ({progress.error}); {remedy}")
    if progress.error is not None:
        raise progress.error
    if progress.digest != remote.sha256:
        raise DataError(
            f"{shortened(url, 300)}: sha256 is {progress.digest}, expected {remote.sha256}; the file has changed there "
            "or was damaged on the way, and was not kept"
        )


def _receive(url: str, file: BinaryIO, largest: int, patience: Patience, progress: _Progress) -> None:
    """Download to an open file; what is raised is stored."""
    try:
        digest = hashlib.sha256()
        for block in _blocks(url, largest, patience):
            if progress.abandoned:
                return
            digest.update(block)
            file.write(block)
            progress.received += len(block)
        progress.digest = digest.hexdigest()
    except BaseException as error:
        progress.error = progress.error or error


def _blocks(url: str, largest: int, patience: Patience) -> Any:
    """The content at an address, a block at a time.

    Raises:
        _Failed: when it cannot be read, or is larger than `largest`.
    """
    received = 0
    try:
        if (parts := urllib.parse.urlsplit(url)).scheme == "file":
            # a pipe in the place of a file would be waited for
            open_regular(urllib.request.url2pathname(parts.path)).close()
        with _opener(url).open(url, timeout=patience.silence_seconds) as response:
            status = getattr(response, "status", None)
            if status not in (None, 200):
                raise _Failed(f"the server answers {status} {shortened(str(response.reason))}")
            declared = response.headers.get("Content-Length", "")
            if declared.isdecimal() and len(declared) < 20 and int(declared) > largest:
                raise _Failed(f"it has {int(declared):,} bytes, more than the {largest:,} that it should have at most")
            while block := response.read(BLOCK_BYTES):
                received += len(block)
                if received > largest:
                    raise _Failed(f"it is larger than the {largest:,} bytes that it should have at most")
                yield block
            if declared.isdecimal() and len(declared) < 20 and received < int(declared):
                raise _Failed(f"the connection ended after {received:,} of {int(declared):,} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        # the error text of a server may contain newlines
        reason = " ".join(str(getattr(error, "reason", None) or error or type(error).__name__).split())
        raise _Failed(shortened(reason, 200)) from None


def _opener(url: str) -> urllib.request.OpenerDirector:
    """An opener for http, https and local files. A server on this machine is not asked for through a proxy."""
    opener = urllib.request.OpenerDirector()
    local = urllib.parse.urlsplit(url).hostname in LOOPBACK
    handlers: list[Any] = [
        urllib.request.ProxyHandler({} if local else None),
        urllib.request.HTTPHandler(),
        urllib.request.FileHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        _Redirections(),
    ]
    if hasattr(urllib.request, "HTTPSHandler"):
        handlers.append(urllib.request.HTTPSHandler())
    for handler in handlers:
        opener.add_handler(handler)
    return opener
