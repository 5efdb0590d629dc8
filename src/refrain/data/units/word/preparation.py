"""Making a text fit the words of a model: Unicode normal form, tokens and lower case."""

import re
import unicodedata
from typing import Any, Literal, NamedTuple

from ...tagged.tokenise import tokens_of
from ...text.words import BLANKS

Normalise = Literal["none", "nfc"]

# words of the vocabulary that no text spells by chance, such as <unk>
_MARK = re.compile(rf"(?<![^{BLANKS}])</?\w+>(?![^{BLANKS}])")


class Preparation(NamedTuple):
    """What is done to a text before its words are read. Lines stay lines.

    Attributes:
        lowercase: whether letters are converted to lower case.
        tokenise: whether words are separated from punctuation and contractions, as by `tokens_of`; marks such as
            `<unk>` stay whole.
        normalise: `nfc` composes characters, so that two ways to write a letter with an accent are one word.
    """

    lowercase: bool = False
    tokenise: bool = False
    normalise: Normalise = "none"

    def __call__(self, text: str) -> str:
        """The prepared text."""
        if self.normalise == "nfc":
            text = unicodedata.normalize("NFC", text)
        if self.tokenise:
            text = "\n".join(" ".join(_forms(line)) for line in text.split("\n"))
        return text.lower() if self.lowercase else text

    @property
    def whole_lines(self) -> bool:
        """Whether the text must be given in whole lines, because the tokens of a word may depend on the next one."""
        return self.tokenise

    def document(self) -> dict[str, Any]:
        """The settings that are not the default, as plain data."""
        return {name: value for name, value in self._asdict().items() if value != self._field_defaults[name]}


PLAIN = Preparation()


def preparation_from(document: Any) -> Preparation:
    """The preparation of a document that `Preparation.document` made; other keys are ignored.

    Raises:
        ValueError: when a value is of another type.
    """
    found = Preparation(**{name: document[name] for name in Preparation._fields if name in document})
    if not isinstance(found.lowercase, bool) or not isinstance(found.tokenise, bool):
        raise ValueError("lowercase and tokenise are true or false")
    if found.normalise not in ("none", "nfc"):
        raise ValueError("normalise is 'none' or 'nfc'")
    return found


def _forms(line: str) -> list[str]:
    forms: list[str] = []
    start = 0
    for mark in _MARK.finditer(line):
        # the tokens of a word may depend on the next one, so that what is between two marks stays together
        forms += [token.form for token in tokens_of(line[start : mark.start()])]
        forms.append(mark[0])
        start = mark.end()
    return forms + [token.form for token in tokens_of(line[start:])]
