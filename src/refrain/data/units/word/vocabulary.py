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
    """Words by id. A line is its words and `<eos>`; words that are not in the list become `<unk>`.

    Args:
        words: each once, `<eos>` and `<unk>` among them.

    Raises:
        ValueError: when a word stands twice or one of the two is missing.
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

    def continuation(self, prompt: str, ids: Iterable[int]) -> Iterator[str]:
        """Words with the blank before each, which the first word after a blank or a line end does not need."""
        blank = bool(prompt) and not prompt[-1].isspace()
        for index in ids:
            if index == self.line_end:
                yield "\n"
                blank = False
            else:
                yield " " * blank + self.words[index]
                blank = True

    def pieces(self, text: str) -> list[str]:
        """Each word with a blank after it, `<eos>` as a line end."""
        return ["\n" if word == EOS else f"{word} " for word in words_of(text)]

    def count_unseen(self, text: str, ids: Sequence[int]) -> int:
        """How many words are read as `<unk>` and are spelled otherwise."""
        return ids.count(self.unknown) - text.split().count(UNK)

    def spellings(self, source: Spans, tokens: TokenSource, errors: Errors) -> Iterator[Spelling]:
        """Each word as it is spelled in the text, `<eos>` at line ends."""
        for text in blocks(source, errors, whole_lines=False):
            for word in words_of(text):
                yield Spelling(word.encode("utf-8", "surrogateescape"), ends_word=True)

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data."""
        return {"unit": self.unit, "words": self.words}


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
