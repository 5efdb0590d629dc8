"""Joining the tokens of English text again: the reverse of a tokeniser such as that of the Penn Treebank.

The blanks of the original are not stored in the tokens, so that the result is a guess where an apostrophe or a straight
quote could belong to the word before it or after it.
"""

import re
from collections.abc import Iterable, Iterator

# the brackets and quotes of the Penn Treebank, and the hyphens and marks in numbers of WikiText
SPELLINGS = {
    "-lrb-": "(", "-rrb-": ")", "-lsb-": "[", "-rsb-": "]", "-lcb-": "{", "-rcb-": "}", "``": '"', "''": '"',
    "@-@": "-", "@,@": ",", "@.@": ".",
}  # fmt: skip
OPENING = frozenset("([{$£€#¿¡“«„") | {"-lrb-", "-lsb-", "-lcb-", "``"}
# marks, and what contractions end in
CLOSING = re.compile(r"[.,;:!?…]+|[)\]}%”»]|-r[rsc]b-|''|n['’]t|['’](s|m|d|re|ve|ll|)", re.IGNORECASE)
STICKING = frozenset({"@-@", "@,@", "@.@", "/"})


class Detokeniser:
    """Joins tokens as they come. Each call takes a token, and returns it with the blank before it, if it has one."""

    def __init__(self) -> None:
        self._begin_line()

    def _begin_line(self) -> None:
        self._before = ""
        self._in_quotes = False

    def __call__(self, token: str) -> str:
        """The text that a token adds to a line; a newline begins another line.

        Args:
            token: a token without blanks, or a newline.
        """
        if token == "\n":
            self._begin_line()
            return token
        opens = token.lower() in OPENING
        closes = CLOSING.fullmatch(token) is not None
        if token == '"':
            opens = not self._in_quotes
            closes = not opens
            self._in_quotes = opens
        before = self._before.lower()
        blank = bool(before) and not (closes or before in OPENING or before in STICKING or token in STICKING)
        # an opening quote is like a bracket for the token after it
        self._before = "``" if token == '"' and opens else token
        return " " * blank + SPELLINGS.get(token.lower(), token)


def detokenise(text: str) -> str:
    """Join the tokens of a text: no blank before a full stop, after an opening bracket, or in `is n't`.

    Args:
        text: lines of tokens with blanks between them.
    """
    return "".join(joined(text.split("\n"), Detokeniser()))


def joined(lines: Iterable[str], join: Detokeniser) -> Iterator[str]:
    """The text of each token of some lines, and a newline between lines."""
    for number, line in enumerate(lines):
        if number:
            yield join("\n")
        for token in line.split(" "):
            if token:
                yield join(token)
