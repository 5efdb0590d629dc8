"""Which model width an axis of a parameter runs along.

A layer declares its axes, the model supplies the names of the widths; tying two things is giving their axes one
name. Counts, penalties, reports and compaction all read this one table.
"""

from typing import Literal, NamedTuple


class Segment(NamedTuple):
    """The part of a width that an axis runs along, where it is not the whole: units `begin` up to `end` of `of`."""

    begin: int
    end: int
    of: int


class Axis(NamedTuple):
    """One axis of a parameter.

    Attributes:
        width: the name of the model width that the axis runs along, such as `layer0.hidden`.
        copies: how many blocks of that width are stacked along the axis (4 for the gates of an LSTM).
        role: whether the parameter `writes` the units of that width, as a row of a matrix does, or `reads` them, as a
            column does; a tied embedding does `both`.
        segment: the units of the width that stand along the axis; None for all of them.
    """

    width: str
    copies: int = 1
    role: Literal["writes", "reads", "both"] = "writes"
    segment: Segment | None = None


AxisTable = dict[str, tuple[Axis, ...]]
"""Parameter name -> one Axis for each of its dimensions."""
