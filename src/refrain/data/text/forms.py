"""What a file holds, judged by its first bytes and not by its name: text, compressed text, or something else."""

import codecs
import re
import shlex
from pathlib import Path
from typing import Literal

from refrain.errors import BinaryFileError, DataError

Packing = Literal["gzip", "bzip2", "xz", "zstd"]

ESCAPED = re.compile("[\udc80-\udcff]")
"""A byte of invalid UTF-8 that was read with `surrogateescape`."""
HEAD_BYTES = 1 << 12
# so many zero bytes may be in a text that is read; `refrain data check` counts them
FEW_ZEROS = 8
WITHOUT_MARK = "without a byte order mark"

PACKINGS: dict[Packing, tuple[bytes, ...]] = {
    "gzip": (b"\x1f\x8b\x08",),
    "bzip2": tuple(b"BZh%d1AY&SY" % level for level in range(1, 10)),
    "xz": (b"\xfd7zXZ\x00",),
    "zstd": (b"\x28\xb5\x2f\xfd",),
}
# the endings of such files, each with the command that prints what is in them
_UNPACK = {".gz": "zcat", ".bz2": "bzcat", ".xz": "xzcat", ".zst": "zstdcat", ".zstd": "zstdcat"}
PACKED_ENDINGS = tuple(_UNPACK)

# the marks of other files, each with what it is and what to do; UTF-32 comes before UTF-16, whose mark begins like it
_UNICODE = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
# in UTF-16 every second byte of many texts is zero, in UTF-32 the upper two of four: which bytes of four are zero,
# which are not, and the least share of zeros
_ZEROS = (
    ("UTF-32LE", (2, 3), (0,), 0.9),
    ("UTF-32BE", (0, 1), (3,), 0.9),
    ("UTF-16LE", (1, 3), (0, 2), 0.4),
    ("UTF-16BE", (0, 2), (1, 3), 0.4),
)
_SAVE = "save the document as plain text in UTF-8"
_OTHERS = (
    (b"PK\x03\x04", "a zip archive (or an office document or e-book, which are zip archives)", f"unzip it, or {_SAVE}"),
    (b"%PDF-", "a PDF document", "extract its text first, for example with pdftotext"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an office document", _SAVE),
    (b"{\\rtf", "an RTF document", _SAVE),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it first"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    (b"\x89PNG\r\n", "a picture", "give a text file"),
    (b"\xff\xd8\xff", "a picture", "give a text file"),
    (b"SQLite format 3\x00", "a database", "export its text first"),
    (b"PAR1", "a Parquet table", "export its text first"),
)


# what a table has besides its texts, by the ending of the file
_BESIDE_TEXTS = {
    ".csv": "its header, its labels and its commas",
    ".tsv": "its header and its labels",
    ".json": "its names and marks",
    ".jsonl": "its names and marks",
    ".ndjson": "its names and marks",
}


def table_note(path: Path | str) -> str | None:
    """A line about a table that is read as plain text, judged by its ending; None for another file.

    Args:
        path: the file.
    """
    name = str(path).lower()
    name = next((name.removesuffix(ending) for ending in PACKED_ENDINGS if name.endswith(ending)), name)
    beside = _BESIDE_TEXTS.get(Path(name).suffix)
    return None if beside is None else f"{path}: is read as plain text, with {beside}; extract the texts first"


def packing_of(head: bytes) -> Packing | None:
    """How a file is compressed, or None.

    Args:
        head: its first bytes.
    """
    return next((name for name, marks in PACKINGS.items() if head.startswith(marks)), None)


def check_text(head: bytes, path: Path | str) -> None:
    """Check that a file is a text that can be read as UTF-8.

    Args:
        head: its first bytes.
        path: the file, for the message.

    Raises:
        DataError: when it is in UTF-16 or UTF-32, an archive or a document. The message names the remedy.
        BinaryFileError: when it is another binary file.
    """
    if (unicode := _unicode(head)) is not None:
        raise _other_encoding(path, *unicode)
    for mark, what, remedy in _OTHERS:
        if head.startswith(mark):
            raise DataError(f"{path}: is {what}, not a text; {remedy}")
    if head[257:262] == b"ustar":
        raise DataError(f"{path}: is a tar archive, not a text; unpack it first: tar xf {Path(path).name}")
    zeros = head.count(0)
    if zeros and (zeros > max(FEW_ZEROS, len(head) // 100) or not _is_utf8(head)):
        if (name := _other_script(head)) is not None:
            raise _other_encoding(path, name, WITHOUT_MARK)
        raise BinaryFileError(
            f"{path}: is a binary file, not a text ({zeros:,} of its first {len(head):,} bytes are zero); give a text "
            "file"
        )


def invalid_remedy(path: Path | str) -> str:
    """What to do about a file with invalid UTF-8, which often is in an older encoding.

    Args:
        path: the file.
    """
    return f"correct the file, or if it is in Latin-1 convert it: {_conversion(path, 'LATIN1')}"


def _other_encoding(path: Path | str, name: str, how: str) -> DataError:
    return DataError(f"{path}: is {name} {how}, where UTF-8 is read; convert it: {_conversion(path, name)}")


def _conversion(path: Path | str, encoding: str) -> str:
    """The command that converts a file to UTF-8."""
    file = Path(path)
    if (unpack := _UNPACK.get(file.suffix.lower())) is not None:
        plain = Path(file.stem)
        name = shlex.quote(str(file.with_name(f"{plain.stem}.utf8{plain.suffix}")))
        return f"{unpack} {shlex.quote(str(file))} | iconv -f {encoding} -t UTF-8 > {name}"
    # what comes through a pipe or standard input has no name
    if not file.suffix:
        return f"iconv -f {encoding} -t UTF-8"
    names = str(file), str(file.with_name(f"{file.stem}.utf8{file.suffix}"))
    return f"iconv -f {encoding} -t UTF-8 {' > '.join(map(shlex.quote, names))}"


def _unicode(head: bytes) -> tuple[str, str] | None:
    for mark, name in _UNICODE:
        if head.startswith(mark):
            return name, "with a byte order mark"
    if len(head) < 8:
        return None
    shares = [head[start::4].count(0) / len(head[start::4]) for start in range(4)]
    for name, zeros, others, least in _ZEROS:
        if min(shares[index] for index in zeros) > least and max(shares[index] for index in others) < 0.1:
            return name, WITHOUT_MARK
    return None


def _other_script(head: bytes) -> str | None:
    """UTF-16 of a script whose letters have no byte that is zero; its blanks and line ends have one."""
    for name, zeros in (("UTF-16LE", 1), ("UTF-16BE", 0)):
        text = head[: len(head) // 2 * 2].decode(name, "replace")
        legible = sum(sign.isprintable() or sign in "\t\r\n" for sign in text)
        # the last character may be cut
        if head[zeros::2].count(0) and not head[1 - zeros :: 2].count(0) and legible + 1 >= len(text):
            return name
    return None


def _is_utf8(head: bytes) -> bool:
    try:
        # a character may be cut at the end
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True
