"""The folder of a run: settings, metrics, checkpoints and samples. Only one process may write to it.

config.json      every setting, resolved              recipe.toml     the settings as the user gave them
manifest.json    versions, machine, data              metrics.jsonl   one line for each measurement
checkpoints/     step-N: the last two and the best    best            link to the best checkpoint
samples/         text sampled during training         summary.json    the final figures
tensorboard/     events, if requested                 README.md       a card of the model and its figures
"""

import contextlib
import errno
import fcntl
import json
import os
import shlex
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refrain.errors import CheckpointError

from .checkpoint import Checkpoint, flush, newest, save, write_atomically
from .plain_json import dumps

if TYPE_CHECKING:
    from torch import Tensor

KEEP = 2
OWN_FILES = (
    "config.json",
    "recipe.toml",
    "manifest.json",
    "metrics.jsonl",
    "summary.json",
    "README.md",
    ".lock",
)
OWN_FOLDERS = ("checkpoints", "samples", "tensorboard")


class RunFolder:
    """The folder of one run.

    Args:
        path: the path of the folder, which need not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.metrics = path / "metrics.jsonl"

    def create(self, *, force: bool = False) -> None:
        """Create an empty run folder.

        Args:
            force: remove an existing run first. Files that were not written by a run are kept.

        Raises:
            CheckpointError: when the folder exists and is not empty, or cannot be written.
        """
        if self.check_available(force=force):
            with self.locked():
                self._clear()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            (self.path / "samples").mkdir(exist_ok=True)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be written ({error.strerror}); choose another --out") from None

    def check_available(self, *, force: bool = False) -> bool:
        """Check that the folder can become a run, and change nothing.

        Args:
            force: whether an existing run may be removed.

        Returns:
            Whether an existing run has to be removed.

        Raises:
            CheckpointError: when the folder exists and is not empty, and may not be replaced.
        """
        if not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())):
            return False
        if force and self.path.is_dir() and not self._is_run():
            raise CheckpointError(f"{self.path}: holds other files than those of a run, which --force does not replace")
        if not force or not self.path.is_dir():
            raise CheckpointError(
                f"{self.path}: exists already; choose another --out, continue it with --resume, or replace it with "
                "--force"
            )
        return True

    def remove(self) -> None:
        """Remove the run, and the folder if it contains no other files.

        Raises:
            CheckpointError: when another process is writing to the run.
        """
        if not self.path.is_dir():
            return
        with self.locked():
            self._clear()
        (self.path / ".lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _clear(self) -> None:
        (self.path / "best").unlink(missing_ok=True)
        for leftover in self.path.glob(".tmp-*"):
            leftover.unlink()
        for name in OWN_FILES:
            if name != ".lock":
                (self.path / name).unlink(missing_ok=True)
        for name in OWN_FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, so that no other process writes to it.

        Raises:
            CheckpointError: when another process holds the lock; the message names it.
        """
        try:
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be written ({error.strerror})") from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.read(handle, 200).decode(errors="replace").strip() or "another process"
                raise CheckpointError(f"{self.path}: in use by {owner}; wait for it or choose another --out") from None
            os.truncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _writing(self, needed: int | None = None) -> Iterator[None]:
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
                remedy = f"earlier checkpoints are intact: {repair}, then run refrain train --resume --out {self.path}"
            else:
                remedy = f"nothing was trained yet: {repair} and start with --force, or choose another --out"
            path = error.filename or self.path
            raise CheckpointError(f"{path}: cannot be written ({cause}); {remedy}") from None

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
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise CheckpointError(f"{self.path}: is not a run folder (it holds no {name})") from None
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error})") from None

    def log(self, record: Mapping[str, Any]) -> int:
        """Append a line of metrics, and return the length of the file in bytes."""
        with self._writing(), self.metrics.open("a", encoding="utf-8") as file:
            file.write(dumps(record) + "\n")
            file.flush()
            return file.tell()

    def cut_metrics(self, length: int) -> None:
        """Truncate the metrics to the length that they had at the checkpoint from which the run continues."""
        with self.metrics.open("ab") as file:
            file.truncate(min(length, file.tell()))

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, "Tensor"]],
        documents: Mapping[str, Any],
        *,
        best: int | None,
    ) -> Path:
        """Write `checkpoints/step-N`, point `best` at the best step, and remove all but the last two and the best."""
        folder = self.checkpoints / f"step-{step:09d}"
        needed = sum(tensor.numel() * tensor.element_size() for group in tensors.values() for tensor in group.values())
        with self._writing(needed):
            if self.metrics.exists():
                # the checkpoint records the length of this file
                flush(self.metrics)
            save(folder, tensors, documents)
            if best is not None:
                self.point_best_at(best)
        kept = {f"step-{best:09d}"} if best is not None else set()
        for old in sorted(self.checkpoints.glob("step-*"))[:-KEEP]:
            if old.name not in kept:
                shutil.rmtree(old)
        return folder

    def checkpoint(self, step: int) -> Checkpoint:
        """Open the checkpoint of a step.

        Raises:
            CheckpointError: when it is missing or damaged.
        """
        return Checkpoint(self.checkpoints / f"step-{step:09d}")

    def point_best_at(self, step: int) -> None:
        """Make `best` a link to the checkpoint of a step."""
        link = self.path / "best"
        fresh = self.path / ".tmp-best"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("checkpoints") / f"step-{step:09d}")
        fresh.replace(link)

    def newest(self) -> tuple[Checkpoint, list[str]]:
        """Find the newest undamaged checkpoint. No file is changed, as a run may be in progress.

        Returns:
            The checkpoint, and a message for each newer one that is damaged.

        Raises:
            CheckpointError: when the run has no undamaged checkpoint.
        """
        if not any(self.checkpoints.glob("step-*")):
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
        for leftover in [path for folder in folders for path in folder.glob(".tmp-*")]:
            if leftover.is_dir() and not leftover.is_symlink():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        for folder in self.checkpoints.glob("step-*"):
            if folder.name > good.name:
                aside = folder.with_name(f"damaged-{folder.name}")
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)

    def _is_run(self) -> bool:
        # a run that was killed may leave temporary files
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".tmp-")}
        if names <= {*OWN_FILES, *OWN_FOLDERS, "best"}:
            return "checkpoints" in names or names <= {".lock"}
        return any(self.checkpoints.glob("step-*")) and "config.json" in names
