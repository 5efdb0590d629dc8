"""Taking one file out of a zip archive, whatever else is in it."""

import lzma
import struct
import zipfile
import zlib
from pathlib import Path

from refrain.errors import DataError, shortened

LARGEST_DIRECTORY = 1 << 20
BLOCK_BYTES = 1 << 20
# the record at the end of an archive, and the longest comment after it
END, END_BYTES, LONGEST_COMMENT = b"PK\5\6", 22, 1 << 16

_ERRORS = (KeyError, ValueError, EOFError, NotImplementedError, RuntimeError, OverflowError, struct.error)
_BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError)


def extract(archive: Path, member: str, target: Path, largest: int) -> None:
    """Write the content of one member to a file. Nothing else is written, and no name in the archive is used.

    Args:
        archive: the zip file.
        member: the name of the member.
        target: the file to write.
        largest: the largest size of the content in bytes.

    Raises:
        DataError: when the archive is damaged, lists very many members, or lacks this one, or the member is larger.
    """
    try:
        _check_directory(archive)
        with zipfile.ZipFile(archive) as opened:
            size = opened.getinfo(member).file_size
            if size > largest:
                raise ValueError(f"{member} has {size:,} bytes, more than the {largest:,} that it should have at most")
            with opened.open(member) as source, target.open("wb") as file:
                # not more than the archive declares, which is checked above, and the checksum is checked at the end
                while block := source.read(BLOCK_BYTES):
                    file.write(block)
    except (*_ERRORS, *_BROKEN) as error:
        cause = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise DataError(f"{archive.name}: {shortened(str(cause), 200)}; the archive was not kept") from None


def _check_directory(archive: Path) -> None:
    """Check the size of the list of members, which `zipfile` reads as a whole.

    Raises:
        ValueError: when the list is large, or so large that its size is stored elsewhere.
    """
    with archive.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - END_BYTES - LONGEST_COMMENT))
        tail = file.read()
    at = tail.rfind(END)
    if at < 0 or len(tail) < at + END_BYTES:
        # not an archive; zipfile reports it
        return
    listed = int.from_bytes(tail[at + 12 : at + 16], "little")
    if listed > LARGEST_DIRECTORY:
        raise ValueError(f"its list of members has more than {LARGEST_DIRECTORY:,} bytes")
