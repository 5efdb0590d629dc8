"""Words and their ids."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from ...text.files import Errors, Spans, blocks
from ...text.token_file import TokenSource
from ..protocol import Spelling

EOS = "<eos>"
UNK = "<unk>"

Order = Literal["descending", "ascending", "first-seen", "random"]


class WordVocabulary:
    """Words and their ids. A line is its words and `<eos>`; words that are not in the vocabulary become `<unk>`.

    Args:
        words: distinct words, including `<eos>` and `<unk>`; the id of a word is its index.

    Raises:
        ValueError: when a word is repeated, or `<eos>` or `<unk>` is missing.
    """

    unit = "word"
    piece = "word"
    bytes_per_token = None

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.index = {word: index for index, word in enumerate(self.words)}
        if len(self.index) != len(self.words) or EOS not in self.index or UNK not in self.index:
            raise ValueError(f"a vocabulary holds each word once, and {EOS} and {UNK}")

    def __len__(self) -> int:
        return len(self.words)

    def __iter__(self) -> Iterator[str]:
        return iter(self.words)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and word in self.index

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} words)"

    @property
    def line_end(self) -> int:
        """The id of `<eos>`."""
        return self.index[EOS]

    @property
    def unknown(self) -> int:
        """The id of `<unk>`."""
        return self.index[UNK]

    def encode(self, text: str) -> list[int]:
        """The ids of words separated by blanks, and of `<eos>` at every newline."""
        unknown = self.unknown
        return [self.index.get(word, unknown) for word in words_of(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Words joined by blanks, with a newline for `<eos>`."""
        lines: list[list[str]] = [[]]
        for index in ids:
            if index == self.line_end:
                lines.append([])
            else:
                lines[-1].append(self.words[index])
        return "\n".join(" ".join(line) for line in lines)

    def token(self, index: int) -> str:
        """The word of an id."""
        return self.words[index]

    def continuation(self, prompt: str, ids: Iterable[int]) -> Iterator[str]:
        """Words, each with a blank before it unless it follows a blank or the end of a line."""
        blank = bool(prompt) and not prompt[-1].isspace()
        for index in ids:
            if index == self.line_end:
                yield "\n"
                blank = False
            else:
                yield " " * blank + self.words[index]
                blank = True

    def pieces(self, text: str) -> list[str]:
        """Each word with a blank after it, and a newline for `<eos>`."""
        return ["\n" if word == EOS else f"{word} " for word in words_of(text)]

    def count_unseen(self, text: str, ids: Sequence[int]) -> int:
        """The number of words that are read as `<unk>` but spelled otherwise."""
        unknown = ids.count(self.unknown)
        # splitting the text again takes time and is rarely needed
        return unknown - text.split().count(UNK) if UNK in text else unknown

    def spellings(self, source: Spans, tokens: TokenSource, errors: Errors) -> Iterator[Spelling]:
        """Each word as it is spelled in the text, and `<eos>` at every newline."""
        for text in blocks(source, errors, whole_lines=False):
            for word in words_of(text):
                yield Spelling(word.encode("utf-8", "surrogateescape"), ends_word=True)

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data."""
        return {"unit": self.unit, "words": self.words}


def words_of(text: str) -> list[str]:
    """The words of a text, with `<eos>` for every newline. No other character ends a line."""
    return text.replace("\n", f" {EOS} ").split()


def build_vocabulary(
    counts: Counter[str],
    *,
    order: Order = "descending",
    order_seed: int = 1,
    min_count: int = 1,
    max_words: int | None = None,
) -> WordVocabulary:
    """The vocabulary for some word counts.

    Args:
        counts: the counts of the words of the training text, including `<eos>`, in the order of first occurrence.
        order: the order of ids. `descending`: frequent words first, ties by spelling, as in the PTB tutorial;
            `ascending`: rare words first, ties by first occurrence; `first-seen`: by first occurrence; `random`: an
            order that depends on the words and the seed alone.
        order_seed: the seed of the random order.
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
    if order == "descending":
        return WordVocabulary(sorted(kept, key=lambda word: (-kept[word], word)))
    if order == "ascending":
        return WordVocabulary(sorted(kept, key=lambda word: kept[word]))
    if order == "random":
        # a hash is the same on every machine and in every version, unlike a random generator
        return WordVocabulary(sorted(kept, key=lambda word: hashlib.sha256(f"{order_seed} {word}".encode()).digest()))
    return WordVocabulary(list(kept))
