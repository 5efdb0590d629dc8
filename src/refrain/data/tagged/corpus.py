"""Tagged corpora: finding the files of the splits and reading their sentences."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from refrain.errors import DataError, shown

from ..text.files import Errors, Spans, cut_points, sha256_of
from ..text.packed import text_file
from ..text.splits import SPELLINGS, SPLITS, fractions_of
from .columns import cells, columns_parser
from .conllu import COLUMNS, conllu_parser
from .sentences import Lines, Sentence, blocks_of_lines, lines_in, read_sentences
from .vocabulary import TagVocabulary

CONLLU = (".conllu", ".conll-u")
ENDINGS = (*CONLLU, ".conll", ".tsv", ".tab", ".tagged", ".tags", ".pos", ".iob", ".iob2", ".bio", ".txt")


@dataclass(frozen=True)
class TaggedSplit:
    """One part of a tagged corpus.

    Attributes:
        source: the text that the sentences were read from.
        sha256: the sha256 of that text.
        sentences: the sentences in the order of the text.
        skipped: a message for each bad sentence that was left out.
        unseen: the number of words that do not occur in the training text.
    """

    source: Spans
    sha256: str
    sentences: list[Sentence]
    skipped: list[str]
    unseen: int = 0

    @cached_property
    def tokens(self) -> list[str]:
        """The words of all sentences."""
        return [word for sentence in self.sentences for word in sentence.words]

    @property
    def lines(self) -> int:
        """The number of sentences."""
        return len(self.sentences)


@dataclass(frozen=True)
class TaggedCorpus:
    """Splits by name (`train`, `valid`, `test`, or `all`) and the vocabulary of the training text."""

    name: str
    vocabulary: TagVocabulary
    splits: dict[str, TaggedSplit]


def find_tagged(path: Path, requested: Sequence[str] = SPLITS) -> dict[str, Path]:
    """The file of each split in a folder.

    Args:
        path: a folder with a file for each split, whose name contains train, dev or valid, or test.
        requested: the splits to look for. A missing `test` is left out; any other missing split is an error.

    Raises:
        DataError: when something is missing or ambiguous.
    """
    try:
        files = sorted(entry for entry in path.iterdir() if entry.is_file() and entry.suffix in ENDINGS)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    # treebanks are published together with their plain text
    files = [file for file in files if file.suffix in CONLLU] or files
    found: dict[str, Path] = {}
    for split in requested:
        named = [file for file in files if set(re.split(r"[^a-z]+", file.stem.lower())) & set(SPELLINGS[split])]
        if len(named) > 1:
            names = ", ".join(file.name for file in named)
            raise DataError(f"{path}: {len(named)} files could be the {split} sentences: {names}; keep one")
        if named:
            found[split] = named[0]
        elif split != "test" or split == requested[0]:
            here = ", ".join(file.name for file in files[:6]) or "no file of sentences"
            raise DataError(
                f"{path}: no {split} sentences; expected a file such as {SPELLINGS[split][-1]}.conllu or "
                f"{SPELLINGS[split][-1]}.tsv (found {here})"
            )
    return found


def read_tagged(
    path: Path, *, column: str = "auto", errors: Errors = "strict", max_tokens: int = 5000, skip_bad: bool = False
) -> TaggedSplit:
    """All sentences of a file.

    Args:
        path: the file, which is CoNLL-U if its ending or its first line says so, and otherwise in columns.
        column: the column of the tags: `auto`, the name of a column of CoNLL-U, or a number counted from 1.
        errors: how invalid UTF-8 is handled.
        max_tokens: the largest number of words of a sentence.
        skip_bad: leave out bad sentences and list them.

    Raises:
        DataError: for a bad sentence, with the file and the line, or when there is no sentence.
    """
    spans = text_file(path)
    parse = _parser(path, next((line for line in lines_in(spans, errors) if _tells(line)), ""), column)
    skipped: list[str] = []
    blocks: Iterator[Lines] = blocks_of_lines(lines_in(spans, errors))
    found = read_sentences(path, blocks, parse, max_tokens=max_tokens, skipped=skipped if skip_bad else None)
    sentences = list(found)
    if not sentences:
        raise DataError(f"{path}: no sentence to read" + (f" ({skipped[0]})" if skipped else ""))
    return TaggedSplit(spans, sha256_of(spans), sentences, skipped)


def looks_like_conllu(path: str, line: str) -> bool:
    """Whether a file is CoNLL-U: by its ending, or by a first line of ten columns with the id 1 or a range from 1.

    Args:
        path: the path of the file.
        line: the first line that is neither blank nor a comment.
    """
    return path.endswith(CONLLU) or re.match(r"1(-\d+)?\t([^\t]*\t){8}[^\t]*$", line) is not None


def split_tagged(split: TaggedSplit, shares: tuple[float, float]) -> dict[str, TaggedSplit]:
    """Split the sentences of one file into train, valid and test, in the order of the text.

    Args:
        split: all sentences.
        shares: the shares of train and valid; any rest is test.

    Raises:
        DataError: when there are too few sentences.
    """
    sentences = split.sentences
    fractions = fractions_of(shares)
    if len(sentences) <= len(fractions):
        raise DataError(
            f"{split.source[0].path}: {len(sentences)} sentence(s) cannot be split; give a folder of splits"
        )
    edges = [0, *cut_points(len(sentences), fractions), len(sentences)]
    return {
        name: TaggedSplit(split.source, split.sha256, sentences[start:stop], split.skipped if name == "train" else [])
        for name, (start, stop) in zip(SPLITS, pairwise(edges), strict=False)
    }


def against(split: TaggedSplit, vocabulary: TagVocabulary, *, skip_bad: bool) -> TaggedSplit:
    """Check the tags of a split against a vocabulary, and count the words that it does not have.

    Args:
        split: the split as it was read.
        vocabulary: the vocabulary of the training text.
        skip_bad: leave out sentences with an unknown tag.

    Raises:
        DataError: for the first unknown tag, or when no sentence is left.
    """
    kept = []
    skipped = list(split.skipped)
    path = split.source[0].path
    for sentence in split.sentences:
        new = next((tag for tag in sentence.tags if tag not in vocabulary.tag_index), None)
        if new is None:
            kept.append(sentence)
            continue
        cause = f"{path}:{sentence.line}: the sentence has the tag {shown(new)}, which the training text lacks"
        if not skip_bad:
            raise DataError(f"{cause}; train on text that has it, or leave such sentences out with --skip-bad")
        skipped.append(cause)
    if not kept:
        raise DataError(f"{path}: no sentence is left; {skipped[0]}")
    unseen = sum(not vocabulary.saw(word) for sentence in kept for word in sentence.words)
    return TaggedSplit(split.source, split.sha256, kept, skipped, unseen)


def counts_of(split: TaggedSplit) -> tuple[Counter[str], set[str]]:
    """The counts of the words of a split, in the order of the text, and the set of its tags."""
    return Counter(split.tokens), {tag for sentence in split.sentences for tag in sentence.tags}


def _tells(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("# ")


def _parser(path: Path, line: str, column: str) -> Callable[[Lines], Sentence]:
    # a number of thousands of digits is no column, and Python does not read it
    number = int(column[:9]) if column.isascii() and column.isdigit() else None
    if looks_like_conllu(str(path), line):
        if number is not None:
            names = ", ".join(COLUMNS[2:])
            raise DataError(f"{path}: data.column: columns of CoNLL-U go by name here; choose one of {names}")
        column = "upos" if column == "auto" else column.lower()
        if column not in COLUMNS[2:]:
            raise DataError(
                f"{path}: data.column: {shown(column)} holds no tags; choose one of {', '.join(COLUMNS[2:])}"
            )
        return conllu_parser(column)
    tabs = "\t" in line
    width = len(cells(line.removesuffix("\r"), tabs=tabs))
    if column != "auto" and number is None:
        raise DataError(f"{path}: data.column: columns have no names here; give a number, 2 to {width}, or auto")
    number = 2 if number is None else number
    if width < 2:
        raise DataError(
            f"{path}: the first line has a single column; expected a word and its tag, with a tab or a blank between"
        )
    if not 2 <= number <= width:
        raise DataError(f"{path}: data.column: no column {number} of tags; choose 2 to {width}")
    return columns_parser(number - 1, tabs=tabs, width=width)
