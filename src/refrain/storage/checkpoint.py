"""Folders of tensors and plain data that are either complete or missing: hashed, flushed, renamed, never pickled.

A checkpoint is a folder of safetensors and JSON files and a `manifest.json` with the size and sha256 of each. It is
written under a temporary name, flushed to disk and renamed; reading checks every byte against the manifest.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refrain.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
MANIFEST = "manifest.json"


@contextlib.contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to `target` at the end, or removed if an exception was raised.

    All files in it are flushed to disk before the rename, and the rename is flushed before the return.

    Args:
        target: the final path of the folder.
        replace: replace an existing `target`; if False, one that another process made in the meantime is kept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".tmp-{target.name}-{os.getpid()}"
    replaced = target.parent / f".tmp-old-{target.name}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for path in [*temporary.iterdir(), temporary]:
            flush(path)
        if replace and target.exists():
            target.rename(replaced)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        flush(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


def flush(path: Path) -> None:
    """Wait until the content of a file or folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of a file at once: readers see either the old content or the new."""
    temporary = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    try:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save(folder: Path, tensors: Mapping[str, Mapping[str, "Tensor"]], documents: Mapping[str, Any]) -> None:
    """Write a checkpoint; an existing one at the same path is replaced.

    Args:
        folder: the folder to write.
        tensors: for each file stem, tensors by name; they are written to `stem.safetensors`.
        documents: for each file stem, plain data; it is written to `stem.json`.

    Raises:
        OSError: when the disk is full or the folder is read-only; nothing is left behind.
    """
    from safetensors.torch import save as to_bytes

    with atomic_folder(folder, replace=True) as fresh:
        entries = {}
        contents = {f"{stem}.json": json.dumps(data, indent=1).encode() for stem, data in documents.items()}
        for stem, group in tensors.items():
            contents[f"{stem}.safetensors"] = to_bytes({name: t.contiguous() for name, t in group.items()})
        for name, content in contents.items():
            (fresh / name).write_bytes(content)
            entries[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (fresh / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": entries}, indent=1), encoding="utf-8")


class Checkpoint:
    """A checkpoint folder, each file of which has been compared with the manifest.

    The contents are not held in memory. A file is read when it is requested and compared with the manifest again, so
    that changes to the folder in the meantime are found.

    Args:
        folder: a folder written by `save`.

    Raises:
        CheckpointError: when the folder is missing, of a newer format, or damaged; the message names the file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._digests = _verified(folder)

    def document(self, stem: str) -> Any:
        """Read the plain data of `stem.json`."""
        try:
            return json.loads(self._content(f"{stem}.json"))
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{self.folder / stem}.json: is not JSON ({error})") from None

    def tensors(self, stem: str) -> "dict[str, Tensor]":
        """Read the tensors of `stem.safetensors`, on the CPU."""
        from safetensors import SafetensorError
        from safetensors.torch import load as from_bytes

        try:
            return from_bytes(self._content(f"{stem}.safetensors"))
        except SafetensorError as error:
            raise CheckpointError(f"{self.folder / stem}.safetensors: {error}") from None

    def _content(self, name: str) -> bytes:
        if name not in self._digests:
            raise CheckpointError(f"{self.folder}: holds no {name}; it holds {', '.join(sorted(self._digests))}")
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}") from None
        _compare(path, hashlib.sha256(content).hexdigest(), self._digests[name])
        return content


def newest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """Find the newest undamaged checkpoint `step-N` in a folder.

    Returns:
        The checkpoint, and a message for each newer one that is damaged.

    Raises:
        CheckpointError: when every checkpoint is damaged or none exists; the message names each fault.
    """
    problems: list[str] = []
    steps = sorted(folder.glob("step-*"), key=lambda path: path.name, reverse=True) if folder.is_dir() else []
    for path in steps:
        try:
            return Checkpoint(path), problems
        except CheckpointError as error:
            problems.append(str(error))
    raise CheckpointError("; ".join(problems) or f"{folder}: holds no checkpoint")


def _verified(folder: Path) -> dict[str, str]:
    """Compare every file of a checkpoint with the manifest, and return their sha256 digests by name."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version = manifest["format"]
        known = version == FORMAT
        files = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()} if known else {}
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: is not a checkpoint (it holds no {MANIFEST})") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder / MANIFEST}: damaged ({error})") from None
    if not known:
        raise CheckpointError(
            f"{folder / MANIFEST}: is in format {version}, but this version reads format {FORMAT}; update refrain-lm"
        )
    for name, digest in files.items():
        path = folder / name
        if path.name != name or not name.isprintable() or path.is_symlink():
            raise CheckpointError(f"{folder / MANIFEST}: damaged (it names {name!r})")
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise CheckpointError(f"{path}: {error.strerror}, but {MANIFEST} lists it") from None
        _compare(path, found, digest)
    return files


def _compare(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise CheckpointError(f"{path}: damaged (its sha256 is not that of {MANIFEST})")
