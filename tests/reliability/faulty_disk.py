"""A disk that fails at one operation: Python's functions on files, counted and made to fail for the files of a folder.

It is installed for good, in a process of its own. What is done to a file before its first save of a run, in each save,
and between two saves is a phase, and operations are counted from 0 in each.
"""

import builtins
import errno
import io
import json
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

DIED = 9
DEATHS = ("die-before", "die-after")
ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS")
# only writes can end early
WRITES = ("short", "torn")


class Fault(NamedTuple):
    """What fails.

    Attributes:
        phase: `after-N` or `save-N`, where N counts saves from 1; `after-0` is all before the first.
        index: the number of the operation.
        kind: the process dies before or after the operation, the operation raises an error, or a write takes only half
            of its bytes, after which the process dies if the write is `torn`.
    """

    phase: str
    index: int
    kind: str


class Operation(NamedTuple):
    """An operation in the trace: its phase, its name, the file or folder, and where it is moved to."""

    phase: str
    name: str
    path: str
    target: str = ""


class _Raw(io.FileIO):
    """A file whose writes are operations."""

    def __init__(self, disk, path, file, mode, closefd):
        self.disk, self.path = disk, path
        super().__init__(file, mode, closefd)

    def write(self, data):
        return self.disk.write(self.path, data, super().write)

    def truncate(self, size=None):
        return self.disk.operation("truncate", self.path, lambda: super(_Raw, self).truncate(size))


class FaultyDisk:
    """Counts the operations below a folder, and fails at one of them."""

    def __init__(self, folder, fault=None):
        self.folder, self.fault = str(folder), fault
        self.trace, self.counts, self.saves, self.phase = [], Counter(), 0, "after-0"
        self.handles = {}
        self.open, self.die = builtins.open, os._exit

    def install(self):
        for name in ("mkdir", "rmdir", "unlink", "remove", "truncate", "ftruncate", "fsync", "open"):
            self._patch(name)
        for name in ("rename", "replace", "symlink"):
            self._patch(name, paths=2)
        for name in ("write", "pwrite"):
            self._patch_write(name)
        builtins.open = io.open = self._open
        self._patch_save()

    def operation(self, name, path, act, target="", filename=None):
        """Do something to a file, unless this is what fails."""
        if path is None or not f"{path}/".startswith(f"{self.folder}/"):
            return act()
        index = self.counts[self.phase]
        self.counts[self.phase] += 1
        self.trace.append(Operation(self.phase, name, path, target))
        if self.fault is None or (self.phase, index) != self.fault[:2] or self.fault.kind in WRITES:
            return act()
        if self.fault.kind in DEATHS:
            try:
                if self.fault.kind == "die-after":
                    act()
            finally:
                # also after an operation that fails by itself, such as the removal of a file that is not there
                self.die(DIED)
        number = getattr(errno, self.fault.kind)
        raise OSError(number, os.strerror(number), *([] if filename is None else [filename]))

    def write(self, path, data, act):
        """Write to a file, perhaps a part alone."""
        index = self.counts[self.phase]
        here = path is not None and f"{path}/".startswith(f"{self.folder}/")
        failing = here and self.fault is not None and (self.phase, index) == self.fault[:2]
        if failing and self.fault.kind in WRITES:
            data = bytes(data)[: max(1, len(data) // 2)]
        written = self.operation("write", path, lambda: act(data))
        if failing and self.fault.kind == "torn":
            self.die(DIED)
        return written

    def _patch(self, name, paths=1):
        real = getattr(os, name)

        def patched(*arguments, **options):
            path = self._path(arguments[paths - 1 if name == "symlink" else 0], options)
            target = self._path(arguments[1], options) if paths == 2 else ""
            of_handle = isinstance(arguments[0], int)
            filename = None if of_handle else os.fspath(arguments[0])
            found = self.operation(name, path, lambda: real(*arguments, **options), target, filename)
            if name == "open":
                self.handles[found] = path
            return found

        setattr(os, name, patched)

    def _patch_write(self, name):
        real = getattr(os, name)

        def patched(handle, data, *more):
            return self.write(self.handles.get(handle), data, lambda part: real(handle, part, *more))

        setattr(os, name, patched)

    def _patch_save(self):
        from refrain.storage.run_folder import RunFolder

        real = RunFolder.save

        def save(*arguments, **options):
            self.saves += 1
            self.phase = f"save-{self.saves}"
            found = real(*arguments, **options)
            self.phase = f"after-{self.saves}"
            return found

        RunFolder.save = save

    def _path(self, given, options):
        """The whole path of an argument, which may be an open file, or a name in an open folder."""
        if isinstance(given, int):
            return self.handles.get(given)
        within = self.handles.get(options.get("dir_fd"), os.getcwd())
        return os.path.join(within or os.getcwd(), os.fspath(given))

    def _open(self, file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
        path = self._path(file, {}) if isinstance(file, int | str | os.PathLike) else None
        if path is None or not set(mode) & set("wax+") or opener is not None:
            return self.open(file, mode, buffering, encoding, errors, newline, closefd, opener)
        plain = mode.replace("b", "").replace("t", "")
        filename = None if isinstance(file, int) else os.fspath(file)
        raw = self.operation("open", path, lambda: _Raw(self, path, file, plain, closefd), filename=filename)
        buffered = io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding or "utf-8", errors, newline)


def run_command(words, folder, fault=None, trace=None):
    """Call the command line on a disk that fails for a run folder; write what was done to the folder to a file."""
    from refrain.cli.app import main

    disk = FaultyDisk(folder, fault)
    disk.install()
    status = main(words)
    if trace is not None:
        with disk.open(trace, "w") as file:
            json.dump(disk.trace, file)
    return status


def read_trace(path):
    return [Operation(*one) for one in json.loads(Path(path).read_text())]
