"""Precision, recall and F1 of the spans that tags such as B-PER and I-PER mark, as `conlleval` and `seqeval` count.

Tjong Kim Sang & Buchholz (2000), Introduction to the CoNLL-2000 Shared Task: Chunking, section 5. A span is right if
its type and both ends are. Tags may be IOB1, IOB2 or BIOES: I or E after O, or after another type, begins a span.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

SPAN_TAG = re.compile(r"O|[BIES]-.+", re.DOTALL)
OUTSIDE = "O"


class Span(NamedTuple):
    """A span of a sentence: its type, its first word and its last word, counted from 0."""

    type: str
    first: int
    last: int


def are_span_tags(tags: Iterable[str]) -> bool:
    """Whether tags mark spans: each is O or begins with B-, I-, E- or S-, and not all are O.

    An underscore counts as O: an attribute of CoNLL-U is written only where there is a span.
    """
    found = {*tags} - {OUTSIDE, "_"}
    return bool(found) and all(SPAN_TAG.fullmatch(tag) for tag in found)


def spans_of(tags: Sequence[str]) -> set[Span]:
    """The spans of a sentence.

    Args:
        tags: one tag for each word, see `are_span_tags`; any other tag is outside of all spans.
    """
    found = set()
    first = 0
    before, type_before = OUTSIDE, ""
    for index, tag in enumerate([*tags, OUTSIDE]):
        inside = tag != OUTSIDE and SPAN_TAG.fullmatch(tag)
        prefix, type_here = (tag[0], tag[2:]) if inside else (OUTSIDE, "")
        changes = type_here != type_before
        if before != OUTSIDE and (before in "ES" or prefix in "BSO" or changes):
            found.add(Span(type_before, first, index - 1))
        if prefix != OUTSIDE and (prefix in "BS" or before in ("E", "S", OUTSIDE) or changes):
            first = index
        before, type_before = prefix, type_here
    return found


class SpanCounts(NamedTuple):
    """The spans of one type, or of all.

    Attributes:
        true: the number of true spans.
        predicted: the number of predicted spans.
        right: the number of spans that are both.
    """

    true: int
    predicted: int
    right: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where there are no spans."""
        return 2 * self.right / (self.true + self.predicted) if self.true + self.predicted else 0.0

    def document(self) -> dict[str, Any]:
        """The counts, precision, recall and F1 as plain data; a figure of nothing is 0."""
        return {
            "spans": self.true,
            "predicted": self.predicted,
            "right": self.right,
            "precision": self.right / self.predicted if self.predicted else 0.0,
            "recall": self.right / self.true if self.true else 0.0,
            "f1": self.f1,
        }


class SpanFigure(NamedTuple):
    """The spans of some sentences: those of all types together, and those of each type, by name."""

    all: SpanCounts
    types: dict[str, SpanCounts]

    def document(self) -> dict[str, Any]:
        """The figures as plain data."""
        return self.all.document() | {"types": {name: counts.document() for name, counts in self.types.items()}}


def span_figure(sentences: Iterable[tuple[Sequence[str], Sequence[str]]]) -> SpanFigure:
    """Compare predicted spans with the true ones.

    Args:
        sentences: for each sentence its true tags and its predicted tags.
    """
    true: Counter[str] = Counter()
    predicted: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for wanted, found in sentences:
        spans, guesses = spans_of(wanted), spans_of(found)
        true.update(span.type for span in spans)
        predicted.update(span.type for span in guesses)
        right.update(span.type for span in spans & guesses)
    types = {name: SpanCounts(true[name], predicted[name], right[name]) for name in sorted({*true, *predicted})}
    return SpanFigure(SpanCounts(true.total(), predicted.total(), right.total()), types)
