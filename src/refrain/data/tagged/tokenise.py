"""Plain text to sentences of tokens, by regular expressions: enough for a tagger's input, and the same every time."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# in this order: addresses, numbers, words with inner marks, contractions as in the Penn Treebank, runs of one mark
TOKEN = re.compile(
    r"""
    (?:https?://|www\.)[^\s<>"]*[^\s<>".,;:!?)\]'}]   # web addresses
    | [\w.+-]+@\w[\w-]*(?:\.\w[\w-]*)+                # mail addresses
    | \d+(?:[.,:/]\d+)*                               # 3.14, 1,000, 10:30
      (?:st|nd|rd|th|s)?\b
    | (?:[^\W\d_]\.){2,}                              # U.S., e.g.
    | (?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Inc|Co|Corp|Ltd|vs|etc|No|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.
    | \w+?(?=n['’]t\b)                                # did n't
    | n['’]t\b
    | ['’](?:s|S|m|d|re|ve|ll|RE|VE|LL|M|D)\b         # 's, 're
    | \w+                                             # words
    | ([^\w\s])\1*                                    # runs of one mark
    """,
    re.VERBOSE,
)
ENDS = re.compile(r"[.!?…]+")
CLOSING = set("\"'”’)]}»")


class Token(NamedTuple):
    """A token, and whether a blank follows it."""

    form: str
    space_after: bool


def tokens_of(line: str) -> list[Token]:
    """The tokens of a line of text."""
    matches = list(TOKEN.finditer(line))
    # after the last one the line ends, as with a blank
    starts = [*(match.start() for match in matches[1:]), len(line) + 1]
    return [Token(match[0], start > match.end()) for match, start in zip(matches, starts, strict=False)]


def sentences_of(lines: Iterable[str]) -> Iterator[list[Token]]:
    """Plain text in sentences. A sentence ends at a line's end, and within a line after `.`, `!` or `?`.

    A mark ends a sentence when a blank follows, or closing quotes and brackets and a blank, and what comes then does
    not begin with a small letter.

    Args:
        lines: without their ends; a blank one is passed over.
    """
    for line in lines:
        sentence: list[Token] = []
        tokens = tokens_of(line)
        for index, token in enumerate(tokens):
            sentence.append(token)
            if token.space_after and _ends(sentence) and not _goes_on(tokens[index + 1 :]):
                yield sentence
                sentence = []
        if sentence:
            yield sentence


def _ends(sentence: list[Token]) -> bool:
    for token in reversed(sentence):
        if ENDS.fullmatch(token.form):
            return True
        if token.form not in CLOSING:
            return False
    return False


def _goes_on(rest: list[Token]) -> bool:
    first = next((token.form for token in rest if token.form[0].isalnum()), "")
    return first[:1].islower()
