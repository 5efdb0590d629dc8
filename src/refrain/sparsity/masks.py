"""Keeping zeros zero, and making more of them on a schedule.

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
    """Entries that stay zero: after each step they are zero again.

    Args:
        parameters: by name; any of them may get a mask, in which True is an entry that is kept.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self._parameters = dict(parameters)
        self.kept: dict[str, Tensor] = {}

    def keep(self, name: str, kept: Tensor) -> None:
        """Mask the other entries of a parameter; what was masked stays so.

        Args:
            name: of the parameter.
            kept: bool, of its shape or one that broadcasts to it.
        """
        before = self.kept.get(name, torch.ones_like(self._parameters[name], dtype=torch.bool))
        if not bool((both := before & kept).all()):
            self.kept[name] = both

    def freeze_zeros(self, names: Iterable[str]) -> None:
        """Mask every entry of some parameters that is zero now.

        Args:
            names: of the parameters.
        """
        for name in names:
            self.keep(name, self._parameters[name].detach() != 0)

    def freeze_units(self, table: AxisTable, widths: Sequence[str]) -> None:
        """Mask all that belongs to a unit that is dead now, or dies because others are.

        Args:
            table: the axes of the parameters.
            widths: whose units are looked at.
        """
        found = unit_axes(table)
        for width, dead in dead_by_width(self._parameters, table, widths).items():
            alive = ~dead
            for unit_axis in found[width]:
                self.keep(unit_axis.parameter, unit_axis.broadcast(alive, self._parameters[unit_axis.parameter].ndim))

    def apply(self) -> None:
        """Make the masked entries zero, in place."""
        with torch.no_grad():
            for name, kept in self.kept.items():
                self._parameters[name].mul_(kept)

    def state_dict(self) -> dict[str, Any]:
        """The masks, by name."""
        return dict(self.kept)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put masks back.

        Args:
            state: as from `state_dict`.

        Raises:
            ValueError: when they belong to another model.
        """
        for name, mask in state.items():
            if name not in self._parameters:
                raise ValueError(f"a mask for {name}, which the model lacks; it has {', '.join(self._parameters)}")
            if mask.shape != self._parameters[name].shape:
                raise ValueError(
                    f"a mask of shape {tuple(mask.shape)} for {name}, which is {tuple(self._parameters[name].shape)}"
                )
        self.kept = {name: mask.to(self._parameters[name].device) for name, mask in state.items()}


def pruned_share(progress: float, *, final: float, begin: float, end: float) -> float:
    """The share of weights that are zero at a point of the run: from 0 at `begin` along a cubic to `final` at `end`.

    Args:
        progress: share of the run, 0 to 1.
        final: the share at the end.
        begin: where pruning begins, as a share of the run.
        end: where the final share is reached.
    """
    if progress <= begin:
        return 0.0
    left = 1 - min((progress - begin) / (end - begin), 1.0)
    return final * (1 - left**3)


def prune_smallest(parameters: Mapping[str, Tensor], masks: Masks, share: float) -> None:
    """Mask the smallest entries of each parameter so that this share of it is zero; what was masked stays so.

    Args:
        parameters: by name, as the masks'.
        masks: changed.
        share: of each parameter's entries.
    """
    for name, parameter in parameters.items():
        count = round(share * parameter.numel())
        if count == 0:
            continue
        sizes = parameter.detach().abs()
        if name in masks.kept:
            sizes = sizes * masks.kept[name]
        smallest = sizes.flatten().kthvalue(count).values
        masks.keep(name, sizes > smallest)
