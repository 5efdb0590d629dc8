"""Which model width an axis of a parameter runs along.

A layer declares its axes, and the model supplies the names of the widths. Axes of tied weights have the same name.
Counts, penalties, reports, compaction and initialisation all use this table.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple


class Segment(NamedTuple):
    """A part of a width: the units from `begin` up to, but not including, `end`, out of `of` units."""

    begin: int
    end: int
    of: int


class Axis(NamedTuple):
    """One axis of a parameter.

    Attributes:
        width: the name of the model width that the axis runs along, such as `layer0.hidden`.
        copies: how many blocks of that width are stacked along the axis (4 for the gates of an LSTM).
        role: how the parameter acts on the units of the width: `writes` for the rows of a matrix, `reads` for its
            columns, `both` for a tied embedding, `shifts` for a bias, `scales` for the gain of a weight norm.
        segment: the units of the width that the axis covers; None for all of them.
        removable: whether single units whose entries are zero can be removed without changing the output of the model.
            They cannot be removed from a softmax over words, where a word with zero weights has a probability.
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
    """The names of the widths of a recurrent layer in a model.

    Attributes:
        hidden: the name of the output width of the layer.
        inner: the name of each of the `inner_widths` of the layer.
    """

    hidden: str
    inner: Mapping[str, str]


def removable(table: AxisTable) -> list[str]:
    """The widths all of whose axes are removable, in the order of the table."""
    kept = {axis.width for axes in table.values() for axis in axes if not axis.removable}
    names = dict.fromkeys(axis.width for axes in table.values() for axis in axes)
    return [name for name in names if name not in kept]
