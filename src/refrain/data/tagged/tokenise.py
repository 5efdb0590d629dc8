"""Splitting plain text into sentences of tokens by regular expressions, as input for a tagger.

Combining marks, such as the vowel signs of Hindi, the points of Hebrew and the accents of decomposed text, stay in
their words, and so do the joiners of Persian and Hindi. Emoji that are written as several characters are one token.
"""

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

# soft hyphen, zero width non-joiner and joiner, word joiner
JOINERS = "\u00ad\u200c\u200d\u2060"
# no mark of Unicode is between these planes and the variation selectors of the supplement
LAST_MARKS = ((0, 0x20000), (0xE0100, 0xE01F0))
# domains without www; a country whose letters are a word of English is missing, as in: left.it was
DOMAINS = (
    "com|org|net|edu|gov|mil|info|biz|io|ai|dev|app|eu|uk|de|fr|es|nl|ch|pl|ru|jp|cn|br|au|ca|se|fi|dk|cz|gr|tr|ua|il"
)
ABBREVIATIONS = (
    "Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|Inc|Co|Corp|Ltd|vs|etc|No|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|"
    "Hr|Nr|bzw|Mme|Mlle|Sra|Dña|κα|κος|Δρ|αρ|βλ|σελ"
)
ENGLISH = "s|m|d|re|ve|ll"
# what loses its vowel before a vowel, in French, Italian and Catalan; its apostrophe stays with it
ELIDED = "[ldjmnstc]|qu|lorsqu|puisqu|quoiqu|jusqu|all|dall|dell|nell|sull|coll|un|quell|quest|sant|dov|cos"

# the tokens of a line between two calls of `between`
TURN_TOKENS = 256

ENDS = re.compile(r"[.!?…]+")
# these end a sentence without a blank after them, as in Chinese and Japanese
STRONG = frozenset("。．！？｡؟۔।॥։።፧။។᙮⁇⁈⁉‽‼\u037e")
CLOSING = set("\"'”’)]}»›」』】〉》）＂＇")


class Token(NamedTuple):
    """A token and whether a blank follows it."""

    form: str
    space_after: bool


@lru_cache(maxsize=1)
def token_pattern() -> re.Pattern[str]:
    """The pattern of a token. Its parts are tried in order."""
    marks = _marks()
    inner = rf"[\w{marks}{JOINERS}]"
    last = rf"(?!{inner})"
    word = rf"\w{inner}*"
    symbol = rf"[^\w\s\x00-\x7f{marks}]"
    emoji = rf"{symbol}[{marks}]*[\U0001f3fb-\U0001f3ff]?[\U000e0020-\U000e007f]*"
    english = rf"['’](?i:{ENGLISH}){last}"
    parts = [
        r"(?:https?://|www\.)[^\s<>\"]*[^\s<>\".,;:!?)\]'}]",
        # the name of a mailbox has at most 64 characters, and a domain 253; this bounds the time for what is neither
        r"[\w.+-]{1,64}+@\w[\w-]*(?:\.\w[\w-]*)+",
        # example.com and example.co.uk/page
        r"(?=[A-Za-z0-9.-]{1,253}+(?![A-Za-z0-9.-]))"
        rf"(?:[A-Za-z0-9][A-Za-z0-9-]*\.)+(?:{DOMAINS}){last}(?!-)(?:/[^\s<>\"]*[^\s<>\".,;:!?)\]'}}])?",
        r"[\U0001f1e6-\U0001f1ff]{2}",
        r"[0-9#*]\ufe0f?\u20e3",
        # 3.14, 1,000, 10:30, and thousands with no-break spaces between them
        rf"\d{{1,3}}(?:[\u00a0\u202f]\d{{3}})+(?:[.,]\d+)?{last}",
        rf"\d+(?:[.,:/]\d+)*(?:st|nd|rd|th|s)?{last}",
        # U.S., e.g., π.χ.
        rf"(?:[^\W\d_][{marks}]*\.){{2,}}",
        rf"(?:{ABBREVIATIONS})\.",
        # did n't
        rf"\w{inner}*?(?=n['’]t{last})",
        rf"n['’]t{last}",
        english,
        # an initial or the abbreviation of a title, but neither the word I nor what ends the text
        rf"(?![Ii]\.)[^\W\d_][{marks}]*\.(?=[ \t]+[^\W\d_])",
        rf"(?i:{ELIDED})(?!{english})['’](?=\w)",
        # an apostrophe between letters is a part of the word: O'Brien, aujourd'hui, п’ять
        rf"{word}(?:(?!{english})['’]{word})*",
        rf"{emoji}(?:\u200d{emoji})+",
        rf"{symbol}[{marks}]*[\U0001f3fb-\U0001f3ff][\U000e0020-\U000e007f]*",
        rf"{symbol}[{marks}]+[\U000e0020-\U000e007f]*|{symbol}[\U000e0020-\U000e007f]+",
        # runs of one punctuation mark
        rf"([^\w\s])\1*[{marks}]*",
    ]
    return re.compile("|".join(parts))


def _marks() -> str:
    """All combining marks as the inside of a character class."""
    ranges: list[list[int]] = []
    for first, stop in LAST_MARKS:
        for code in range(first, min(stop, sys.maxunicode)):
            if unicodedata.category(chr(code)).startswith("M"):
                if ranges and ranges[-1][1] == code - 1:
                    ranges[-1][1] = code
                else:
                    ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def tokens_of(line: str, between: Callable[[], None] | None = None) -> list[Token]:
    """The tokens of a line of text.

    Args:
        line: the line.
        between: called before the line and after each `TURN_TOKENS` tokens.
    """
    matches: list[re.Match[str]] = []
    for match in token_pattern().finditer(line):
        if between is not None and len(matches) % TURN_TOKENS == 0:
            between()
        matches.append(match)
    # the end of the line counts as a blank after the last token
    starts = [*(match.start() for match in matches[1:]), len(line) + 1]
    return [Token(match[0], start > match.end()) for match, start in zip(matches, starts, strict=False)]


def sentences_of(lines: Iterable[str], between: Callable[[], None] | None = None) -> Iterator[list[Token]]:
    """The sentences of plain text. A sentence ends at the end of a line, and within a line after `.`, `!` or `?`.

    A punctuation mark ends a sentence if it is followed by a blank, possibly after closing quotes and brackets, and the
    text that follows does not begin with a small letter. A semicolon after a Greek word is a question mark. Marks such
    as `。`, `؟` and `।` end a sentence always.

    Args:
        lines: lines without their ends; blank lines are skipped.
        between: called before each line and within long ones, so that other work has its turn.
    """
    for line in lines:
        yield from _divided(tokens_of(line, between))


def _divided(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Divide the tokens of a line into sentences, in a time that is proportional to their number."""
    continues = _continues(tokens)
    sentence: list[Token] = []
    # whether the last token of the sentence that does not close quotes or brackets ends it
    ends = strongly = False
    for index, token in enumerate(tokens):
        if token.form not in CLOSING:
            ends = _is_end(token.form, sentence[-1].form if sentence else "")
            strongly = set(token.form) <= STRONG
        sentence.append(token)
        if token.space_after:
            over = strongly or (ends and not continues[index + 1])
        else:
            follows = tokens[index + 1].form if index + 1 < len(tokens) else ""
            # a closing quote, or a second mark, belongs to the sentence
            over = strongly and not (follows in CLOSING or _is_end(follows, token.form))
        if over:
            yield sentence
            sentence = []
            ends = strongly = False
    if sentence:
        yield sentence


def _is_end(form: str, before: str) -> bool:
    if form == ";":
        return before != "" and unicodedata.name(before[0], "").startswith("GREEK")
    return ENDS.fullmatch(form) is not None or (form != "" and set(form) <= STRONG)


def _continues(tokens: Sequence[Token]) -> list[bool]:
    """For each token, and the end, whether the first word from there on begins with a small letter."""
    found = [False]
    for token in reversed(tokens):
        found.append(token.form[0].islower() if token.form[0].isalnum() else found[-1])
    return found[::-1]
