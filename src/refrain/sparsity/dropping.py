"""Which units to drop for a size: the weakest, as few as possible.

U units in a width.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from refrain.axes import AxisTable

from .compact import check_dead, segments_by_width
from .sizes import model_size


class UnreachableError(ValueError):
    """A target size that no choice of the given units reaches.

    Attributes:
        smallest: the size without all of them that could be dropped.
        dropped: width -> these units.
    """

    def __init__(self, measure: str, smallest: int, target: int, dropped: dict[str, list[int]]) -> None:
        super().__init__(f"{measure} cannot go below {smallest:,} (requested: {target:,})")
        self.smallest = smallest
        self.dropped = dropped


def drop_until(
    ranking: Sequence[tuple[str, int]],
    table: AxisTable,
    widths: Mapping[str, int],
    *,
    measure: str,
    target: int,
    dead: Mapping[str, Tensor] | None = None,
) -> dict[str, list[int]]:
    """Choose the weakest units to drop, as few as possible, so that a model is no larger than a target.

    Args:
        ranking: the units, the weakest first.
        table: the model's axes.
        widths: the sizes of its widths.
        measure: see `model_size`.
        target: the largest size allowed.
        dead: width -> (U,) bool, units that are removed already.

    Returns:
        Width -> units to drop. The last unit of a width, and of each block's segment, is kept.

    Raises:
        UnreachableError: when the target cannot be reached.
        ValueError: when the dead units are not bool.
    """
    check_dead(dead or {})
    gone = {width: torch.zeros(size, dtype=torch.bool) for width, size in widths.items()}
    gone |= {width: which.cpu().clone() for width, which in (dead or {}).items()}
    left = {width: int((~which).sum()) for width, which in gone.items()}
    dropped: dict[str, list[int]] = {}
    remaining = iter(ranking)
    segments = segments_by_width(table)

    def can_go(width: str, unit: int) -> bool:
        alone = (
            int((~gone[width][begin:end]).sum()) == 1 for begin, end in segments.get(width, ()) if begin <= unit < end
        )
        return left[width] > 1 and not any(alone)

    while (size := model_size(measure, table, widths, gone)) > target:
        pair = next(((width, unit) for width, unit in remaining if can_go(width, unit)), None)
        if pair is None:
            raise UnreachableError(measure, size, target, dropped)
        width, unit = pair
        left[width] -= 1
        gone[width][unit] = True
        dropped.setdefault(width, []).append(unit)
    return dropped
