"""Words and their ids."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import repeat
from typing import Any, Literal

import numpy as np

from refrain.arguments import text_of

from ...text.files import Errors, Spans, blocks
from ...text.token_file import Tokens, TokenSource
from ...text.words import BLANKS, split_words
from ..protocol import Encoder, Spelling, checked_id
from .preparation import PLAIN, Preparation, preparation_from

EOS = "<eos>"
UNK = "<unk>"

# a literal <eos> at the end of a line is that line's end, which is not counted twice
_SPELLED_END = re.compile(rf"(?<![^{BLANKS}]){EOS}[ \t\r]*$", re.MULTILINE)
_EOS_BETWEEN_BLANKS = f" {EOS} ".encode()
_SPELLED_END_BYTES = re.compile(rf"(?<![^{BLANKS}]){EOS}[ \t\r]*\n".encode())
# a literal <unk>, before and after letters become small; a pattern that begins with plain characters is found fast
_UNK = re.compile(rf"{UNK}(?<![^{BLANKS}]{UNK})(?![^{BLANKS}])")
_UNK_IN_CAPITALS = re.compile(_UNK.pattern, re.IGNORECASE)

Order = Literal["descending", "ascending", "first-seen", "random"]
Ties = Literal["spelling", "first-seen"]


class WordVocabulary:
    """Words and their ids. A line is its words and `<eos>`; words that are not in the vocabulary become `<unk>`.

    Args:
        words: distinct words, including `<eos>` and `<unk>`; the id of a word is its index.
        preparation: what is done to every text before its words are read.
        unknown_count: how often `<unk>` occurs in the training text; None where that is not known.
        counts: how often each word occurs in the training text, words that are read as `<unk>` counted as `<unk>`; None
            where that is not known.

    Raises:
        ValueError: when a word is repeated, `<eos>` or `<unk>` is missing, or there is not one count for each word.
    """

    unit = "word"
    piece = "word"
    bytes_per_token = None

    def __init__(
        self,
        words: Sequence[str],
        preparation: Preparation = PLAIN,
        *,
        unknown_count: int | None = None,
        counts: Sequence[int] | None = None,
    ) -> None:
        self.words = list(words)
        self.preparation = preparation
        self.unknown_count = unknown_count
        self.counts = None if counts is None else list(counts)
        distinct = set(self.words)
        if len(distinct) != len(self.words) or EOS not in distinct or UNK not in distinct:
            raise ValueError(f"a vocabulary holds each word once, and {EOS} and {UNK}")
        if self.counts is not None and len(self.counts) != len(self.words):
            raise ValueError(f"there are {len(self.counts)} counts of {len(self.words)} words")

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and word in self.index

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} words)"

    @cached_property
    def index(self) -> dict[str, int]:
        """The id of each word."""
        return {word: index for index, word in enumerate(self.words)}

    @property
    def line_end(self) -> int:
        """The id of `<eos>`."""
        return self.index[EOS]

    @property
    def unknown(self) -> int:
        """The id of `<unk>`."""
        return self.index[UNK]

    def encode(self, text: str) -> list[int]:
        """The ids of words separated by blanks, and of `<eos>` at every newline.

        Raises:
            UserError: when `text` is not a string, for example a list of words.
        """
        return list(map(self.index.get, self.words_in(text_of(text, "text")), repeat(self.unknown)))

    def words_in(self, text: str) -> list[str]:
        """The words of a text, with `<eos>` for every newline, once the text is prepared."""
        return words_of(self.preparation(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Words joined by blanks, with a newline for `<eos>`."""
        lines: list[list[str]] = [[]]
        for index in ids:
            if index == self.line_end:
                lines.append([])
            else:
                lines[-1].append(self.token(index))
        return "\n".join(" ".join(line) for line in lines)

    def token(self, index: int) -> str:
        """The word of an id.

        Raises:
            IndexError: when the id is not in the vocabulary.
        """
        return self.words[checked_id(index, len(self.words))]

    def continuation(self, prompt: str, ids: Iterable[int]) -> Iterator[str]:
        """Words, each with a blank before it unless it follows a blank or the end of a line."""
        blank = bool(prompt) and prompt[-1] not in BLANKS
        for index in ids:
            if index == self.line_end:
                yield "\n"
                blank = False
            else:
                yield " " * blank + self.token(index)
                blank = True

    def pieces(self, text: str) -> list[str]:
        """Each word with a blank after it, and a newline for `<eos>`."""
        return ["\n" if word == EOS else f"{word} " for word in self.words_in(text)]

    def count_unseen(self, text: str, ids: Sequence[int]) -> int:
        """The number of words that are read as `<unk>` but spelled otherwise."""
        # preparing and splitting the text again takes time
        return ids.count(self.unknown) - count_spelled_unknown(text, self.preparation)

    def encoder(self) -> Encoder:
        """A function of a text that returns the same ids as `encode`, and the same number as `count_unseen`.

        It divides bytes instead of characters, and looks up many words at a time.
        """
        index = {word.encode("utf-8", "surrogatepass"): number for number, word in enumerate(self.words)}
        unknown = self.unknown

        def encode(text: str) -> tuple[Tokens, int]:
            words = encoded_words(self.preparation(text))
            ids = np.fromiter(map(index.get, words, repeat(unknown)), np.uint32, len(words))
            return ids, int(np.count_nonzero(ids == unknown)) - count_spelled_unknown(text, self.preparation)

        return encode

    def spellings(self, source: Spans, tokens: TokenSource, errors: Errors) -> Iterator[Spelling]:
        """Each word as it is spelled in the text, and `<eos>` at every newline."""
        for text in blocks(source, errors, whole_lines=self.preparation.whole_lines):
            for word in self.words_in(text):
                yield Spelling(word.encode("utf-8", "surrogateescape"), ends_word=True)

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data."""
        counted: dict[str, Any] = {} if self.unknown_count is None else {"unknown_count": self.unknown_count}
        if self.counts is not None:
            counted["counts"] = self.counts
        return {"unit": self.unit, "words": self.words, **self.preparation.document(), **counted}

    def prepared(self, preparation: Preparation) -> "WordVocabulary":
        """The same words for texts that are prepared in another way."""
        return WordVocabulary(self.words, preparation, unknown_count=self.unknown_count, counts=self.counts)


def word_vocabulary_from(document: Mapping[str, Any]) -> WordVocabulary:
    """The vocabulary of a document that `WordVocabulary.document` made.

    Raises:
        ValueError: when the document is damaged.
    """
    words, count, counts = document.get("words"), document.get("unknown_count"), document.get("counts")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("holds no list of words")
    if count is not None and not (isinstance(count, int) and count >= 0):
        raise ValueError("unknown_count is no number")
    numbers = isinstance(counts, list) and all(type(each) is int and each >= 0 for each in counts)
    if counts is not None and not numbers:
        raise ValueError("counts is no list of numbers")
    return WordVocabulary(words, preparation_from(document), unknown_count=count, counts=counts)


def count_spelled_unknown(text: str, preparation: Preparation) -> int:
    """The number of words of a text that are a literal `<unk>` once it is prepared."""
    return len((_UNK_IN_CAPITALS if preparation.lowercase else _UNK).findall(text))


def count_spelled_ends(text: bytes) -> int:
    """The number of literal `<eos>` in some UTF-8 that are the ends of lines, which `words_of` does not count twice."""
    return len(_SPELLED_END_BYTES.findall(text)) if EOS.encode() in text else 0


def words_of(text: str) -> list[str]:
    """The words of a text, with `<eos>` for every newline. No other character ends a line.

    A literal `<eos>` at the end of a line is the end of that line and is not counted twice.
    """
    if EOS in text and "\n" in text:
        end = text.rfind("\n") + 1
        text = _SPELLED_END.sub("", text[:end]) + text[end:]
    return split_words(text.replace("\n", f" {EOS} "))


def encoded_words(text: str) -> list[bytes]:
    """The words that `words_of` returns in UTF-8; they are found faster than as text."""
    raw = text.encode("utf-8", "surrogatepass")
    # bytes.split() splits words at these two as well
    if EOS in text or b"\x0b" in raw or b"\x0c" in raw:
        return [word.encode("utf-8", "surrogatepass") for word in words_of(text)]
    return raw.replace(b"\n", _EOS_BETWEEN_BLANKS).split()


def build_vocabulary(
    counts: Counter[str],
    *,
    order: Order = "descending",
    order_seed: int = 1,
    ties: Ties | None = None,
    min_count: int = 1,
    max_words: int | None = None,
) -> WordVocabulary:
    """The vocabulary for some word counts.

    Args:
        counts: the counts of the words of the training text, including `<eos>`, in the order of first occurrence.
        order: the order of ids. `descending`: frequent words first; `ascending`: rare words first; `first-seen`: by
            first occurrence; `random`: an order that depends on the words and the seed alone.
        order_seed: the seed of the random order.
        ties: the order of words of equal count: `spelling`, or `first-seen`, by first occurrence. None is `spelling`
            for `descending`, as in the PTB tutorial, and `first-seen` for `ascending`. Other orders have no ties.
        min_count: words that are rarer are read as `<unk>`.
        max_words: the largest size of the vocabulary, which keeps the most frequent words, `<eos>` and `<unk>`.

    Returns:
        The vocabulary. The count of `<unk>` includes the words that are read as `<unk>`.
    """
    kept = Counter({word: count for word, count in counts.items() if count >= min_count or word in (EOS, UNK)})
    kept.setdefault(EOS, 0)
    kept.setdefault(UNK, 0)
    if max_words is not None and len(kept) > max_words:
        frequent = sorted((w for w in kept if w not in (EOS, UNK)), key=lambda w: (-kept[w], w))[: max_words - 2]
        chosen = {EOS, UNK, *frequent}
        kept = Counter({word: count for word, count in kept.items() if word in chosen})
    kept[UNK] += counts.total() - kept.total()
    if order in ("descending", "ascending"):
        by_spelling = (ties or ("spelling" if order == "descending" else "first-seen")) == "spelling"
        sign = -1 if order == "descending" else 1
        # sorting keeps the order of equal keys, and `kept` is in the order of first occurrence
        return WordVocabulary(sorted(sorted(kept) if by_spelling else kept, key=lambda word: sign * kept[word]))
    if order == "random":
        # a hash is the same on every machine and in every version, unlike a random generator
        return WordVocabulary(sorted(kept, key=lambda word: hashlib.sha256(f"{order_seed} {word}".encode()).digest()))
    return WordVocabulary(list(kept))
