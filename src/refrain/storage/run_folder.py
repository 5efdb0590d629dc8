"""The folder of a run: settings, metrics, checkpoints and samples. Only one process may write to it.

config.json      every setting, resolved              recipe.toml     the settings as the user gave them
manifest.json    versions, machine, data              metrics.jsonl   one line for each measurement
checkpoints/     step-N: the last two and the best    best            link to the best checkpoint, or its path
samples/         text sampled during training         summary.json    the final figures
tensorboard/     events, if requested                 README.md       a card of the model and its figures
report.html      figures, curves, samples and settings as a page
"""

import contextlib
import errno
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from refrain.errors import CheckpointError, UnwritableError

from .checkpoint import Checkpoint, Tensors, discard, flush, newest, save, temporary_path, write_atomically
from .checkpoint_manifest import SETTINGS_LIMIT
from .locks import Lock, locked
from .plain_json import dumps, loads
from .regular_files import append_regular, is_link, read_regular
from .run_layout import BEST, OWN_FILES, OWN_FOLDERS, check_parts, holds_checkpoints_only, step_of, steps_in
from .weight_schemes import Int8Rows

KEEP = 2
TEXT_LIMIT = 2**24
"""Bytes of a JSON file of a run; the largest is a summary with a table of tags."""


class RunFolder:
    """The folder of one run.

    Args:
        path: the path of the folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"
        self._lock: Lock | None = None

    def create(self, *, force: bool = False, check: Callable[[], None] | None = None) -> None:
        """Create an empty run folder.

        Args:
            force: remove an existing run first. Files that were not written by a run are kept.
            check: is called in the lock before a run is removed, and raises where it must stay.

        Raises:
            CheckpointError: when the folder exists and is not empty, or cannot be written.
        """
        if self.check_available(force=force):
            with self.locked():
                if check is not None:
                    check()
                self.clear()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            (self.path / "samples").mkdir(exist_ok=True)
        except OSError as error:
            raise UnwritableError(f"{self.path}: cannot be written ({error.strerror}); choose another --out") from None
        check_parts(self.path, writing=True)

    def check_available(self, *, force: bool = False) -> bool:
        """Check that the folder can become a run, and change nothing.

        Args:
            force: whether an existing run may be removed.

        Returns:
            Whether an existing run has to be removed.

        Raises:
            CheckpointError: when the folder exists and is not empty, and may not be replaced, or a part of it is a
                link to another place.
        """
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return False
        if not self.path.is_dir():
            raise CheckpointError(f"{self.path}: exists already and is no folder; choose another --out")
        if not self.is_run():
            other = "holds other files than those of a run"
            found = f"{other}, which --force does not replace" if force else f"exists already and {other}"
            raise CheckpointError(f"{self.path}: {found}; choose another --out")
        if not force:
            remedy = "choose another --out, continue it with --resume, or replace it with --force"
            raise CheckpointError(f"{self.path}: exists already; {remedy}")
        check_parts(self.path, writing=True)
        return True

    def remove(self) -> None:
        """Remove the run, and the folder if it contains no other files.

        Raises:
            CheckpointError: when another process is writing to the run.
        """
        if not self.path.is_dir():
            return
        with self.locked():
            self.clear()
            # within the lock, so that a process that locks the folder next makes a new one; Windows refuses that
            discard(self.path / ".lock")
        if os.name == "nt":
            discard(self.path / ".lock")
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def clear(self) -> None:
        """Remove what a run has written, and nothing else. The caller holds the lock."""
        leftovers = [path.name for path in self.path.glob(".tmp-*")]
        for name in (BEST, *leftovers, *OWN_FILES, *OWN_FOLDERS):
            if name != ".lock":
                discard(self.path / name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[Lock]:
        """Lock the folder, so that no other process writes to it; yields the lock.

        Raises:
            CheckpointError: when another process holds the lock, where the message names it, or a part of the folder is
                a link to another place.
        """
        check_parts(self.path, writing=True)
        with contextlib.ExitStack() as stack:
            try:
                self._lock = stack.enter_context(locked(self.path))
            except OSError as error:
                raise UnwritableError(f"{self.path}: cannot be written ({error.strerror})") from None
            stack.callback(self._unlock)
            yield self._lock

    def _unlock(self) -> None:
        self._lock = None

    @contextlib.contextmanager
    def _writing(self, needed: int | None = None) -> Iterator[None]:
        if self._lock is not None:
            self._lock.check()
        try:
            yield
        except OSError as error:
            cause, repair = str(error.strerror), "make the folder writable"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                need = "" if needed is None else f", but about {needed:,} are needed"
                cause += f"; {shutil.disk_usage(self.path).free:,} bytes are free{need}"
                repair = "free some space"
            elif error.errno == errno.EFBIG:
                repair = "raise the limit of file sizes (ulimit -f)"
            elif error.errno == errno.EIO:
                repair = "check the disk"
            if any(self.checkpoints.glob("step-*")):
                resume = f"refrain train --resume --out {shlex.quote(str(self.path))}"
                remedy = f"earlier checkpoints are intact: {repair}, then run {resume}"
            else:
                remedy = f"no checkpoint was saved: {repair} and start again with --force, or choose another --out"
            path = error.filename or self.path
            raise UnwritableError(f"{path}: cannot be written ({cause}); {remedy}") from None

    def write_json(self, name: str, data: Any) -> None:
        """Replace a JSON file of the run."""
        self.write_text(name, dumps(data, indent=2) + "\n")

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file of the run."""
        with self._writing():
            write_atomically(self.path / name, text)

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run.

        Raises:
            CheckpointError: when it is missing or damaged.
        """
        path = self.path / name
        limit = SETTINGS_LIMIT if name == "config.json" else TEXT_LIMIT
        try:
            return loads(read_regular(path, limit=limit, follow_links=False))
        except FileNotFoundError:
            raise CheckpointError(f"{self.path}: is not a run folder (it holds no {name})") from None
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
        except ValueError as error:
            raise CheckpointError(f"{path}: cannot be read ({error})") from None

    def log(self, record: Mapping[str, Any]) -> int:
        """Append a line of metrics, and return the length of the file in bytes."""
        with self._writing(), append_regular(self.metrics) as file:
            file.write((dumps(record) + "\n").encode())
            file.flush()
            return file.tell()

    def cut_metrics(self, length: int) -> None:
        """Truncate the metrics to the length that they had at the checkpoint from which the run continues."""
        with self._writing(), append_regular(self.metrics) as file:
            file.truncate(min(length, file.seek(0, os.SEEK_END)))

    def save(self, step: int, tensors: Tensors, documents: Mapping[str, Any], *, best: int | None) -> Path:
        """Write `checkpoints/step-N`, point `best` at the best step, and remove all but the last two and the best."""
        folder = self.checkpoints / f"step-{step:09d}"
        each = [tensor for group in tensors.values() for tensor in group.values()]
        # of rounded weights, the multiples
        whole = [tensor.multiples if isinstance(tensor, Int8Rows) else tensor for tensor in each]
        needed = sum(tensor.numel() * tensor.element_size() for tensor in whole)
        with self._writing(needed):
            check_parts(self.path, writing=True)
            if self.metrics.exists():
                # the checkpoint records the length of this file
                flush(self.metrics)
            save(folder, tensors, documents)
            if best is not None:
                self.point_best_at(best)
        kept = {f"step-{best:09d}"} if best is not None else set()
        for old in steps_in(self.checkpoints)[:-KEEP]:
            if old.name not in kept:
                discard(old)
        return folder

    def checkpoint(self, step: int) -> Checkpoint:
        """Open the checkpoint of a step.

        Raises:
            CheckpointError: when it is missing or damaged.
        """
        return Checkpoint(self.checkpoints / f"step-{step:09d}")

    def point_best_at(self, step: int) -> None:
        """Make `best` a link to the checkpoint of a step, or a text file with its path where links do not work."""
        best = self.path / BEST
        target = f"checkpoints/step-{step:09d}"
        if best.is_dir() and (os.name == "nt" or not is_link(best)):
            # a copy of a run that was made without links has a folder here; Windows cannot replace a link to one
            discard(best)
        if os.name == "nt" or not _replace_link(best, target):
            write_atomically(best, target + "\n")

    def newest(self) -> tuple[Checkpoint, list[str]]:
        """Find the newest undamaged checkpoint. No file is changed, as a run may be in progress.

        Returns:
            The checkpoint, and a message for each newer one that is damaged.

        Raises:
            CheckpointError: when the run has no undamaged checkpoint.
        """
        check_parts(self.path, writing=False)
        if not steps_in(self.checkpoints):
            raise CheckpointError(
                f"{self.path}: holds no checkpoint, as none was saved yet; wait for one, or start the run again with: "
                f"refrain train RECIPE --out {shlex.quote(str(self.path))} --force"
            )
        return newest(self.checkpoints)

    def tidy(self, good: Path) -> None:
        """Remove partly written files, and rename damaged newer checkpoints; the caller must hold the lock.

        Args:
            good: the newest undamaged checkpoint.
        """
        folders = [self.path, *(self.path / name for name in OWN_FOLDERS)]
        for leftover in [path for folder in folders if not is_link(folder) for path in folder.glob(".tmp-*")]:
            discard(leftover)
        for folder in [path for path in steps_in(self.checkpoints) if step_of(path) > step_of(good)]:
            aside = folder.with_name(f"damaged-{folder.name}")
            discard(aside)
            folder.rename(aside)

    def is_run(self) -> bool:
        """Return whether the folder, which exists, holds a run, also one that was killed at its start."""
        # a run that was killed may leave temporary files
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".tmp-")}
        if names <= {*OWN_FILES, *OWN_FOLDERS, BEST}:
            # the checkpoints of another program may be beside its own config.json
            return holds_checkpoints_only(self.checkpoints) if "checkpoints" in names else names <= {".lock"}
        return any(self.checkpoints.glob("step-*")) and "config.json" in names


def _replace_link(link: Path, target: str) -> bool:
    """Make a link at once, or return False where the file system has no links."""
    fresh = temporary_path(link)
    try:
        fresh.symlink_to(target)
        fresh.replace(link)
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            return False
        raise
    finally:
        discard(fresh)
    return True
