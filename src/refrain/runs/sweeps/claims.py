"""Claims of cells: which worker trains a cell, and whether it is alive, by nothing but files in a shared folder.

A claim is a folder `NUMBER.GENERATION`, and making it is the claim: of several processes, one makes it. The worker
locks it, and writes a heartbeat into it every few seconds. Where the lock of a worker of the same machine is free, the
worker is dead. One of another machine, whose locks may not be seen here, is dead when its heartbeat has not changed for
a time by the clock of who looks. The cell of a dead worker is taken over by making the folder of the next generation.
A worker that was only frozen or cut off finds that folder, and stops.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from refrain.storage.checkpoint import write_atomically
from refrain.storage.locks import is_locked, locked
from refrain.storage.machine import machine_name
from refrain.storage.plain_json import dumps, loads
from refrain.storage.regular_files import read_regular

HEARTBEAT = "heartbeat.json"
BEAT_SECONDS = 5.0
PATIENCE_SECONDS = 60.0
"""A heartbeat on another machine that has not changed for so long has stopped."""
_LIMIT = 10_000


def folder_of(claims: Path, number: int, generation: int) -> Path:
    """The folder of a claim."""
    return claims / f"{number:04d}.{generation}"


def generations(claims: Path) -> dict[int, int]:
    """The number of each claimed cell -> the latest generation of its claims."""
    found: dict[int, int] = {}
    with contextlib.suppress(FileNotFoundError), os.scandir(claims) as entries:
        for entry in entries:
            number, _, generation = entry.name.partition(".")
            if number.isdigit() and generation.isdigit():
                found[int(number)] = max(found.get(int(number), 0), int(generation))
    return found


def heartbeat_of(folder: Path) -> dict[str, Any]:
    """The last heartbeat of a claim; empty where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError):
        found = loads(read_regular(folder / HEARTBEAT, limit=_LIMIT, follow_links=False))
        if isinstance(found, dict):
            return found
    return {}


class Watch:
    """Finds out whether the workers of claims are alive.

    Args:
        patience: the seconds after which a heartbeat of another machine has stopped.
        clock: the time in seconds.
    """

    def __init__(self, patience: float = PATIENCE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience, self._clock = patience, clock
        self._machine = machine_name()
        self._seen: dict[Path, tuple[Any, float]] = {}

    def sees_lock(self, beat: dict[str, Any]) -> bool:
        """Whether the lock of a worker tells here that it is alive: it runs on this machine, and locks work.

        Args:
            beat: the last heartbeat of the worker.
        """
        return beat.get("machine") == self._machine and bool(beat.get("locked"))

    def is_alive(self, folder: Path) -> bool:
        """Whether the worker of a claim is alive, or may be.

        Args:
            folder: the folder of the claim.
        """
        beat = heartbeat_of(folder)
        if beat.get("ended"):
            return False
        if self.sees_lock(beat):
            with contextlib.suppress(OSError):
                return is_locked(folder)
        count, now = beat.get("beat"), self._clock()
        before, since = self._seen.get(folder, (None, now))
        if folder not in self._seen or before != count:
            self._seen[folder] = (count, now)
            return True
        return now - since < self.patience


class Claim:
    """A cell that this process trains, from `claim` to the end of its body.

    Attributes:
        number: the number of the cell.
        generation: 1 for the first claim of a cell.
        lost: set when another worker has taken the cell over.
    """

    def __init__(self, claims: Path, number: int, generation: int, about: dict[str, Any], beat_seconds: float) -> None:
        self.number, self.generation = number, generation
        self.lost = threading.Event()
        self.folder = folder_of(claims, number, generation)
        self._next = folder_of(claims, number, generation + 1)
        self._about, self._beat_seconds, self._beats = about, beat_seconds, 0
        self._done = threading.Event()

    @contextlib.contextmanager
    def held(self) -> Iterator["Claim"]:
        """Lock the claim and keep its heart beating while the body runs; then others may take the cell at once."""
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder))
                self._about |= {"locked": is_locked(self.folder)}
            except OSError:
                # a file system without locks, where the heartbeat alone tells
                self._about |= {"locked": False}
            self._write()
            thread = threading.Thread(target=self._beat, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                self._done.set()
                thread.join()
                with contextlib.suppress(OSError):
                    self._write(ended=True)

    def check(self) -> bool:
        """Whether the cell is still this worker's; otherwise `lost` is set."""
        if self._next.exists() or not self.folder.exists():
            self.lost.set()
        return not self.lost.is_set()

    def _beat(self) -> None:
        while not self._done.wait(self._beat_seconds):
            # a disk that is full for a while is no reason to stop
            with contextlib.suppress(OSError):
                if not self.check():
                    return
                self._write()

    def _write(self, *, ended: bool = False) -> None:
        self._beats += 1
        beat = {**self._about, "pid": os.getpid(), "machine": machine_name(), "beat": self._beats, "ended": ended}
        write_atomically(self.folder / HEARTBEAT, dumps(beat) + "\n")


def claim(
    claims: Path, number: int, generation: int, about: dict[str, Any], *, beat_seconds: float = BEAT_SECONDS
) -> Claim | None:
    """Claim a cell, or return None when another process was faster.

    Args:
        claims: the folder of claims.
        number: the number of the cell.
        generation: one more than the latest generation of its claims.
        about: plain data that each heartbeat has.
        beat_seconds: the seconds between heartbeats.

    Raises:
        OSError: when the folder cannot be written.
    """
    try:
        folder_of(claims, number, generation).mkdir()
    except FileExistsError:
        return None
    return Claim(claims, number, generation, about, beat_seconds)
