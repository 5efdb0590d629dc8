"""Masks that keep weights at zero, and pruning on a schedule.

Gradual magnitude pruning: Zhu & Gupta (2017), To prune, or not to prune, arXiv 1710.01878, equation 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from refrain.axes import AxisTable

from .compact import dead_by_width
from .groups import unit_axes


class Masks:
    """Masks of parameters, which set the masked entries to zero again after each step.

    Args:
        parameters: the parameters by name; any of them may get a mask, in which True is an entry that is kept.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = dict(parameters)
        self.kept: dict[str, Tensor] = {}

    def keep(self, name: str, kept: Tensor) -> None:
        """Mask all entries of a parameter except the given ones; entries that are masked already stay masked.

        Args:
            name: the parameter's name.
            kept: the entries to keep, a boolean tensor that broadcasts to the parameter's shape.

        Raises:
            ValueError: when there is no such parameter, or the tensor is not bool.
        """
        self._check(name, kept)
        before = self.kept.get(name, torch.ones_like(self._parameters[name], dtype=torch.bool))
        if not bool((both := before & kept).all()):
            self.kept[name] = both

    def freeze_zeros(self, names: Iterable[str]) -> None:
        """Mask every entry of some parameters that is zero now.

        Args:
            names: the names of the parameters.
        """
        for name in names:
            self.keep(name, self._parameters[name].detach() != 0)

    def freeze_units(self, table: AxisTable, widths: Sequence[str]) -> None:
        """Mask all entries of units that are dead now, including those that die once other units are removed.

        Args:
            table: the axes of the parameters.
            widths: the widths whose units are checked.
        """
        found = unit_axes(table)
        for width, dead in dead_by_width(self._parameters, table, widths).items():
            alive = ~dead
            for unit_axis in found[width]:
                self.keep(unit_axis.parameter, unit_axis.broadcast(alive, self._parameters[unit_axis.parameter].ndim))

    def apply(self) -> None:
        """Set the masked entries to zero, in place."""
        with torch.no_grad():
            for name, kept in self.kept.items():
                # a product with an infinite weight would be NaN
                self._parameters[name].masked_fill_(~kept, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the masks by name."""
        return dict(self.kept)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore masks from `state_dict`.

        Args:
            state: a state from `state_dict`.

        Raises:
            ValueError: when the masks do not fit the parameters.
        """
        for name, mask in state.items():
            self._check(name, mask)
            shape = tuple(self._parameters[name].shape)
            if mask.shape != shape:
                raise ValueError(f"the mask for {name} has shape {tuple(mask.shape)}, the parameter has shape {shape}")
        self.kept = {name: mask.to(self._parameters[name].device) for name, mask in state.items()}

    def _check(self, name: str, mask: Any) -> None:
        if name not in self._parameters:
            known = ", ".join(self._parameters)
            raise ValueError(f"a mask for {name}, which is not a parameter; the parameters are {known}")
        if not isinstance(mask, Tensor):
            raise ValueError(f"the mask for {name} is not a tensor")
        if mask.dtype != torch.bool:
            raise ValueError(f"the mask for {name} must be bool (got {str(mask.dtype).removeprefix('torch.')})")


def pruned_share(progress: float, *, final: float, begin: float, end: float) -> float:
    """Return the fraction of weights to prune at a point of the run: a cubic from 0 at `begin` to `final` at `end`.

    Args:
        progress: the finished fraction of the run, from 0 to 1.
        final: the fraction of weights to prune at the end.
        begin: the fraction of the run at which pruning begins.
        end: the fraction of the run at which `final` is reached; at `begin`, all are pruned at once.
    """
    if progress <= begin:
        return 0.0
    if progress >= end:
        return final
    left = 1 - min((progress - begin) / (end - begin), 1.0)
    return final * (1 - left**3)


def prune_smallest(parameters: Mapping[str, Tensor], masks: Masks, share: float) -> None:
    """Mask the smallest entries of each parameter; entries that are masked already stay masked.

    Args:
        parameters: the parameters to prune, by the names that they have in the masks.
        masks: the masks, changed in place.
        share: the fraction of each parameter's entries that is zero afterwards.

    Raises:
        ValueError: when the share is not in [0, 1].
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be at least 0 and at most 1 (got {share})")
    for name, parameter in parameters.items():
        count = round(share * parameter.numel())
        if count == 0:
            continue
        sizes = parameter.detach().abs().flatten()
        if name in masks.kept:
            # smaller than any other, as they count among the entries that are zero
            sizes = sizes.masked_fill(~masks.kept[name].flatten(), -1.0)
        threshold = sizes.kthvalue(count).values
        kept = sizes > threshold
        # of the entries that are as small as the threshold, only as many as are needed, from the first on
        ties = (sizes == threshold).nonzero()[:, 0]
        kept[ties[count - int((sizes < threshold).sum()) :]] = True
        masks.keep(name, kept.view_as(parameter))
