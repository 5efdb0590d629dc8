"""Which model width an axis of a parameter runs along.

A layer declares its axes, the model supplies the names of the widths; tying two things is giving their axes one
name. Counts, penalties, reports and compaction all read this one table.
"""

from typing import NamedTuple


class Axis(NamedTuple):
    """One axis of a parameter.

    Attributes:
        width: the name of the model width that the axis runs along, such as `layer0.hidden`.
        copies: how many blocks of that width are stacked along the axis (4 for the gates of an LSTM).
    """

    width: str
    copies: int = 1


AxisTable = dict[str, tuple[Axis, ...]]
"""Parameter name -> one Axis for each of its dimensions."""
