"""CoNLL-U, the format of Universal Dependencies: ten columns separated by tabs, comments, and a blank line at the end.

See universaldependencies.org/format.html. Words are the lines whose id is a whole number. A multiword token such as
`3-4`, which precedes its words, and an empty node such as `5.1` are not words and have no tag. A file of CoNLL-U Plus
has other columns, which are named in its heading `# global.columns = ID FORM ...`.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from refrain.errors import shown

from ..text.words import is_blank
from .sentences import MISSING, BadSentence, Lines, Sentence

COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
# an underscore in one of these columns means that the annotation is missing
NEEDED = ("upos", "xpos", "deprel")
# columns with attributes such as Case=Nom|Number=Sing
ATTRIBUTES = ("feats", "misc")
RANGE = re.compile(r"[1-9]\d*-[1-9]\d*")
EMPTY_NODE = re.compile(r"\d+\.[1-9]\d*")
HEADING = re.compile(r"#\s*global\.columns\s*=\s*(.*)")


class Row(NamedTuple):
    """A word of CoNLL-U.

    Attributes:
        number: the number of the line.
        fields: the columns.
    """

    number: int
    fields: list[str]


class TagColumn(NamedTuple):
    """Where a tag is: in a column, or in one attribute of a column.

    Attributes:
        place: the column, counted from 0.
        attribute: the name of the attribute; empty for the whole column.
        sorted: whether attributes are sorted by name, as in `feats`.
    """

    place: int
    attribute: str = ""
    sorted: bool = False

    def read(self, field: str) -> str:
        """The tag in a field; `_` where it does not have the attribute."""
        if not self.attribute:
            return field
        found = (part.partition("=") for part in field.split("|"))
        return next((value for name, _, value in found if name == self.attribute and value), "_")

    def write(self, field: str, tag: str) -> str:
        """A field with another tag; other attributes are kept. The tag `_` removes the attribute."""
        if not self.attribute:
            return tag
        if self.read(field) == tag:
            return field
        parts = [part for part in field.split("|") if part not in ("", "_")]
        names = [part.partition("=")[0] for part in parts]
        place = names.index(self.attribute) if self.attribute in names else len(parts)
        parts = [part for part, name in zip(parts, names, strict=True) if name != self.attribute]
        if tag != "_":
            parts.insert(place, f"{self.attribute}={tag}")
            if self.sorted and self.attribute not in names:
                parts.sort(key=str.lower)
        return "|".join(parts) or "_"


def heading_in(line: str) -> tuple[str, ...] | None:
    """The columns that a heading of CoNLL-U Plus names, in lower case; None for any other line."""
    match = HEADING.match(line)
    return None if match is None else tuple(match[1].lower().split())


def tag_column(column: str, columns: Sequence[str] = COLUMNS) -> TagColumn:
    """Find the column of the tags.

    Args:
        column: the name of a column, or of an attribute, such as `misc:name` or `feats:Case`.
        columns: the names of the columns.

    Raises:
        ValueError: when it is missing or holds no tags; the message lists the columns.
    """
    name = column.lower()
    known = [each for each in columns if each not in ("id", "form")]
    if name in known:
        return TagColumn(columns.index(name))
    base, colon, attribute = column.partition(":")
    if colon and base.lower() in known and base.lower() in ATTRIBUTES and re.fullmatch(r"[^\s|=]+", attribute):
        return TagColumn(columns.index(base.lower()), attribute, base.lower() == "feats")
    more = [f"{each}:NAME" for each in ATTRIBUTES if each in known]
    raise ValueError(f"{shown(column)} holds no tags; choose one of {', '.join([*known, *more])}")


def words_in(block: Lines, columns: Sequence[str] = COLUMNS) -> list[Row]:
    """The words of a sentence.

    Args:
        block: the lines of the sentence.
        columns: the names of the columns; where `id` is missing, each line is a word.

    Raises:
        BadSentence: when a line has another number of columns, a word is empty, or the ids are not 1, 2, 3 and so on.
    """
    rows: list[Row] = []
    form = columns.index("form")
    index = columns.index("id") if "id" in columns else None
    for number, line in block.numbered():
        if line.startswith("#") and (index is not None or "\t" not in line):
            continue
        fields = line.split("\t")
        if len(fields) != len(columns):
            raise BadSentence(number, f"expected {len(columns)} columns with tabs between them, found {len(fields)}")
        if index is not None:
            if EMPTY_NODE.fullmatch(fields[index]):
                continue
            if RANGE.fullmatch(fields[index]):
                # as texts, since Python reads no numbers of thousands of digits
                first, last = fields[index].split("-")
                if first != str(len(rows) + 1) or (len(last), last) <= (len(first), first):
                    raise BadSentence(number, f"the range {shown(fields[index])} is not from word {len(rows) + 1} on")
                continue
            if fields[index] != str(len(rows) + 1):
                after = f"after word {len(rows)}" if rows else "at the first word"
                found = f"found {shown(fields[index])}; is a blank line missing?"
                raise BadSentence(number, f"expected the id {len(rows) + 1} {after}, {found}")
        if is_blank(fields[form]):
            raise BadSentence(number, "the word is empty")
        rows.append(Row(number, fields))
    return rows


def is_comment(block: Lines) -> bool:
    """Whether a block has comments only, such as a licence or the heading of CoNLL-U Plus."""
    return all(line.startswith("#") for line in block.lines)


def conllu_parser(
    column: str, columns: Sequence[str] = COLUMNS, *, missing: bool | None = None
) -> Callable[[Lines], Sentence | None]:
    """A function that parses the lines of a sentence in CoNLL-U or CoNLL-U Plus.

    Args:
        column: the column of the tags, see `tag_column`.
        columns: the names of the columns.
        missing: whether the tag `_` means that a word has no annotation; None means that it does in the columns
            `NEEDED`, and is a tag like any other elsewhere.
    """
    target = tag_column(column, columns)
    form = columns.index("form")
    missing = column.lower() in NEEDED if missing is None else missing

    def parse(block: Lines) -> Sentence | None:
        rows = words_in(block, columns)
        if not rows and is_comment(block):
            return None
        words, tags = [], []
        for number, fields in rows:
            tag = target.read(fields[target.place])
            if is_blank(tag):
                raise BadSentence(number, f"the word {shown(fields[form])} has no {column}")
            words.append(fields[form])
            tags.append(MISSING if missing and tag == "_" else tag)
        return Sentence(words, tags, block.first)

    return parse


def conllu_lines(
    words: Sequence[str],
    tags: Sequence[str],
    column: str,
    space_after: Iterable[bool] = (),
    comments: Sequence[str] = (),
    probabilities: Sequence[float] = (),
) -> list[str]:
    """A tagged sentence as lines of CoNLL-U, including the blank line at its end.

    Args:
        words: words without tabs and newlines.
        tags: one tag for each word.
        column: the column for the tags, see `tag_column`.
        space_after: whether a blank follows each word; empty means after every word.
        comments: lines that begin with `#`.
        probabilities: of the tags, written to the attribute `Prob` of MISC; empty writes none.
    """
    target = tag_column(column)
    spaces = list(space_after) or [True] * len(words)
    lines = list(comments)
    for index, (word, tag, space) in enumerate(zip(words, tags, spaces, strict=True)):
        fields = [str(index + 1), word, *["_"] * 7, "_" if space else "SpaceAfter=No"]
        fields[target.place] = target.write(fields[target.place], tag)
        if probabilities:
            fields[-1] = _with_probability(fields[-1], probabilities[index])
        lines.append("\t".join(fields))
    return [*lines, ""]


def with_tags(
    block: Lines,
    tags: Sequence[str],
    column: str,
    columns: Sequence[str] = COLUMNS,
    probabilities: Sequence[float] = (),
) -> list[str]:
    """The lines of a sentence with new tags in one column and no other change.

    Args:
        block: the lines of the sentence in CoNLL-U or CoNLL-U Plus.
        tags: one tag for each word.
        column: the column for the tags, see `tag_column`.
        columns: the names of the columns.
        probabilities: of the tags, written to the attribute `Prob` of MISC; empty writes none.

    Raises:
        ValueError: when probabilities are given, and the columns have no MISC.
    """
    target = tag_column(column, columns)
    misc = columns.index("misc") if probabilities else 0
    lines = list(block.lines)
    for index, (row, tag) in enumerate(zip(words_in(block, columns), tags, strict=True)):
        fields = list(row.fields)
        fields[target.place] = target.write(fields[target.place], tag)
        if probabilities:
            fields[misc] = _with_probability(fields[misc], probabilities[index])
        lines[row.number - block.first] = "\t".join(fields)
    return [*lines, ""]


def _with_probability(field: str, probability: float) -> str:
    return TagColumn(0, "Prob").write(field, f"{probability:.4f}")
