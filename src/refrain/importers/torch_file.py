"""Files of `torch.save`, read without torch's own loader: the zip files of torch 1.6 and later, and those before.

A file is opened as plain data, records and tensors that are not read yet; see `pickles`. The zip format has the pickle
as one member and each storage as another; the older format has five pickles one after the other, then the storages,
each after its length.
"""

import contextlib
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import torch
from torch import Tensor

from refrain.errors import CheckpointError, shortened
from refrain.storage.regular_files import open_regular

from .pickles import MAX_BYTES, parse_pickle
from .records import HostilePickleError, Name, Storage, StoredTensor

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
LARGEST_DIRECTORY = 2**24
LARGEST_FILE = 2**36
TAR_MAGIC, TAR_AT = b"ustar", 257
_END, _END_BYTES = b"PK\5\6", 22
_LOCATOR, _LOCATOR_BYTES = b"PK\6\7", 20
_END64, _END64_BYTES = b"PK\6\6", 56
_KEY = re.compile(r"[A-Za-z0-9_]{1,40}")
_DTYPES: Mapping[str, torch.dtype] = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")
_DAMAGE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class _Format(Protocol):
    """One of the two formats: the object that was saved, and the bytes of each storage."""

    root: Any

    def content(self, storage: Storage) -> bytes: ...


class TorchFile:
    """An open file of `torch.save`.

    Args:
        path: the file, for messages.
        saved: its content.

    Attributes:
        root: the object that was saved.
    """

    def __init__(self, path: Path, saved: _Format) -> None:
        self.path = path
        self.root = saved.root
        self._saved = saved
        self._last: tuple[Storage, Tensor] | None = None

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Read a tensor, which does not share memory with another one.

        Raises:
            CheckpointError: when the file is damaged.
        """
        with _named_errors(self.path):
            view = self._storage(stored.storage).as_strided(stored.shape, stored.strides, stored.offset)
            # a copy, as a contiguous view would keep the memory of the whole storage
            return view.clone(memory_format=torch.contiguous_format)

    def _storage(self, storage: Storage) -> Tensor:
        """The numbers of a storage; the last one is kept, as that of an LSTM may hold all its weights."""
        if self._last is None or self._last[0] != storage:
            # freed first, so that two are never held
            self._last = None
            content = bytearray(self._saved.content(storage))
            dtype = _DTYPES[storage.dtype]
            numbers = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
            self._last = storage, numbers
        return self._last[1]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[TorchFile]:
    """Open a file that `torch.save` wrote, and read everything but its tensors. Nothing in it is run.

    Args:
        path: the file.

    Raises:
        CheckpointError: when it is missing, damaged, of another format, or holds what no saved model needs.
    """
    with contextlib.ExitStack() as stack:
        with _named_errors(path):
            file = stack.enter_context(open_regular(path))
            size = os.fstat(file.fileno()).st_size
            saved = _read(file, size)
        yield TorchFile(path, saved)


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Raise what goes wrong while a file is read as a `CheckpointError` that names the file."""
    try:
        yield
    except HostilePickleError as error:
        raise CheckpointError(f"{path}: holds {shortened(str(error), 300)}; nothing in it was run") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except _DAMAGE as error:
        raise CheckpointError(f"{path}: is damaged ({shortened(str(error), 200)}); get the file again") from None


def is_torch_file(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a file of `torch.save`, or of another zip file or pickle."""
    return head.startswith((b"PK\3\4", b"\x80"))


def _read(file: BinaryIO, size: int) -> _Format:
    if size > LARGEST_FILE:
        raise HostilePickleError(f"{size:,} bytes, more than any file of a recurrent model")
    head = file.read(TAR_AT + len(TAR_MAGIC))
    file.seek(0)
    if head.startswith(b"PK\3\4"):
        return _Zip(file, size)
    if head.startswith(b"\x80"):
        return _Legacy(file, size)
    if head[TAR_AT:] == TAR_MAGIC:
        raise HostilePickleError("a tar archive of torch 0.1; save it again with a later version of torch")
    raise HostilePickleError("neither a zip file nor a pickle; give a file that torch.save wrote")


def _storage(identity: Any) -> Storage:
    """A storage from its persistent id: `storage`, class, key, device and length."""
    if not isinstance(identity, tuple) or len(identity) < 5 or identity[0] != "storage":
        raise HostilePickleError("a persistent id that is not one of a storage")
    _, kind, key, _, size = identity[:5]
    if not isinstance(kind, Name) or kind.module not in _STORAGE_MODULES or kind.name not in _DTYPES:
        what = str(kind) if isinstance(kind, Name) else f"a {type(kind).__name__}"
        raise HostilePickleError(f"a storage of an unknown type, {what}")
    if not isinstance(key, str) or not _KEY.fullmatch(key) or type(size) is not int or not 0 <= size < 2**40:
        raise HostilePickleError("a storage whose key or length is none")
    return Storage(kind.name, key, size)


def _bytes_of(storage: Storage) -> int:
    return storage.size * _DTYPES[storage.dtype].itemsize


class _Zip:
    """The format of torch 1.6 and later."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        _check_directory(file, size)
        self._archive = zipfile.ZipFile(file)
        names = [info.filename for info in self._archive.infolist()]
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1:
            raise HostilePickleError("a zip archive without a data.pkl; give a file that torch.save wrote")
        self._folder = pickles[0].removesuffix("data.pkl")
        if f"{self._folder}constants.pkl" in names:
            raise HostilePickleError("a TorchScript archive; save the state dict instead, with torch.save")
        if f"{self._folder}byteorder" in names and self._member(f"{self._folder}byteorder", 10) != b"little":
            raise HostilePickleError("numbers of a big-endian machine, which are not read")
        content = self._member(pickles[0], MAX_BYTES)
        self.root = parse_pickle(io.BytesIO(content), len(content), _storage)

    def content(self, storage: Storage) -> bytes:
        """The bytes of a storage."""
        needed = _bytes_of(storage)
        found = self._member(f"{self._folder}data/{storage.key}", needed)
        if len(found) != needed:
            raise HostilePickleError(f"a storage of {len(found):,} bytes that should have {needed:,}")
        return found

    def _info(self, name: str, limit: int) -> zipfile.ZipInfo:
        try:
            info = self._archive.getinfo(name)
        except KeyError:
            raise HostilePickleError(f"no member {name}, which its pickle names") from None
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise HostilePickleError(f"a compressed member {name}, which torch.save does not write")
        if info.file_size > limit:
            raise HostilePickleError(f"a member {name} of {info.file_size:,} bytes, more than the {limit:,} that fit")
        return info

    def _member(self, name: str, limit: int) -> bytes:
        return self._archive.read(self._info(name, limit))


class _Legacy:
    """The format before torch 1.6."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._storages: dict[str, Storage] = {}
        if self._pickle() != MAGIC:
            raise HostilePickleError("a pickle that torch.save did not write; save the model with torch.save")
        if self._pickle() != PROTOCOL:
            raise HostilePickleError("a file of torch.save of another protocol")
        machine = self._pickle()
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise HostilePickleError("numbers of a big-endian machine, which are not read")
        self.root = parse_pickle(file, size - file.tell(), self._persistent)
        keys = self._pickle()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise HostilePickleError("no list of storages after its pickle")
        self._places = self._find(keys)

    def content(self, storage: Storage) -> bytes:
        """The bytes of a storage."""
        if storage.key not in self._places:
            raise HostilePickleError(f"no storage {storage.key}, which its pickle names")
        self._file.seek(self._places[storage.key])
        return self._file.read(_bytes_of(storage))

    def _pickle(self) -> Any:
        return parse_pickle(self._file, self._size - self._file.tell())

    def _persistent(self, identity: Any) -> Any:
        """A storage, or the class of a module, whose source text was stored with it and is ignored."""
        if isinstance(identity, tuple) and len(identity) == 4 and identity[0] == "module":
            if not isinstance(identity[1], Name):
                raise HostilePickleError("a persistent id of a module that is not a name")
            return identity[1]
        storage = _storage(identity)
        if self._storages.setdefault(storage.key, storage) != storage:
            raise HostilePickleError("a storage with two types or lengths")
        view = identity[5] if len(identity) > 5 else None
        if view is None:
            return storage
        raise HostilePickleError("a storage that is a view of another; save the model with torch 0.4 or later")

    def _find(self, keys: list[str]) -> dict[str, int]:
        """The position of each storage in the file, where they follow each other, each after its length."""
        places = {}
        for key in keys:
            length = int.from_bytes(self._file.read(8), "little")
            if key not in self._storages or length != self._storages[key].size:
                raise HostilePickleError("a storage whose length is not the one in its pickle")
            places[key] = self._file.tell()
            end = places[key] + _bytes_of(self._storages[key])
            if end > self._size:
                raise HostilePickleError("storages that are longer than the file, which may be incomplete")
            self._file.seek(end)
        return places


def _check_directory(file: BinaryIO, size: int) -> None:
    """Check the size of the list of members, which `zipfile` reads as a whole; torch writes no comment after it."""
    file.seek(max(0, size - _END_BYTES - _LOCATOR_BYTES - _END64_BYTES))
    tail = file.read()
    file.seek(0)
    end = tail[-_END_BYTES:]
    if not end.startswith(_END) or end[-2:] != b"\0\0":
        raise HostilePickleError("a zip archive without its end; the file may be incomplete")
    sizes = [int.from_bytes(end[12:16], "little")]
    before = tail[:-_END_BYTES]
    if before[-_LOCATOR_BYTES:].startswith(_LOCATOR) and before[:-_LOCATOR_BYTES].startswith(_END64):
        sizes = [int.from_bytes(before[40:48], "little")]
    if max(sizes) > LARGEST_DIRECTORY:
        raise HostilePickleError(f"a list of members of more than {LARGEST_DIRECTORY:,} bytes")
