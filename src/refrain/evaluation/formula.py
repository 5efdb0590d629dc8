"""Predictions about the surprisal of regions, such as `(2;%match%) < (2;%mismatch%)`, read by a parser of our own.

Gauthier et al. (2020), SyntaxGym: An Online Platform for Targeted Evaluation of Language Models. `(2;%match%)` is the
surprisal of region 2 in the condition `match`, `(*;%match%)` that of all regions. Numbers are added and subtracted
(+ -) and compared (< > =), and the results are combined (& |); brackets are ( ) or [ ].
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, NoReturn

Value = float | bool
Surprisals = Mapping[tuple[str, str], float]
"""Number of a region, or `*` for all, and name of a condition -> bits."""

TOKEN = re.compile(
    r"\s*(?:\(\s*(?P<region>\d+|\*)\s*;\s*%(?P<condition>[^%]+)%\s*\)|(?P<number>\d+(?:\.\d+)?)|(?P<sign>\S))"
)
CLOSING = {"(": ")", "[": "]"}
LONGEST, DEEPEST = 10_000, 50


class Formula(NamedTuple):
    """A prediction.

    Attributes:
        text: as it is written.
        regions: the regions and conditions that it names.
        holds: whether it is true of surprisals.
    """

    text: str
    regions: list[tuple[str, str]]
    holds: Callable[[Surprisals], Value]


def read_formula(text: str) -> Formula:
    """Read a prediction.

    Args:
        text: the formula.

    Raises:
        ValueError: when it is no formula, or its result is a number.
    """
    if len(text) > LONGEST:
        raise ValueError(f"the formula is longer than {LONGEST:,} characters")
    tokens = [match for match in TOKEN.finditer(text.rstrip())]
    parser = _Parser(text, tokens)
    holds, is_truth = parser.either()
    if parser.peek() is not None:
        parser.fail()
    if not is_truth:
        raise ValueError(f"the formula {text!r} is a number; compare it with another one")
    return Formula(text, parser.regions, holds)


Part = tuple[Callable[[Surprisals], Value], bool]
"""What computes a value, and whether the value is true or false rather than a number."""


class _Parser:
    """Reads tokens from left to right; each method reads what binds more tightly than the one before it."""

    def __init__(self, text: str, tokens: Sequence[re.Match[str]]) -> None:
        self._text, self._tokens = text, tokens
        self._at = self._depth = 0
        self.regions: list[tuple[str, str]] = []

    def peek(self) -> str | None:
        """The next sign; empty for a region or a number, None at the end."""
        return (self._tokens[self._at]["sign"] or "") if self._at < len(self._tokens) else None

    def fail(self) -> NoReturn:
        """Report the place that cannot be read."""
        place = self._tokens[self._at].start() if self._at < len(self._tokens) else len(self._text)
        raise ValueError(f"the formula {self._text!r} cannot be read at character {place + 1}")

    def either(self) -> Part:
        """Truths, joined by |."""
        return self._joined(self._both, {"|": lambda one, other: one or other}, truths=True)

    def _both(self) -> Part:
        return self._joined(self._comparison, {"&": lambda one, other: one and other}, truths=True)

    def _comparison(self) -> Part:
        first = self._sum()
        sign = self.peek()
        compare = {"<": lambda a, b: a < b, ">": lambda a, b: a > b, "=": lambda a, b: a == b}.get(sign or "")
        if compare is None:
            return first
        self._at += 1
        second = self._sum()
        if first[1] or second[1]:
            self.fail()
        return (lambda given: compare(first[0](given), second[0](given))), True

    def _sum(self) -> Part:
        return self._joined(self._atom, {"+": lambda a, b: a + b, "-": lambda a, b: a - b}, truths=False)

    def _joined(
        self, inner: Callable[[], Part], signs: Mapping[str, Callable[[Value, Value], Value]], *, truths: bool
    ) -> Part:
        found = inner()
        others: list[tuple[Callable[[Value, Value], Value], Part]] = []
        while (sign := self.peek()) in signs:
            self._at += 1
            other = inner()
            if found[1] is not truths or other[1] is not truths:
                self.fail()
            others.append((signs[sign or ""], other))
        return _join(found, others) if others else found

    def _atom(self) -> Part:
        sign = self.peek()
        if sign is None:
            self.fail()
        token = self._tokens[self._at]
        if sign in CLOSING:
            self._depth += 1
            if self._depth > DEEPEST:
                raise ValueError(f"the formula has more than {DEEPEST} brackets inside each other")
            self._at += 1
            found = self.either()
            if self.peek() != CLOSING[sign]:
                self.fail()
            self._depth -= 1
        elif token["region"]:
            key = token["region"], token["condition"]
            self.regions.append(key)
            found = (lambda given: given[key]), False
        elif token["number"]:
            number = float(token["number"])
            found = (lambda given: number), False
        else:
            self.fail()
        self._at += 1
        return found


def _join(first: Part, others: Sequence[tuple[Callable[[Value, Value], Value], Part]]) -> Part:
    def joined(given: Surprisals) -> Value:
        # in a loop, as a formula may have thousands of terms
        value = first[0](given)
        for operation, other in others:
            value = operation(value, other[0](given))
        return value

    return joined, first[1]
