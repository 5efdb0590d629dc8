"""Folders of tensors and plain data that are either complete or missing: hashed, flushed, renamed, never pickled.

A checkpoint is a folder of safetensors and JSON files and a `manifest.json` with the size and sha256 of each. It is
written under a temporary name, flushed to disk and renamed; reading checks every byte against the manifest. Weights
that are rounded to int8 or mostly zero are stored by one of the schemes of `weight_schemes`, which the manifest names.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refrain.errors import CheckpointError

from .checkpoint_manifest import FORMAT as FORMAT
from .checkpoint_manifest import FORMAT_WITH_SCHEMES, Entry, UnreadableError, compare, reading, verified_entries
from .checkpoint_manifest import MANIFEST as MANIFEST
from .plain_json import loads
from .regular_files import is_link, open_regular, read_regular
from .run_layout import steps_in
from .tensor_header import read_header
from .weight_schemes import Int8Rows, Scheme, metadata, pack, schemes_of, shapes_of, unpack

if TYPE_CHECKING:
    from torch import Tensor


@contextlib.contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to `target` at the end, or removed if an exception was raised.

    All files in it are flushed to disk before the rename, and the rename is flushed before the return. If the rename
    fails, a folder that was to be replaced is still there.

    Args:
        target: the final path of the folder.
        replace: replace an existing `target`; if False, one that another thread or process made in the meantime is
            kept.

    Raises:
        OSError: when a file cannot be written or flushed, or `target` is to be replaced and is a link.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(target)
    replaced = temporary_path(target, "old-")
    temporary.mkdir()
    try:
        yield temporary
        for path in [*temporary.rglob("*"), temporary]:
            flush(path)
        if replace and is_link(target):
            raise OSError(errno.ELOOP, "is a link to another place", str(target))
        if replace and target.exists():
            target.rename(replaced)
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise
        flush(target.parent)
    finally:
        discard(temporary)
        if not target.exists():
            # the old folder has lost its name and the new one has not got it
            with contextlib.suppress(OSError):
                replaced.rename(target)
        if target.exists():
            discard(replaced)


def temporary_path(target: Path, purpose: str = "") -> Path:
    """A new path beside `target`, which no other thread or process uses and nobody can guess.

    Args:
        target: the final path.
        purpose: a word for the name.
    """
    # a name may have 255 bytes, and a character up to four
    return target.with_name(f".tmp-{purpose}{target.name[:50]}-{os.getpid()}-{secrets.token_hex(8)}")


def discard(path: Path) -> None:
    """Remove a file, a folder with its content, or a link without what it leads to, so far as that is possible."""
    with contextlib.suppress(OSError):
        if is_link(path) or not path.is_dir():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)


def flush(path: Path) -> None:
    """Wait until the content of a file or folder is on the disk.

    Raises:
        OSError: when it could not be written; the error has the path.
    """
    folder = path.is_dir()
    if folder and os.name == "nt":
        # Windows can flush files only, and flushes only those that are open for writing
        return
    try:
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        # some network file systems cannot flush a folder
        if not (folder and error.errno in (errno.EINVAL, errno.ENOTSUP, errno.EBADF)):
            raise OSError(error.errno, error.strerror, str(path)) from None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace the content of a file at once: readers see either the old content or the new."""
    temporary = temporary_path(path)
    try:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_once(path: Path, content: str) -> bool:
    """Write a file unless it exists, complete from the moment at which it has its name.

    Returns:
        Whether it was written; of several processes that try, one has written it.
    """
    temporary = temporary_path(path)
    try:
        temporary.write_bytes(content.encode("utf-8"))
        flush(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            # a file system without hard links, where two processes may both believe that they have written it
            if path.exists():
                return False
            temporary.replace(path)
        return True
    finally:
        temporary.unlink(missing_ok=True)


WEIGHTS = "model"
"""The file stem of the weights, which alone are stored without their zeros."""
Tensors = Mapping[str, Mapping[str, "Tensor | Int8Rows"]]
"""For each file stem, tensors by name."""


def save(folder: Path, tensors: Tensors, documents: Mapping[str, Any]) -> None:
    """Write a checkpoint; an existing one at the same path is replaced.

    Args:
        folder: the folder to write.
        tensors: for each file stem, tensors by name; they are written to `stem.safetensors`. Those of `model` may be
            rounded to int8, and are stored without zeros where that is smaller.
        documents: for each file stem, plain data; it is written to `stem.json`.

    Raises:
        OSError: when the disk is full or the folder is read-only; nothing is left behind.
    """
    from safetensors.torch import save as to_bytes

    with atomic_folder(folder, replace=True) as fresh:
        entries: dict[str, dict[str, Any]] = {}
        contents = {f"{stem}.json": json.dumps(data, indent=1).encode() for stem, data in documents.items()}
        used: dict[str, list[str]] = {}
        for stem, group in tensors.items():
            parts, schemes = _stored(stem, group)
            contents[f"{stem}.safetensors"] = to_bytes(parts, metadata=metadata(schemes))
            if schemes:
                used[f"{stem}.safetensors"] = sorted({scheme.name for scheme in schemes.values()})
        for name, content in contents.items():
            (fresh / name).write_bytes(content)
            entries[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, names in used.items():
            entries[name]["schemes"] = names
        manifest = {"format": FORMAT_WITH_SCHEMES if used else FORMAT, "files": entries}
        (fresh / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _stored(stem: str, group: "Mapping[str, Tensor | Int8Rows]") -> "tuple[dict[str, Tensor], dict[str, Scheme]]":
    """The tensors of a file, and the scheme of each weight that has one."""
    if stem == WEIGHTS:
        return pack(group)
    plain = {name: tensor.contiguous() for name, tensor in group.items() if not isinstance(tensor, Int8Rows)}
    assert len(plain) == len(group)
    return plain, {}


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
        self._entries = verified_entries(folder)

    def document(self, stem: str) -> Any:
        """Read the plain data of `stem.json`."""
        content = self._content(f"{stem}.json")
        try:
            return loads(content)
        except ValueError as error:
            raise CheckpointError(f"{self.folder / stem}.json: is not JSON ({error})") from None

    def shapes(self, stem: str) -> dict[str, tuple[int, ...]]:
        """Read the shapes of the tensors of `stem.safetensors`, by name, without the tensors."""
        entry = self._entry(f"{stem}.safetensors")
        with reading(self.folder / f"{stem}.safetensors") as path, open_regular(path, follow_links=False) as file:
            shapes, metadata = read_header(file, entry.size)
            return shapes_of(shapes, schemes_of(metadata))

    @property
    def has_int8_weights(self) -> bool:
        """Whether matrices of the model are stored as int8."""
        return any("int8" in scheme for scheme in self._entry(f"{WEIGHTS}.safetensors").schemes)

    def tensors(self, stem: str) -> "dict[str, Tensor]":
        """Read the tensors of `stem.safetensors`, on the CPU; weights that are stored by a scheme are in float32."""
        from safetensors import SafetensorError
        from safetensors.torch import load as from_bytes

        content = self._content(f"{stem}.safetensors")
        try:
            with reading(self.folder / f"{stem}.safetensors"):
                _, metadata = read_header(io.BytesIO(content), len(content))
                return unpack(from_bytes(content), schemes_of(metadata))
        except SafetensorError as error:
            raise CheckpointError(f"{self.folder / stem}.safetensors: {error}") from None

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise CheckpointError(f"{self.folder}: holds no {name}; it holds {', '.join(sorted(self._entries))}")
        return self._entries[name]

    def _content(self, name: str) -> bytes:
        entry = self._entry(name)
        with reading(self.folder / name) as path:
            content = read_regular(path, limit=entry.size, follow_links=False)
        compare(path, hashlib.sha256(content).hexdigest(), entry.sha256)
        return content


def newest(folder: Path) -> tuple[Checkpoint, list[str]]:
    """Find the newest undamaged checkpoint `step-N` in a folder.

    Returns:
        The checkpoint, and a message for each newer one that is damaged.

    Raises:
        CheckpointError: when every checkpoint is damaged or none exists, where the message names each fault; or when
            one cannot be read for another reason, such as too many open files.
    """
    problems: list[str] = []
    for path in reversed(steps_in(folder)):
        try:
            return Checkpoint(path), problems
        except UnreadableError:
            raise
        except CheckpointError as error:
            problems.append(str(error))
    raise CheckpointError("; ".join(problems) or f"{folder}: holds no checkpoint")
