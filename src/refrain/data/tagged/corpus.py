"""Tagged corpora: reading the sentences of their files, and cutting them into splits."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from itertools import islice, pairwise
from pathlib import Path

from refrain.errors import BinaryFileError, DataError, quantity, shown

from ..text.files import Errors, Spans, cut_points, place_of, sha256_of
from ..text.layout import layout_of
from ..text.packed import text_file
from ..text.splits import SPLITS, fractions_of
from .columns import begins_document
from .formats import HEAD_LINES, IN_COLUMNS, Choice, Underscore, format_of, is_prose
from .sentences import MISSING, Lines, Sentence, lines_in, read_sentences
from .trees import NAME, count_empty
from .vocabulary import TagVocabulary


@dataclass(frozen=True)
class TaggedSplit:
    """One part of a tagged corpus.

    Attributes:
        source: the text that the sentences were read from.
        sha256: the sha256 of that text.
        sentences: the sentences in the order of the text.
        skipped: a message for each bad sentence that was left out.
        unseen: the number of words that do not occur in the training text.
        documents: the number of lines `-DOCSTART-`, which are no sentences.
        empty: the number of empty elements of bracketed trees, which are no words.
        format: the name of the format.
        new_tags: the tags that do not occur in the training text, each with its number of words.
        layout: what decides the lines of the text besides its bytes, see `layout_of`.
    """

    source: Spans
    sha256: str
    sentences: list[Sentence]
    skipped: list[str]
    unseen: int = 0
    documents: int = 0
    empty: int = 0
    format: str = ""
    new_tags: dict[str, int] = field(default_factory=dict)
    layout: str = ""

    @cached_property
    def tokens(self) -> list[str]:
        """The words of all sentences."""
        return [word for sentence in self.sentences for word in sentence.words]

    @cached_property
    def tags(self) -> Counter[str]:
        """The number of words of each tag, without the words that have no annotation."""
        found = Counter(tag for sentence in self.sentences for tag in sentence.tags)
        del found[MISSING]
        return found

    @property
    def missing(self) -> int:
        """The number of words without annotation."""
        return len(self.tokens) - self.tags.total()

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


def read_tagged(
    path: str | Path | Sequence[str | Path],
    *,
    column: str = "auto",
    word_column: str = "auto",
    underscore: Underscore = "auto",
    errors: Errors = "strict",
    max_tokens: int = 5000,
    skip_bad: bool = False,
    can_skip: bool = True,
) -> TaggedSplit:
    """All sentences of a file, or of several files that are joined.

    Args:
        path: the file, whose format is judged by its ending and its first lines, see `format_of`; or several files.
        column: the column of the tags: `auto`, a column or attribute of CoNLL-U, or a number counted from 1.
        word_column: the column of the words: `auto`, or a number counted from 1.
        underscore: whether the tag `_` means that a word has no annotation; `auto` leaves it to the format.
        errors: how invalid UTF-8 is handled.
        max_tokens: the largest number of words of a sentence.
        skip_bad: leave out bad sentences and list them.
        can_skip: whether the user can ask for that, which the message for a bad sentence then says.

    Raises:
        DataError: for a bad sentence, with the file and the line, or when there is no sentence.
    """
    if not isinstance(path, str | Path):
        read = partial(read_tagged, column=column, word_column=word_column, underscore=underscore, errors=errors)
        parts = [read(each, max_tokens=max_tokens, skip_bad=skip_bad, can_skip=can_skip) for each in path]
        return parts[0] if len(parts) == 1 else _joined(parts)
    path = Path(path)
    spans = _text_file(path)
    head = list(islice(lines_in(spans, errors), HEAD_LINES))
    found = format_of(str(path), head, Choice(column, word_column, underscore))
    skipped: list[str] = []
    documents = empty = 0

    def lines() -> Iterator[str]:
        nonlocal documents, empty
        for line in lines_in(spans, errors):
            documents += begins_document(line)
            empty += count_empty(line) if found.name == NAME else 0
            yield line

    blocks: Iterator[Lines] = found.blocks(lines())
    left_out = skipped if skip_bad else None
    plain = found.name == IN_COLUMNS and is_prose(head)
    read_all = read_sentences(
        path, blocks, found.parse, max_tokens=max_tokens, skipped=left_out, can_skip=can_skip, plain=plain
    )
    sentences = list(read_all)
    if not sentences:
        raise DataError(f"{path}: no sentence to read" + (f" ({skipped[0]})" if skipped else ""))
    return TaggedSplit(
        spans,
        sha256_of(spans),
        sentences,
        skipped,
        documents=documents,
        empty=empty,
        format=found.name,
        layout=layout_of(spans),
    )


def _text_file(path: Path) -> Spans:
    try:
        return text_file(path)
    except BinaryFileError as error:
        # a tagger reads no bytes
        raise DataError(*error.mistakes) from None


def _joined(parts: Sequence[TaggedSplit]) -> TaggedSplit:
    spans = tuple(span for part in parts for span in part.source)
    return TaggedSplit(
        spans,
        sha256_of(spans),
        [sentence for part in parts for sentence in part.sentences],
        [message for part in parts for message in part.skipped],
        documents=sum(part.documents for part in parts),
        empty=sum(part.empty for part in parts),
        format=", ".join(dict.fromkeys(part.format for part in parts)),
        layout=layout_of(spans),
    )


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
            f"{split.source[0].path}: {quantity(len(sentences), 'sentence')} cannot be split; give a folder of splits"
        )
    edges = [0, *cut_points(len(sentences), fractions), len(sentences)]
    return {
        name: _part(split, sentences[start:stop], first=name == "train")
        for name, (start, stop) in zip(SPLITS, pairwise(edges), strict=False)
    }


def fold_of(split: TaggedSplit, folds: int, fold: int, seed: int) -> dict[str, TaggedSplit]:
    """The splits of one fold of a cross-validation: one part is `test`, the next `valid`, and the others `train`.

    Every sentence is in `test` in exactly one fold.

    Args:
        split: all sentences.
        folds: the number of parts, at least 3.
        fold: the part that is `test`, counted from 1.
        seed: the seed of the order in which the sentences are dealt to the parts.

    Raises:
        DataError: when there are fewer sentences than parts.
    """
    sentences = split.sentences
    if len(sentences) < folds:
        raise DataError(
            f"{place_of(split.source)}: {quantity(len(sentences), 'sentence')} cannot be dealt to {folds} folds; "
            "ask for fewer"
        )
    order = list(range(len(sentences)))
    random.Random(seed).shuffle(order)
    part = {sentence: place % folds for place, sentence in enumerate(order)}
    test, valid = (fold - 1) % folds, fold % folds
    chosen: dict[str, list[Sentence]] = {name: [] for name in SPLITS}
    for place, sentence in enumerate(sentences):
        chosen["test" if part[place] == test else "valid" if part[place] == valid else "train"].append(sentence)
    return {name: _part(split, each, first=name == "train") for name, each in chosen.items()}


def _part(split: TaggedSplit, sentences: list[Sentence], *, first: bool) -> TaggedSplit:
    # what was left out is listed once
    if first:
        return replace(split, sentences=sentences)
    return replace(split, sentences=sentences, skipped=[], documents=0, empty=0)


def against(split: TaggedSplit, vocabulary: TagVocabulary) -> TaggedSplit:
    """Compare a split with a vocabulary: count the words that it does not have, and the words of each new tag.

    Args:
        split: the split as it was read.
        vocabulary: the vocabulary of the training text.

    Raises:
        DataError: when no word has a tag that occurs in the training text.
    """
    new = {tag: count for tag, count in split.tags.most_common() if tag not in vocabulary.tag_index}
    if len(new) == len(split.tags):
        place = place_of(split.source)
        if not new:
            raise DataError(
                f"{place}: every word has _ in place of a tag; give sentences with the tags of the training text"
            )
        names = ", ".join(shown(tag) for tag in list(new)[:3])
        raise DataError(
            f"{place}: no word has a tag that occurs in the training text (found {names}); give sentences with the "
            "tags of the training text, or choose the column that has them"
        )
    unseen = sum(not vocabulary.saw(word) for word in split.tokens)
    return replace(split, unseen=unseen, new_tags=new)


def counts_of(split: TaggedSplit) -> tuple[Counter[str], set[str]]:
    """The counts of the words of a split, in the order of the text, and the set of its tags."""
    return Counter(split.tokens), set(split.tags)
