"""The words of an imported model in the order of their ids: from a list, a table of symbols, or the training text."""

import codecs
import io
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from refrain.assembly.corpus import build_corpus
from refrain.config import Data
from refrain.data import Corpus, WordVocabulary, open_word_corpus
from refrain.data.text.files import Span, raw_blocks
from refrain.data.units.word.vocabulary import EOS, UNK
from refrain.errors import CheckpointError, DataError, shown
from refrain.storage.regular_files import read_regular

from .records import Record
from .torch_file import is_torch_file, opened

MAX_BYTES = 2**28
LISTED = "vocab.txt"
"""The list of words that colorlessgreenRNNs keeps beside a text."""
READ_OTHERWISE = (
    "This library reads the text otherwise than the program of the model did, since it has a carriage return within a "
    "line, a no-break space, a spelled <eos> or the like, so that figures on it differ."
)
# symbols that recognisers add after the tokens, for their graphs
_DISAMBIGUATION = re.compile(r"#\d+")
Log = Callable[[str], None]


class Words(NamedTuple):
    """The words of a vocabulary, and the text that they were read from.

    Attributes:
        words: in the order of their ids.
        corpus: the corpus, if the vocabulary was made from a text.
        folder: the folder of that text.
        notes: what differs from the program that made the model, in whole sentences.
    """

    words: list[str]
    corpus: Corpus | None = None
    folder: Path | None = None
    notes: tuple[str, ...] = ()


def read_words(path: Path, rows: int, *, log: Log) -> Words:
    """Read the vocabulary of a model that was trained by a descendant of PyTorch's word_language_model.

    Args:
        path: a list with a word on each line, a corpus or dictionary saved by `torch.save`, or the folder of the
            training text: its `vocab.txt`, or its words by first occurrence in train, valid and test.
        rows: the number of words in the weights.
        log: called with a line of text before steps that take long.

    Raises:
        DataError: when it cannot be read, or has another number of words than the weights.
    """
    if path.is_dir() and not (path / LISTED).is_file():
        return _from_text(path, rows, log)
    folder = path.resolve() if path.is_dir() else None
    path = path / LISTED if path.is_dir() else path
    content = _content(path)
    if is_torch_file(content[:4]):
        words = _from_dictionary(path)
    else:
        text = _decoded(path, content)
        # as these programs read it; a word may contain white space of Unicode only if it has a line of its own
        words = text.split()
        if len(words) != rows:
            lines = [line.strip(" \t\r") for line in text.rstrip("\n").split("\n")]
            words = lines if len(lines) == rows else words
    return Words(checked(words, path, rows), None, folder)


def checked(words: list[str], path: Path, rows: int) -> list[str]:
    """Check that words are distinct and as many as the weights are for.

    Args:
        words: in the order of their ids.
        path: the file, for messages.
        rows: the number of words in the weights.

    Raises:
        DataError: when they are not.
    """
    if len(words) != rows:
        raise DataError(
            f"{path}: has {len(words):,} words, but the weights are for {rows:,}; give the vocabulary with which the "
            "model was trained"
        )
    seen: set[str] = set()
    for index, word in enumerate(words):
        if word in seen:
            raise DataError(f"{path}: has {shown(word)} twice (again as id {index:,}), but each word has one id")
        seen.add(word)
    return words


def read_symbols(path: Path, rows: int) -> list[str]:
    """Read a table of tokens: `tokens.txt` with a token and its id on each line, or a SentencePiece `.vocab`.

    Args:
        path: the file; one of SentencePiece has a token, a tab and a score on each line.
        rows: the number of tokens in the weights.

    Raises:
        DataError: when it cannot be read, or has another number of tokens than the weights.
    """
    lines = _decoded(path, _content(path)).rstrip("\n").split("\n")
    if all("\t" in line for line in lines) and not all(line.rpartition("\t")[2].isdigit() for line in lines):
        return checked([line.partition("\t")[0] for line in lines], path, rows)
    found: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        parts = line.rsplit(maxsplit=1)
        if len(parts) != 2 or not parts[1].isdecimal() or len(parts[1]) > 9:
            raise DataError(f"{path}:{number}: must be a token and its id (got {shown(line)})")
        index = int(parts[1])
        if index in found:
            raise DataError(f"{path}:{number}: the id {index} is given twice")
        found[index] = parts[0]
    while len(found) > rows and _DISAMBIGUATION.fullmatch(found.get(len(found) - 1, "")):
        del found[len(found) - 1]
    if sorted(found) != list(range(len(found))):
        raise DataError(f"{path}: the ids of {len(found):,} tokens must be 0 to {len(found) - 1:,}, each once")
    return checked([found[index] for index in range(len(found))], path, rows)


def renamed(words: list[str], path: Path, *, line_end: str, unknown: str) -> list[str]:
    """Give the words that end a line and stand for unknown words the names that they have in this library.

    Args:
        words: in the order of their ids.
        path: the file, for messages.
        line_end: the word that ends a line; it becomes `<eos>`.
        unknown: the word for unknown words, which may be missing; it becomes `<unk>`.

    Raises:
        DataError: when no word ends a line, or another word has one of the names.
    """
    if line_end not in words:
        raise DataError(
            f"{path}: has no {shown(line_end)}, which ends a line; name the token that does in the TOML file of the "
            "format pytorch-lstm"
        )
    new = {line_end: EOS, unknown: UNK}
    result = [new.get(word, word) for word in words]
    for name, given in ((EOS, line_end), (UNK, unknown)):
        if result.count(name) > 1:
            raise DataError(f"{path}: has {name} beside {shown(given)}, which would get the same name")
    return result


def _from_text(folder: Path, rows: int, log: Log) -> Words:
    folder = folder.resolve()
    corpus = build_corpus(Data(corpus=str(folder), order="first-seen", vocabulary_from="all"), log)
    words: dict[str, None] = {}
    tokens = 0
    for span in (span for split in corpus.splits.values() for span in split.source):
        for line in _lines(span):
            own = [*line.split(), EOS]
            words.update(dict.fromkeys(own))
            tokens += len(own)
    found = checked(list(words), folder, rows)
    # a text without it has it in this library alone
    expected = found if UNK in words else [*found, UNK]
    if [*corpus.vocabulary] == expected and sum(len(split.tokens) for split in corpus.splits.values()) == tokens:
        return Words(found, corpus, folder)
    texts = {name: split.source for name, split in corpus.splits.items()}
    corpus = open_word_corpus(corpus.name, texts, vocabulary=WordVocabulary(expected), log=log)
    return Words(found, corpus, folder, (READ_OTHERWISE,))


def _lines(span: Span) -> Iterator[str]:
    """The lines of a text as Python reads them by default: a newline, a carriage return or both end a line."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")(), translate=True)
    parts: list[str] = []
    for raw in itertools.chain(raw_blocks(span), [b""]):
        first, *others = decoder.decode(raw, final=not raw).split("\n")
        parts.append(first)
        if others:
            yield "".join(parts)
            yield from others[:-1]
            parts = others[-1:]
    if rest := "".join(parts):
        yield rest


def _from_dictionary(path: Path) -> list[str]:
    """The list `idx2word` of a saved dictionary, or of the dictionary of a saved corpus."""
    try:
        with opened(path) as file:
            root: Any = file.root
    except CheckpointError as error:
        raise DataError(str(error)) from None
    if isinstance(root, Record) and isinstance(root.attribute("dictionary"), Record):
        root = root.attribute("dictionary")
    words = root.attribute("idx2word") if isinstance(root, Record) else root
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise DataError(f"{path}: holds no dictionary with a list idx2word; give the vocabulary as a text file")
    return list(words)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, limit=MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


def _decoded(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: invalid UTF-8 at byte {error.start}; give the vocabulary as UTF-8 text") from None
