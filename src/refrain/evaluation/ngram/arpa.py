r"""ARPA files of n-gram models with back-off, such as SRILM and KenLM write them.

A file has the lines `\data\` and `ngram L=COUNT`, then for each L the line `\L-grams:` and one n-gram a line: the
decimal logarithm of its probability, its words, and that of its back-off weight, which may be left out. The end is the
line `\end\`.
"""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, NoReturn

import numpy as np

from refrain.data.text.forms import packing_of
from refrain.data.text.packed import Unpacking, head_of, unpacking
from refrain.errors import DataError, quantity, shortened
from refrain.storage.regular_files import open_regular

from .backoff import NONE, BackoffModel, Floats, Ids, Table

LARGEST_ORDER = 10
BLOCK_BYTES = 1 << 20
START = b"\\data\\"


class _Entries(NamedTuple):
    """The n-grams of a section, as they are written.

    Attributes:
        line: the line of the first one.
        ids: (N, L).
        log_probabilities, backoffs: (N,), natural logarithms.
    """

    line: int
    ids: Ids
    log_probabilities: Floats
    backoffs: Floats


def is_arpa(path: Path) -> bool:
    """Whether a file, which may be compressed, begins as an ARPA file.

    Raises:
        DataError: when it cannot be read.
    """
    if packing_of(head_of(path)) is not None:
        return True
    return START in head_of(path)


def read_arpa(path: Path) -> BackoffModel:
    """Read an ARPA file, which may be compressed.

    Args:
        path: the file.

    Raises:
        DataError: when the file is missing, damaged or something else.
    """
    with _opened(path) as file:
        return _Reader(path, file).model()


@contextmanager
def _opened(path: Path) -> Iterator["IO[bytes] | Unpacking"]:
    packing = packing_of(head_of(path))
    if packing is None:
        with open_regular(path) as file:
            yield file
    else:
        with unpacking(path, packing) as unpacked:
            yield unpacked


class _Reader:
    """Reads an ARPA file from its beginning to its end.

    Args:
        path: for messages.
        file: the bytes.
    """

    def __init__(self, path: Path, file: "IO[bytes] | Unpacking") -> None:
        self._path = path
        self._lines = self._split(file)
        self._number = 0
        self._index: dict[bytes, int] = {}

    def _split(self, file: "IO[bytes] | Unpacking") -> Iterator[bytes]:
        rest = b""
        while block := file.read1(BLOCK_BYTES):  # type: ignore[union-attr]
            *lines, rest = (rest + block).split(b"\n")
            yield from lines
            if len(rest) > BLOCK_BYTES:
                self._fail("the line is longer than a line of an ARPA file", 1)
        yield rest

    def _next(self) -> bytes | None:
        line = next(self._lines, None)
        self._number += 1
        return None if line is None else line.strip()

    def _next_text(self, what: str) -> bytes:
        """The next line that is not empty."""
        while (line := self._next()) is not None:
            if line:
                return line
        self._fail(f"the file ends before {what}; get the whole file", -1)

    def _fail(self, cause: str, ahead: int = 0) -> NoReturn:
        raise DataError(f"{self._path}:{max(self._number + ahead, 1)}: {cause}")

    def model(self) -> BackoffModel:
        """Read the whole file."""
        counts = self._counts()
        tables: list[Table] = []
        for length, count in enumerate(counts, 1):
            head = self._next_text(f"\\{length}-grams:")
            if head != f"\\{length}-grams:".encode():
                self._fail(f"the line \\{length}-grams: is expected (got {_shown(head)})")
            entries = self._entries(length, count)
            words = list(self._index)
            if length == 1:
                tables.append(Table(entries.ids[:, 0], entries.log_probabilities, entries.backoffs))
                continue
            lower = BackoffModel([word.decode() for word in words], tables)
            tables.append(self._table(entries, lower, words))
        if self._next_text("\\end\\") != b"\\end\\":
            self._fail("the line \\end\\ is expected after the last n-gram")
        return BackoffModel([word.decode() for word in self._index], tables)

    def _counts(self) -> list[int]:
        while self._next_text("\\data\\") != START:
            if self._number > 1000:
                self._fail("no ARPA file, because the line \\data\\ is missing; give one, or a binary file of KenLM")
        counts: list[int] = []
        while announced := self._next():
            found = re.fullmatch(rb"ngram\s+(\d{1,2})\s*=\s*(\d{1,18})", announced)
            if found is None or int(found[1]) != len(counts) + 1:
                self._fail(f"'ngram {len(counts) + 1}=' and a number are expected (got {_shown(announced)})")
            counts.append(int(found[2]))
        if not counts or len(counts) > LARGEST_ORDER:
            self._fail(f"n-grams of 1 to {LARGEST_ORDER} words are supported (the file announces {len(counts)} sizes)")
        return counts

    def _entries(self, length: int, count: int) -> _Entries:
        line = self._number + 1
        index = self._index
        ids: list[int] = []
        probabilities: list[bytes] = []
        backoffs: list[bytes] = []
        while entry := self._next():
            parts = entry.split()
            if not length + 1 <= len(parts) <= length + 2:
                self._fail(
                    f"a number, {quantity(length, 'word')} and perhaps a number are expected (got {_shown(entry)})"
                )
            if length == 1:
                if index.setdefault(parts[1], len(index)) != len(probabilities):
                    self._fail(f"the word {_shown(parts[1])} is listed twice")
                if not _is_utf8(parts[1]):
                    self._fail(f"the word {_shown(parts[1])} is invalid UTF-8; convert the file to UTF-8")
            try:
                ids += [index[word] for word in parts[1 : length + 1]]
            except KeyError as error:
                self._fail(f"the word {_shown(error.args[0])} is not among the 1-grams")
            probabilities.append(parts[0])
            backoffs.append(parts[length + 1] if len(parts) == length + 2 else b"0")
        if len(probabilities) != count:
            self._fail(
                f"{len(probabilities):,} n-grams of {quantity(length, 'word')} are listed, but {count:,} announced"
            )
        logarithms = self._logarithms(probabilities, line)
        if (logarithms > 0).any():
            self._fail_at(line + int((logarithms > 0).argmax()), "the probability is larger than 1")
        return _Entries(line, np.array(ids, np.int64).reshape(-1, length), logarithms, self._logarithms(backoffs, line))

    def _logarithms(self, texts: list[bytes], line: int) -> Floats:
        """Natural logarithms from decimal ones."""
        try:
            numbers = np.array([float(text) for text in texts], np.float64)
        except ValueError:
            wrong = next(at for at, text in enumerate(texts) if not _is_number(text))
            self._fail_at(line + wrong, f"{_shown(texts[wrong])} is no number")
        finite = ~(np.isnan(numbers) | np.isposinf(numbers))
        if not finite.all():
            self._fail_at(line + int((~finite).argmax()), "the number is not finite")
        return numbers * math.log(10)

    def _table(self, entries: _Entries, lower: BackoffModel, words: list[bytes]) -> Table:
        beginnings = lower.numbers(entries.ids[:, :-1])
        if (beginnings == NONE).any():
            at = int((beginnings == NONE).argmax())
            text = b" ".join(words[word] for word in entries.ids[at, :-1])
            self._fail_at(entries.line + at, f"the n-gram begins with {_shown(text)}, which is not listed itself")
        keys = beginnings * len(words) + entries.ids[:, -1]
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if (keys[1:] == keys[:-1]).any():
            self._fail_at(entries.line + int(order[1:][keys[1:] == keys[:-1]][0]), "the n-gram is listed twice")
        return Table(keys, entries.log_probabilities[order], entries.backoffs[order])

    def _fail_at(self, line: int, cause: str) -> NoReturn:
        raise DataError(f"{self._path}:{line}: {cause}")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(text: bytes) -> str:
    return repr(shortened(text.decode("utf-8", "replace")))
