"""Which model width an axis of a parameter runs along.

A layer declares its axes, the model supplies the names of the widths; tying two things is giving their axes one
name. Counts, penalties, reports, compaction and initialisation all read this one table.
"""

from collections.abc import Mapping
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
        role: what the parameter does with the units of that width. It `writes` them as a row of a matrix does, or
            `reads` them as a column does; a tied embedding does `both`; a bias `shifts` them and the gain of a weight
            norm `scales` them.
        segment: the units of the width that the axis covers; None for all of them.
        removable: whether the parameter can lose single units of the width and the model still computes the same once
            their entries are zero. A softmax over words cannot: a word of zeros keeps a share of the probability.
    """

    width: str
    copies: int = 1
    role: Literal["writes", "reads", "both", "shifts", "scales"] = "writes"
    segment: Segment | None = None
    removable: bool = True

    @property
    def reads(self) -> bool:
        """Whether the parameter reads the units."""
        return self.role in ("reads", "both")

    @property
    def writes(self) -> bool:
        """Whether the value of the units depends on the parameter."""
        return self.role != "reads"


AxisTable = dict[str, tuple[Axis, ...]]
"""Parameter name -> one Axis for each of its dimensions."""


class LayerWidths(NamedTuple):
    """The names that a model gives to the widths of one recurrent layer.

    Attributes:
        hidden: the name of the layer's output width.
        inner: a name for each of the layer's `inner_widths`.
    """

    hidden: str
    inner: Mapping[str, str]


def removable(table: AxisTable) -> list[str]:
    """The widths whose units can be removed, in the order of the table: those that every axis along them allows."""
    kept = {axis.width for axes in table.values() for axis in axes if not axis.removable}
    names = dict.fromkeys(axis.width for axes in table.values() for axis in axes)
    return [name for name in names if name not in kept]
