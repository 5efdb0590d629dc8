"""Tokens and their ids: words of a corpus, or the 256 bytes."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, Protocol

from refrain.errors import DataError

EOS = "<eos>"
UNK = "<unk>"

Order = Literal["descending", "ascending", "first-seen", "random"]


class Vocabulary(Protocol):
    """What a model needs to know of its tokens."""

    @property
    def unit(self) -> Literal["word", "byte"]:
        """What a token is."""
        ...

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[int]:
        """Text to ids."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text."""
        ...

    def token(self, index: int) -> str:
        """One id in print."""
        ...

    @property
    def line_end(self) -> int:
        """The id that ends a line."""
        ...

    @property
    def unknown(self) -> int | None:
        """The id of words that are not in the vocabulary, where there are such."""
        ...

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data; `vocabulary_from` reads it."""
        ...


class WordVocabulary:
    """Words by id. A line is its words and `<eos>`; words that are not in the list become `<unk>`.

    Args:
        words: each once, `<eos>` and `<unk>` among them.

    Raises:
        ValueError: when a word stands twice or one of the two is missing.
    """

    unit: Literal["word"] = "word"

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.index = {word: index for index, word in enumerate(self.words)}
        if len(self.index) != len(self.words) or EOS not in self.index or UNK not in self.index:
            raise ValueError(f"a vocabulary holds each word once, and {EOS} and {UNK}")

    def __len__(self) -> int:
        return len(self.words)

    @property
    def line_end(self) -> int:
        """The id of `<eos>`."""
        return self.index[EOS]

    @property
    def unknown(self) -> int:
        """The id of `<unk>`."""
        return self.index[UNK]

    def encode(self, text: str) -> list[int]:
        """Words separated by blanks, each line end an `<eos>`; a last line without its end has none."""
        unknown = self.unknown
        return [self.index.get(word, unknown) for word in words_of(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Words joined by blanks, `<eos>` as a line end."""
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

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data."""
        return {"unit": self.unit, "words": self.words}


class ByteVocabulary:
    """The 256 byte values; ids are the bytes."""

    unit: Literal["byte"] = "byte"

    def __len__(self) -> int:
        return 256

    @property
    def line_end(self) -> int:
        """The id of the newline."""
        return 10

    @property
    def unknown(self) -> None:
        """None: every byte has an id."""
        return None

    def encode(self, text: str) -> list[int]:
        """The UTF-8 bytes of a text."""
        return list(text.encode("utf-8"))

    def decode(self, ids: Sequence[int]) -> str:
        """Bytes to text; what is not UTF-8 is shown as U+FFFD."""
        return bytes(ids).decode("utf-8", errors="replace")

    def token(self, index: int) -> str:
        """A printable byte as itself, any other as \\xNN."""
        return chr(index) if 32 < index < 127 and index != 92 else f"\\x{index:02x}"

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data."""
        return {"unit": self.unit}


def words_of(text: str) -> list[str]:
    """The words of a text with `<eos>` for each line end. Only the newline ends a line."""
    return text.replace("\n", f" {EOS} ").split()


def build_vocabulary(
    counts: Counter[str],
    *,
    order: Order = "descending",
    order_seed: int = 1,
    min_count: int = 1,
    max_words: int | None = None,
) -> WordVocabulary:
    """A vocabulary from word counts.

    Args:
        counts: how often each word stands in the training text, in first-seen order, `<eos>` among them.
        order: `descending` puts frequent words first, ties by spelling (as the PTB tutorial); `ascending` rare words
            first and `first-seen` the order of the text, ties as first seen (as the systems that use them); `random`
            depends on the words and the seed alone.
        order_seed: of the random order.
        min_count: rarer words are left to `<unk>`.
        max_words: at most so many words, the most frequent ones; `<eos>` and `<unk>` always stay.

    Returns:
        The vocabulary; `<unk>` counts its own occurrences and those of the words it stands for.
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
        # by a hash, which is the same on every machine and for every version of a generator
        return WordVocabulary(sorted(kept, key=lambda word: hashlib.sha256(f"{order_seed} {word}".encode()).digest()))
    return WordVocabulary(list(kept))


def vocabulary_from(document: Any) -> WordVocabulary | ByteVocabulary:
    """The vocabulary of a document written by `document()`.

    Raises:
        DataError: when it is not one.
    """
    match document:
        case {"unit": "byte"}:
            return ByteVocabulary()
        case {"unit": "word", "words": list(words)} if all(isinstance(word, str) for word in words):
            try:
                return WordVocabulary(words)
            except ValueError as error:
                raise DataError(f"vocabulary: {error}") from None
    raise DataError("vocabulary: neither a list of words nor bytes")
