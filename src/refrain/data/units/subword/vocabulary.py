"""Pieces of words and their ids, as a tokenizer divides each line."""

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refrain.arguments import text_of

from ...text.files import Errors, Spans, blocks
from ...text.token_file import Tokens, TokenSource
from ...text.words import BLANKS
from ..protocol import Encoder, Spelling, checked_id
from .tokenizers import TOKENIZERS, Tokenizer

EOS = "<eos>"
BEFORE = ("a", ".", "0")
"""What a text is put after, to find its pieces within a line."""


class SubwordVocabulary:
    """The pieces of a tokenizer. A line is its pieces and the piece that ends a text, or `<eos>` where that is missing.

    Args:
        tokenizer: the tokenizer, whose model file is a part of the vocabulary.
    """

    unit = "subword"
    piece = "subword"
    bytes_per_token = None
    unknown_count = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.unknown = tokenizer.unknown
        self.line_end = len(tokenizer) if tokenizer.line_end is None else tokenizer.line_end

    def __len__(self) -> int:
        return max(len(self.tokenizer), self.line_end + 1)

    def __iter__(self) -> Iterator[str]:
        return (self._name(index) for index in range(len(self)))

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and (self.unknown is None or self.unknown not in self.encode(text))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self):,} pieces of {self.tokenizer.kind})"

    @property
    def sha256(self) -> str:
        """The sha256 of the model file."""
        return hashlib.sha256(self.tokenizer.model).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The ids of the pieces of each line, and of the end of a line at every newline.

        Raises:
            UserError: when `text` is not a string, for example a list of words.
        """
        return self._joined(self.tokenizer.encode(text_of(text, "text").split("\n")))

    def encoder(self) -> Encoder:
        """A function of a text that returns the same ids as `encode`, and the same number as `count_unseen`.

        It uses one thread, so that several processes may use one each.
        """

        def encode(text: str) -> tuple[Tokens, int]:
            ids = self._joined(self.tokenizer.encode(text.split("\n"), one_thread=True))
            return np.array(ids, np.uint32), self.count_unseen(text, ids)

        return encode

    def _joined(self, lines: list[list[int]]) -> list[int]:
        first, *others = lines
        ids = list(first)
        for line in others:
            ids.append(self.line_end)
            ids += line
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The pieces of each line joined into text, with a newline for the end of a line."""
        lines: list[list[int]] = [[]]
        for index in ids:
            if index == self.line_end:
                lines.append([])
            else:
                lines[-1].append(checked_id(index, len(self)))
        return "\n".join(map(self.tokenizer.decode, lines))

    def _name(self, index: int) -> str:
        return EOS if index >= len(self.tokenizer) else self.tokenizer.name(index)

    def token(self, index: int) -> str:
        """The piece as the model spells it, with <U+NNNN> for what cannot be printed.

        Raises:
            IndexError: when the id is not in the vocabulary.
        """
        name = self._name(checked_id(index, len(self)))
        return "".join(sign if sign.isprintable() and sign != " " else f"<U+{ord(sign):04X}>" for sign in name)

    def continuation(self, prompt: str, ids: Iterable[int]) -> Iterator[str]:
        """What each piece adds to the text of its line; empty after a piece that ends inside a character."""
        begun = prompt[prompt.rfind("\n") + 1 :]
        line = _Line(self.tokenizer, self.encode(begun))
        # most tokenizers drop the blanks at the end of a line, and the next piece brings one
        drop = begun[-1:] == " " and not line.text().endswith(" ")
        for index in ids:
            if index == self.line_end:
                yield f"{line.rest()}\n"
                line = _Line(self.tokenizer, [])
                drop = False
            else:
                added = line.add(index)
                yield added.removeprefix(" ") if drop else added
                drop = drop and not added

    def pieces(self, text: str) -> list[str]:
        """The part of the text that each piece stands for; it is empty where several pieces spell one character."""
        first, *others = (surfaces for _, surfaces in map(self._divided, text.split("\n")))
        found = list(first)
        for surfaces in others:
            found += ["\n", *surfaces]
        return found

    def divided_within(self, text: str) -> tuple[list[int], list[str]]:
        """The ids of a text that continues a line, and the part of the text that each stands for.

        They are those after a word or sign before it, if these have the same ids as alone. Otherwise, they are those of
        the text alone, before which most tokenizers add a blank.
        """
        for before in BEFORE:
            known = self.encode(before)
            ids = self.encode(before + text)
            # characters without a piece are joined with those before them
            if self.unknown not in known and ids[: len(known)] == known:
                return ids[len(known) :], self.pieces(before + text)[len(known) :]
        return self.encode(text), self.pieces(text)

    def _divided(self, line: str) -> tuple[list[int], list[str]]:
        """The ids of a line and the part of it that each stands for; together they are the line."""
        ids, ends = self.tokenizer.divide(line)
        surfaces = []
        start = 0
        for end in ends:
            surfaces.append(line[start:end])
            start = max(start, end)
        if surfaces:
            surfaces[-1] += line[start:]
        return ids, surfaces

    def count_unseen(self, text: str, ids: Sequence[int]) -> int:
        """The number of pieces that stand for characters without a piece."""
        return 0 if self.unknown is None else ids.count(self.unknown)

    def spellings(self, source: Spans, tokens: TokenSource, errors: Errors) -> Iterator[Spelling]:
        """The part of the text that each piece stands for; a word ends before a blank and at the end of a line.

        The end of a line is spelled `<eos>` and is a word of its own, as in a text of words.
        """
        for text in blocks(source, errors):
            for line in text.removesuffix("\n").split("\n"):
                _, surfaces = self._divided(line)
                for surface, ends in zip(surfaces, _word_ends(surfaces), strict=True):
                    yield Spelling(surface.encode("utf-8", "surrogateescape"), ends)
                yield Spelling(EOS.encode(), ends_word=True)

    def document(self) -> dict[str, Any]:
        """The vocabulary as plain data: the model file in base64."""
        model = base64.b64encode(self.tokenizer.model).decode("ascii")
        return {"unit": self.unit, "kind": self.tokenizer.kind, "model": model}


def subword_vocabulary_from(document: Mapping[str, Any]) -> SubwordVocabulary:
    """The vocabulary of a document that `SubwordVocabulary.document` made.

    Raises:
        ValueError: when the document is damaged.
        UserError: when the package that reads the model is missing.
    """
    kind, model = document.get("kind"), document.get("model")
    if not isinstance(kind, str) or kind not in TOKENIZERS:
        raise ValueError(f"is of no known kind; known: {', '.join(TOKENIZERS)}")
    if not isinstance(model, str):
        raise ValueError("holds no model")
    return SubwordVocabulary(TOKENIZERS[kind](base64.b64decode(model, validate=True)))


def _word_ends(surfaces: Sequence[str]) -> Iterator[bool]:
    """Whether a word ends with each part of a line. A word is what is between blanks, with the blanks around it."""
    begun = False
    for surface, following in zip(surfaces, [*surfaces, " "][1:], strict=True):
        begun = begun or bool(surface.strip(BLANKS))
        blank_follows = following != "" and following[0] in BLANKS
        blank_ends = bool(surface.strip(BLANKS)) and surface[-1] in BLANKS
        ends = begun and (blank_follows or blank_ends)
        yield ends
        begun = begun and not ends


class _Line:
    """The text of a line of which pieces arrive one by one.

    What a piece adds is the difference of two texts that begin at the same piece, a few pieces back: the text of a
    piece depends on the one before it.
    """

    def __init__(self, tokenizer: Tokenizer, ids: Sequence[int]) -> None:
        self._decode = tokenizer.decode
        self._ids = list(ids)
        self._start = 0
        self._written = len(self._ids)

    def text(self) -> str:
        """The text of all pieces so far."""
        return self._decode(self._ids)

    def add(self, index: int) -> str:
        """What a piece adds to the text, once its last character is complete."""
        self._ids.append(index)
        added = self.rest()
        if not added or added.endswith("\ufffd"):
            return ""
        self._start, self._written = self._written, len(self._ids)
        return added

    def rest(self) -> str:
        """What has not been written yet."""
        before = self._decode(self._ids[self._start : self._written])
        return self._decode(self._ids[self._start :])[len(before) :]
