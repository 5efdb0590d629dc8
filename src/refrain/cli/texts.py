"""Reading texts for commands."""

import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import BufferedReader
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from .options import Errors

if TYPE_CHECKING:
    from refrain.data import TokenSource, Vocabulary
    from refrain.data.text.files import Errors as AllErrors
    from refrain.data.text.files import Spans
    from refrain.runs import SavedModel

READ_BYTES = 1 << 16


class Source(Protocol):
    """What is read from, such as standard input: `read1` returns what is there, and waits only for the first byte."""

    def read1(self, size: int = -1, /) -> bytes:
        """At most `size` of the next bytes; nothing at the end."""
        ...


def split_of(saved: "SavedModel", vocabulary: "Vocabulary", split: str) -> "TokenSource":
    """A split of the corpus of a run, in the ids of its vocabulary.

    Raises:
        DataError: when the corpus of the run or its split is missing.
    """
    from refrain.assembly.corpus import own_split
    from refrain.data.locating import check_still_there

    from .output import log

    settings: Any = saved.experiment.data
    check_still_there(settings.corpus, saved.path)
    return own_split(settings, vocabulary, split, log)


def log_unknown(vocabulary: "Vocabulary", counts: "Mapping[str, Mapping[str, int]]", *, priced: bool = True) -> None:
    """Log notes about texts with words, or other units, that are unknown to a model.

    Args:
        vocabulary: the vocabulary of the model.
        counts: the name of each text, or of several -> its numbers of `tokens` and `unknown` ones.
        priced: whether figures are reported in which unknown words have a price in nats.
    """
    from refrain.data.unknown import unknown_concerns

    from .output import log

    for concern in unknown_concerns(
        vocabulary, {name: (each["unknown"], each["tokens"]) for name, each in counts.items()}, priced=priced
    ):
        log(f"note: {concern}")


def name_of(file: str) -> str:
    """The name of a file in messages.

    Args:
        file: the file; - is standard input.
    """
    return "standard input" if file == "-" else file


def lines_of(file: str, errors: Errors) -> Iterator[str]:
    """Yield the lines of a file without their line ends; - is standard input.

    Raises:
        DataError: when the file is missing, empty or not UTF-8.
    """
    for batch in batches_of(file, errors):
        yield from batch


def batches_of(file: str, errors: "AllErrors") -> Iterator[list[str]]:
    """Yield the lines of a file without their line ends, as many at a time as can be read without waiting.

    What has come through a pipe is yielded before more is waited for; only whole lines are. The lines before invalid
    UTF-8 are still yielded. A compressed file is unpacked while it is read.

    Args:
        file: a file or a pipe; - is standard input.
        errors: what to do at invalid UTF-8.

    Raises:
        DataError: when the file is missing, empty, no text or not UTF-8, or standard input is closed.
    """
    from refrain.data.text.files import blocks, whole
    from refrain.data.text.forms import check_text, packing_of
    from refrain.data.text.packed import head_of, unpacking
    from refrain.errors import DataError, InvalidUTF8Error

    if file == "-":
        if sys.stdin is None:
            raise DataError("standard input is closed; give a text file, or a text through a pipe")
        # read1 is a method of what is read from, which its type leaves open
        yield from _arriving(cast(BufferedReader, sys.stdin.buffer), "standard input", errors)
    elif is_pipe(file):
        try:
            with open(file, "rb") as pipe:
                yield from _arriving(pipe, file, errors)
        except OSError as error:
            raise DataError(f"{file}: {error.strerror}; give a text file, or - for standard input") from None
    else:
        try:
            spans = whole(Path(file), if_empty="")
        except DataError as error:
            raise DataError(f"{error}; give a text file, or - for standard input") from None
        head = head_of(spans[0].path)
        if (packing := packing_of(head)) is not None:
            with unpacking(spans[0].path, packing) as source:
                yield from _arriving(source, file, errors)
            return
        check_text(head, file)
        done = 0
        try:
            for text in blocks(spans, errors):
                batch = text.split("\n")[:-1]
                yield batch
                done += len(batch)
        except InvalidUTF8Error:
            yield _valid_from(spans, done)
            raise


def _valid_from(spans: "Spans", start: int) -> list[str]:
    """The lines of a text from a number on, up to the first that is not UTF-8."""
    from refrain.data.tagged.sentences import lines_in
    from refrain.data.text.forms import ESCAPED

    return list(takewhile(lambda line: not ESCAPED.search(line), islice(lines_in(spans, "strict"), start, None)))


def large_batches_of(file: str, errors: Errors, lines: int) -> Iterator[list[str]]:
    """`batches_of`, but of a file that is no pipe at least so many lines at a time, if it has them.

    Args:
        file: a file or a pipe; - is standard input.
        errors: what to do at invalid UTF-8.
        lines: the number of lines.

    Raises:
        DataError: as `batches_of`, after the lines before the error.
    """
    from refrain.errors import DataError

    batches = batches_of(file, errors)
    if file == "-" or is_pipe(file):
        yield from batches
        return
    pending: list[str] = []
    try:
        for batch in batches:
            pending += batch
            if len(pending) >= lines:
                yield pending
                pending = []
    except DataError:
        yield pending
        raise
    yield pending


def is_pipe(file: str) -> bool:
    """Whether a path is a named pipe, or the descriptor of one such as `/dev/fd/63`."""
    try:
        return stat.S_ISFIFO(Path(file).stat().st_mode)
    except OSError:
        return False


def _arriving(source: Source, name: str, errors: "AllErrors") -> Iterator[list[str]]:
    """Yield lines as they come: each read returns what is there, and waits only when there is nothing."""
    from refrain.data.text.files import without_marks
    from refrain.data.text.forms import invalid_remedy
    from refrain.errors import DataError

    offset = 0
    pending: list[bytes] = []
    first = True
    while True:
        try:
            raw = source.read1(READ_BYTES)
        except OSError as error:
            raise DataError(f"{name}: {error.strerror}; give a text file, or a text through a pipe") from None
        if first and raw:
            _check_first(raw, name)
            first = False
        cut = raw.rfind(b"\n") + 1
        if raw and not cut:
            pending.append(raw)
            continue
        # at the end, what is pending is the last line, without a line end
        piece = b"".join([*pending, raw[:cut]])
        pending = [raw[cut:]]
        if not offset and not raw and b"\n" not in piece:
            # the line ends of a text without newlines, as on old Macs
            piece = piece.replace(b"\r", b"\n")
        bad = None
        try:
            text = piece.decode("utf-8", errors)
        except UnicodeDecodeError as error:
            bad = offset + error.start
            text = piece[: piece.rfind(b"\n", 0, error.start) + 1].decode("utf-8")
        if text:
            yield without_marks(text).removesuffix("\n").split("\n")
        if bad is not None:
            raise DataError(
                f"{name}: invalid UTF-8 at byte {bad}; {invalid_remedy(name)}, or use --errors replace to read on"
            )
        if not raw:
            return
        offset += len(piece)


def _check_first(raw: bytes, name: str) -> None:
    """Check that what comes first is a text, and not compressed."""
    from refrain.data.text.forms import HEAD_BYTES, check_text, packing_of
    from refrain.errors import DataError

    if (packing := packing_of(raw)) is not None:
        raise DataError(f"{name}: is {packing} data; unpack it first, or give the file itself, which is unpacked")
    check_text(raw[:HEAD_BYTES], name)


def check_files(files: Sequence[str], *, texts: bool = True) -> None:
    """Check that files can be opened, before a model is loaded for them; - is standard input.

    Args:
        files: the files.
        texts: whether they are read as plain text, so that a line is logged about tables.

    Raises:
        DataError: when a file is missing or empty.
    """
    from refrain.data.text.files import whole
    from refrain.data.text.forms import table_note
    from refrain.errors import DataError

    from .output import log

    for file in files:
        note = table_note(file) if texts and Path(file).is_file() else None
        if note is not None:
            log(f"note: {note}")
        if file != "-" and not is_pipe(file):
            try:
                whole(Path(file), if_empty="")
            except DataError as error:
                raise DataError(f"{error}; give a text file, or - for standard input") from None


def document_of(file: str, errors: Errors) -> str:
    """Read a file as one text, without the newline at its end; - is standard input.

    Raises:
        DataError: when the file is missing, empty or not UTF-8.
    """
    return "\n".join(lines_of(file, errors))


def files_of(paths: Sequence[str]) -> list[str]:
    """List files; a folder is replaced by the files in it, sorted by name.

    Raises:
        DataError: when a folder holds no file.
    """
    from refrain.errors import DataError

    found: list[str] = []
    for given in paths:
        if given == "-" or not Path(given).is_dir():
            found.append(given)
            continue
        inside = sorted(str(path) for path in Path(given).iterdir() if path.is_file() and path.name[0] != ".")
        if not inside:
            raise DataError(f"{given}: the folder contains no file; give another folder or a file")
        found += inside
    return found
