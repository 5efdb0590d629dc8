"""The parts of a report, as plain data: all texts in them are plain text, which the page escapes."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from .chart import Chart


class Paragraph(NamedTuple):
    """A paragraph of text; a `warning` is set apart."""

    text: str
    warning: bool = False


class Pairs(NamedTuple):
    """Names with their values, such as facts about a machine."""

    rows: Sequence[tuple[str, str]]


class Table(NamedTuple):
    """A table.

    Attributes:
        head: the names of its columns.
        rows: the cells of its rows.
        texts: the number of columns at the left that hold texts; the others hold numbers, which end at the right.
        identity: a name by which charts refer to it; empty without one. The cells of such a table are exact numbers.
        strong: the index of a row that is set in bold, or None.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    identity: str = ""
    strong: int | None = None


class Text(NamedTuple):
    """A text in which blanks and line ends matter, with its title."""

    title: str
    text: str


class Charts(NamedTuple):
    """Charts, which are side by side where the page is wide."""

    charts: Sequence[Chart]


class Picture(NamedTuple):
    """A picture in the page.

    Attributes:
        title: what it shows, also for people who do not see it.
        note: more about it.
        png: the bytes of a PNG image, of which each pixel is a square on the page.
        shape: its rows and columns.
    """

    title: str
    note: str
    png: bytes
    shape: tuple[int, int]


class Pictures(NamedTuple):
    """Pictures, which are side by side where the page is wide."""

    pictures: Sequence[Picture]


class Units(NamedTuple):
    """The units of a width, as a bar for each: its height is the norm of its group.

    Attributes:
        name: the name of the width.
        norms: the norm of each unit's group.
        dead: whether each unit is dead.
    """

    name: str
    norms: Sequence[float]
    dead: Sequence[bool]


class Confusion(NamedTuple):
    """The tags that were predicted for the words of each tag.

    Attributes:
        tags: the names of the tags.
        counts: the number of words by true tag (row) and predicted tag (column).
        words: the number of words of each true tag, those with a predicted tag that has no column included.
    """

    tags: Sequence[str]
    counts: Sequence[Sequence[int]]
    words: Sequence[int]


class Fold(NamedTuple):
    """Blocks that are shown when the reader asks for them."""

    title: str
    blocks: Sequence["Block"]


Block: TypeAlias = Paragraph | Pairs | Table | Text | Charts | Pictures | Units | Confusion | Fold


class Section(NamedTuple):
    """A part of the page with a heading.

    Attributes:
        title: the heading, by which the page links to it.
        blocks: what it holds.
    """

    title: str
    blocks: Sequence[Block]


class Tile(NamedTuple):
    """A figure at the top of the page: its name, its value, and a note below it."""

    name: str
    value: str
    note: str = ""


class Page(NamedTuple):
    """A report.

    Attributes:
        title: the heading.
        subtitle: a line below it.
        tiles: the figures at the top.
        sections: the parts.
        foot: the last line.
    """

    title: str
    subtitle: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    foot: str
