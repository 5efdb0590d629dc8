"""Splitting plain text into sentences of tokens by regular expressions, as input for a tagger."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# tried in this order: addresses, numbers, words with inner punctuation, contractions as in the Penn Treebank, runs of
# one punctuation mark
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
    """A token and whether a blank follows it."""

    form: str
    space_after: bool


def tokens_of(line: str) -> list[Token]:
    """The tokens of a line of text."""
    matches = list(TOKEN.finditer(line))
    # the end of the line counts as a blank after the last token
    starts = [*(match.start() for match in matches[1:]), len(line) + 1]
    return [Token(match[0], start > match.end()) for match, start in zip(matches, starts, strict=False)]


def sentences_of(lines: Iterable[str]) -> Iterator[list[Token]]:
    """The sentences of plain text. A sentence ends at the end of a line, and within a line after `.`, `!` or `?`.

    A punctuation mark ends a sentence if it is followed by a blank, possibly after closing quotes and brackets, and the
    text that follows does not begin with a small letter.

    Args:
        lines: lines without their ends; blank lines are skipped.
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
