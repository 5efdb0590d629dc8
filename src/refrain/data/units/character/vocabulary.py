"""Characters of Unicode and their ids."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from refrain.arguments import text_of

from ...text.files import Errors, Spans, blocks
from ...text.token_file import TokenSource
from ...text.words import BLANKS
from ..protocol import Spelling, checked_id
from ..word.vocabulary import EOS, UNK, Order, Ties, build_vocabulary

LINE_END = "\n"
UNKNOWN = "\ufffd"
"""The replacement character of Unicode, which a text also has where invalid UTF-8 was replaced."""


class CharacterVocabulary:
    """Characters, which are code points of Unicode, and their ids. A line ends with the newline character.

    A character that is not in the vocabulary becomes U+FFFD, the replacement character of Unicode.

    Args:
        characters: distinct characters, including the newline and U+FFFD; the id of a character is its index.
        unknown_count: how often U+FFFD occurs in the training text; None where that is not known.

    Raises:
        ValueError: when a character is repeated, or the newline or U+FFFD is missing.
    """

    unit = "character"
    piece = "character"
    bytes_per_token = None

    def __init__(self, characters: str, *, unknown_count: int | None = None) -> None:
        self.characters = characters
        self.unknown_count = unknown_count
        self.index = {character: index for index, character in enumerate(characters)}
        if len(self.index) != len(characters) or LINE_END not in self.index or UNKNOWN not in self.index:
            raise ValueError("a vocabulary holds each character once, and the newline and U+FFFD")

    def __len__(self) -> int:
        return len(self.characters)

    def __iter__(self) -> Iterator[str]:
        return iter(self.characters)

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and all(character in self.index for character in text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} characters)"

    @property
    def line_end(self) -> int:
        """The id of the newline character."""
        return self.index[LINE_END]

    @property
    def unknown(self) -> int:
        """The id of U+FFFD."""
        return self.index[UNKNOWN]

    def encode(self, text: str) -> list[int]:
        """The ids of the characters of a text.

        Raises:
            UserError: when `text` is not a string, for example a list of characters.
        """
        find, unknown = self.index.get, self.unknown
        return [find(character, unknown) for character in text_of(text, "text")]

    def decode(self, ids: Sequence[int]) -> str:
        """The characters of ids as one text."""
        return "".join(map(self._character, ids))

    def _character(self, index: int) -> str:
        return self.characters[checked_id(index, len(self.characters))]

    def token(self, index: int) -> str:
        """A printable character as itself, any other as <U+NNNN>.

        Raises:
            IndexError: when the id is not in the vocabulary.
        """
        character = self._character(index)
        return character if character.isprintable() and character != " " else f"<U+{ord(character):04X}>"

    def continuation(self, prompt: str, ids: Iterable[int]) -> Iterator[str]:
        """Each character as it is."""
        return map(self._character, ids)

    def pieces(self, text: str) -> list[str]:
        """The characters of a text."""
        return list(text)

    def count_unseen(self, text: str, ids: Sequence[int]) -> int:
        """The number of characters that are read as U+FFFD but are another character."""
        return ids.count(self.unknown) - text.count(UNKNOWN)

    def spellings(self, source: Spans, tokens: TokenSource, errors: Errors) -> Iterator[Spelling]:
        """Each character as it is in the text; a word ends with the blank after it."""
        for text in blocks(source, errors, whole_lines=False, whole_words=False):
            for character in text:
                yield Spelling(character.encode("utf-8", "surrogateescape"), character in BLANKS)

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data."""
        counted = {} if self.unknown_count is None else {"unknown_count": self.unknown_count}
        return {"unit": self.unit, "characters": self.characters, **counted}


def character_vocabulary_from(document: Mapping[str, Any]) -> CharacterVocabulary:
    """The vocabulary of a document that `CharacterVocabulary.document` made.

    Raises:
        ValueError: when the document is damaged.
    """
    characters, count = document.get("characters"), document.get("unknown_count")
    if not isinstance(characters, str):
        raise ValueError("holds no characters")
    if count is not None and not (isinstance(count, int) and count >= 0):
        raise ValueError("unknown_count is no number")
    return CharacterVocabulary(characters, unknown_count=count)


def build_character_vocabulary(
    counts: Counter[str],
    *,
    order: Order = "descending",
    order_seed: int = 1,
    ties: Ties | None = None,
    min_count: int = 1,
    max_characters: int | None = None,
) -> CharacterVocabulary:
    """The vocabulary for some counts of characters. `unknown_count` is not set.

    Args:
        counts: the counts of the characters of the training text in the order of first occurrence.
        order: the order of ids, see `build_vocabulary`, as `order_seed` and `ties`.
        order_seed: the seed of the random order.
        ties: the order of characters of equal count.
        min_count: characters that are rarer are read as U+FFFD.
        max_characters: the largest size of the vocabulary, which keeps the most frequent characters, the newline and
            U+FFFD.
    """
    # the same rules as for words, whose two marks are not single characters
    marks = {LINE_END: EOS, UNKNOWN: UNK}
    made = build_vocabulary(
        Counter({marks.get(character, character): count for character, count in counts.items()}),
        order=order,
        order_seed=order_seed,
        ties=ties,
        min_count=min_count,
        max_words=max_characters,
    )
    characters = {mark: character for character, mark in marks.items()}
    return CharacterVocabulary("".join(characters.get(word, word) for word in made.words))
