"""Text files as they come: gzip, bzip2, xz and zstd are unpacked, and what is no text is named with its remedy."""

import bz2
import gzip
import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from refrain.errors import DataError
from refrain.storage.folders import cache_folder, cached_folder, check_owner
from refrain.storage.regular_files import open_regular

from .files import BLOCK_BYTES, Span, Spans, raw_blocks, whole
from .forms import HEAD_BYTES, PACKED_ENDINGS, Packing, check_text, packing_of

FORMAT = 1

# text is rarely packed to less than a twentieth; a file of a few kilobytes can hold terabytes of zeros
LARGEST_RATIO = 200
FREE_BYTES = 1 << 26

Log = Callable[[str], None]


def text_file(path: Path, log: Log = lambda line: None) -> Spans:
    """The text of a file; that of a compressed file is unpacked into the cache once and found there afterwards.

    Args:
        path: the file.
        log: called with a line of text when a file is unpacked.

    Raises:
        DataError: when the file is missing, empty or no text, or the compressed data is damaged or too large.
    """
    spans = whole(path)
    head = head_of(path)
    packing = packing_of(head)
    if packing is None:
        check_text(head, path)
        return spans
    return _unpacked(path, spans, packing, log, text=True)


def byte_file(path: Path, log: Log = lambda line: None) -> Spans:
    """The bytes of a file as they are, but for a compressed file that its name calls so, which is unpacked.

    Args:
        path: the file.
        log: called with a line of text when a file is unpacked.

    Raises:
        DataError: when the file is missing or empty, or the compressed data is damaged or too large.
    """
    spans = whole(path)
    packing = packing_of(head_of(path)) if path.suffix.lower() in PACKED_ENDINGS else None
    return spans if packing is None else _unpacked(path, spans, packing, log, text=False)


def head_of(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        DataError: when it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return file.read(HEAD_BYTES)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None


def is_unpacked(path: Path) -> bool:
    """Whether a file is the unpacked text of a compressed one."""
    return path.is_relative_to(cache_folder() / "unpacked")


class Unpacking:
    """The unpacked bytes of a compressed file, which are read from its beginning to its end.

    Args:
        file: the compressed file.
        packing: how it is compressed.
        path: its path, for messages.

    Raises:
        DataError: when there is no decompressor for it.
    """

    def __init__(self, file: IO[bytes], packing: Packing, path: Path | str) -> None:
        self._file = file
        self._path = path
        self._packing = packing
        self._reader: Any = _reader(file, packing, path)
        self._count = 0

    def read1(self, size: int = BLOCK_BYTES) -> bytes:
        """At most `size` of the next bytes; nothing at the end.

        Raises:
            DataError: when the data is damaged, or unpacks to implausibly many bytes.
        """
        try:
            raw: bytes = self._reader.read(size)
        # the error of the package zstandard has no other base than Exception
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise DataError(f"{self._path}: cannot be read any more ({error.strerror})") from None
            if not isinstance(error, (OSError, EOFError, zlib.error, lzma.LZMAError)) and self._packing != "zstd":
                raise
            raise DataError(
                f"{self._path}: the {self._packing} data is damaged or incomplete ({error}); get the file again"
            ) from None
        self._count += len(raw)
        if self._count > FREE_BYTES and self._count > LARGEST_RATIO * max(self._file.tell(), 1):
            raise DataError(
                f"{self._path}: unpacks to over {self._count:,} bytes, more than {LARGEST_RATIO} times its size, which "
                "no usual text does; unpack it yourself if that is right"
            )
        return raw


@contextmanager
def unpacking(path: Path, packing: Packing) -> Iterator[Unpacking]:
    """Open a compressed file for reading its unpacked bytes.

    Args:
        path: the file.
        packing: how it is compressed.

    Raises:
        DataError: when it cannot be read, or there is no decompressor for it.
    """
    try:
        with open_regular(path) as file:
            yield Unpacking(file, packing, path)
    except OSError as error:
        if str(error.filename) != str(path):
            raise
        raise DataError(f"{path}: {error.strerror}") from None


def _reader(file: IO[bytes], packing: Packing, path: Path | str) -> Any:
    if packing == "gzip":
        return gzip.GzipFile(fileobj=file)
    if packing == "bzip2":
        return bz2.BZ2File(file)
    if packing == "xz":
        return lzma.LZMAFile(file)
    try:
        import zstandard
    except ImportError:
        raise DataError(
            f"{path}: is compressed with zstd, and the package zstandard is missing; pip install zstandard, or unpack "
            f"the file: zstd -d {Path(path).name}"
        ) from None
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(file, read_across_frames=True)


def _unpacked(path: Path, spans: Spans, packing: Packing, log: Log, *, text: bool) -> Spans:
    """The unpacked file in the cache, which is found by the sha256 of the compressed one."""
    # messages show the name
    name = path.stem if path.suffix.lower() in PACKED_ENDINGS else path.name
    digest = hashlib.sha256(f"{FORMAT} {packing} {name} ".encode("utf-8", "surrogateescape"))
    for raw in raw_blocks(spans[0]):
        digest.update(raw)
    folder = cache_folder() / "unpacked" / digest.hexdigest()[:32]
    if not folder.is_dir():
        log(f"{path}: unpacking it ({packing}, {spans[0].stop:,} bytes)")
        with cached_folder(folder) as fresh, (fresh / name).open("wb") as out, unpacking(path, packing) as source:
            head = source.read1(HEAD_BYTES)
            if text:
                _check_unpacked(head, path, packing)
            while head:
                out.write(head)
                head = source.read1()
    check_owner(folder)
    try:
        size = (folder / name).stat().st_size
        if text:
            # it may have been unpacked as bytes
            with (folder / name).open("rb") as unpacked:
                _check_unpacked(unpacked.read(HEAD_BYTES), path, packing)
    except OSError as error:
        raise DataError(f"{folder}: the unpacked text is damaged ({error.strerror}); delete this folder") from None
    if not size:
        raise DataError(f"{path}: the file is empty once it is unpacked; give a file with text")
    return (Span(folder / name, 0, size),)


def _check_unpacked(head: bytes, path: Path, packing: Packing) -> None:
    if (inner := packing_of(head)) is not None:
        raise DataError(f"{path}: is compressed twice ({inner} in {packing}); unpack it once")
    try:
        check_text(head, path)
    except DataError as error:
        raise type(error)(str(error).replace(": is ", f": {packing} data of a file that is ", 1)) from None
