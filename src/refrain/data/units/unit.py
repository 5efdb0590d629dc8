"""How text becomes a corpus of one unit: the protocol of a unit, and the options it is given."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from refrain.errors import DataError

from ..corpus import Corpus
from ..text.cleaning import Cleaning
from ..text.files import Errors, Spans
from ..text.splits import SHARES
from .protocol import Vocabulary
from .word.preparation import Normalise
from .word.vocabulary import Order, Ties

Report = Callable[[str], None]


@dataclass(frozen=True)
class TextOptions:
    """How text is read. Each unit uses the options that apply to it and ignores the others.

    Attributes:
        split: the shares of a single text that are `train` and `valid`; the rest is `test`.
        cleaning: what is done to the text first.
        order: the order of ids, see `build_vocabulary`.
        order_seed: the seed of the random order; None is 1.
        ties: the order of words of equal frequency, see `build_vocabulary`.
        min_count: tokens that are rarer in the training text are left out of the vocabulary.
        max_words: the largest size of a vocabulary of words; None is no limit.
        max_characters: the largest size of a vocabulary of characters; None is no limit.
        pieces: the number of pieces that are trained.
        piece_model: the model of the pieces, see `train_pieces`.
        piece_seed: the seed with which pieces are trained.
        tokens: the file of a tokenizer, whose pieces are used instead; None trains some.
        fixed: the vocabulary, whose tokens are counted in the text; None makes one from the text.
        vocabulary_from: the splits that the vocabulary is counted on.
        errors: what invalid UTF-8 does.
        lowercase: whether letters are converted to lower case before words are read, see `Preparation`.
        tokenise: whether words are separated from punctuation.
        normalise: the normal form of Unicode that the text is brought into.
        workers: the number of processes that prepare the text; None is the number of processors, at most 8, and one for
            a text of less than 20 MB.
    """

    split: tuple[float, float] = SHARES
    cleaning: Cleaning = "none"
    order: Order = "descending"
    order_seed: int | None = None
    ties: Ties | None = None
    min_count: int = 1
    max_words: int | None = None
    max_characters: int | None = None
    pieces: int = 8000
    piece_model: Literal["unigram", "bpe"] = "unigram"
    piece_seed: int = 1
    tokens: str | None = None
    fixed: Vocabulary | None = None
    vocabulary_from: Literal["train", "all"] = "train"
    errors: Errors = "strict"
    lowercase: bool = False
    tokenise: bool = False
    normalise: Normalise = "none"
    workers: int | None = None


VocabularyT = TypeVar("VocabularyT")


def own_vocabulary(vocabulary: Vocabulary | None, kind: type[VocabularyT]) -> VocabularyT | None:
    """A given vocabulary, which must be of the unit that opens a text; None without one.

    Args:
        vocabulary: the vocabulary, or None.
        kind: the class of the vocabularies of the unit.

    Raises:
        TypeError: when it is of another unit.
    """
    if vocabulary is None or isinstance(vocabulary, kind):
        return vocabulary
    raise TypeError(f"the text needs a {kind.__name__} (got a vocabulary of {vocabulary.unit}s)")


def not_in_a_file(path: Path, options: TextOptions) -> Vocabulary:
    """The `read_vocabulary` of units whose vocabularies are not written by users.

    Raises:
        DataError: always.
    """
    what = "is a file" if path.exists() else "no such folder"
    raise DataError(f"{path}: {what}, but a list of tokens in a file is of words; give the folder of a run")


class Unit(Protocol):
    """Everything that differs between units before there is a vocabulary. `UNITS` lists them by name.

    Attributes:
        exchangeable: whether a model can go on with another vocabulary of the unit: equal tokens mean the same in it.
        in_bytes: whether training reports bits per byte, because tokens of the unit are no words.
    """

    exchangeable: bool
    in_bytes: bool

    def vocabulary_from(self, document: Mapping[str, Any]) -> Vocabulary:
        """The vocabulary of a document that its `document()` made.

        Raises:
            ValueError: when the document is damaged.
        """
        ...

    def read_vocabulary(self, path: Path, options: TextOptions) -> Vocabulary:
        """The vocabulary in a file that a user wrote.

        Raises:
            DataError: when the file is no such list, or vocabularies of the unit are not written by users.
        """
        ...

    def names_splits(self, path: Path) -> bool:
        """Whether a path holds a text for each split, so that it is not cut by shares."""
        ...

    def find_splits(
        self, path: Path, options: TextOptions, requested: tuple[str, ...], log: Report
    ) -> dict[str, Spans]:
        """Where the text of each requested split is.

        Raises:
            DataError: when something is missing, empty or ambiguous.
        """
        ...

    def find_all(self, path: Path, log: Report) -> Spans:
        """Where all the text of a path is that holds no splits.

        Raises:
            DataError: when it is missing or empty.
        """
        ...

    def open(
        self, name: str, texts: Mapping[str, Spans], options: TextOptions, vocabulary: Vocabulary | None, log: Report
    ) -> Corpus:
        """The corpus of some texts by split; None makes the vocabulary from them.

        Raises:
            DataError: when a text cannot be used.
        """
        ...

    def survey(self, corpus: Corpus) -> dict[str, dict[str, Any]]:
        """Figures of each split beside those that all units have, for `refrain data check`."""
        ...
