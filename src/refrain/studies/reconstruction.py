"""Least-squares reconstruction: the kept units take over the part of the removed units that they can predict.

As in channel pruning (He, Zhang & Sun, 2017, ICCV, section 3.1), for every matrix that reads the units: the output of a
removed unit is a linear function of the outputs of the kept units, as well as it can be on a text, and the columns of
the matrix change accordingly.

U units in a width, K of them kept and R removed.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from refrain.data import Windows
from refrain.models import LanguageModel, evaluating
from refrain.progress import Track, untracked
from refrain.sparsity import UnitAxis, clear_units, unit_axes

WINDOWS = 12
"""The number of windows of the text that are read for each width."""
RIDGE = 1e-4
"""The ridge penalty, relative to the mean square of the outputs of the kept units."""


def reconstructed(
    model: LanguageModel, text: Windows, removed: Mapping[str, Tensor], track: Track = untracked
) -> LanguageModel:
    """Return a copy of a model in which the kept units take over from the units to remove, which are zero.

    The widths that a tied head shares and the inner widths of layers are only set to zero.

    Args:
        model: the model, which is not changed.
        text: windows of a text, of which the first few are read for each width.
        removed: width -> (U,) bool, the units to remove.
        track: reports the loop over the widths.
    """
    changed = copy.deepcopy(model)
    parameters, found = dict(changed.named_parameters()), unit_axes(changed.axes())
    modules = _modules(changed)
    # from the embedding upwards, so that a layer is fitted to what the layers below have become
    order = [*(width for width in modules if width in removed), *(width for width in removed if width not in modules)]
    for width in track(order, "fitting the units that are kept, by width", len(order)):
        gone = removed[width].cpu()
        if width in modules and gone.any() and not gone.all():
            factors = _factors(second_moments(changed, modules[width], len(gone), text), gone)
            for axis in found[width]:
                if axis.axis.role == "reads":
                    take_over(parameters[axis.parameter], axis, gone, factors)
        clear_units(parameters, found[width], removed[width])
    return changed


def _modules(model: LanguageModel) -> dict[str, nn.Module]:
    """Return the module whose output has the units of a width, for each width that only matrices read."""
    names = model.width_names()
    outputs: dict[str, nn.Module] = {names.embedding: model.embedding}
    outputs |= {layer.hidden: module for layer, module in zip(names.layers, model.stack.layers, strict=True)}
    table = model.axes()
    shared = {axis.width for axes in table.values() for axis in axes if axis.role == "both"}
    return {width: module for width, module in outputs.items() if width not in shared}


@torch.no_grad()
def second_moments(model: LanguageModel, module: nn.Module, units: int, text: Windows) -> Tensor:
    """Return the sums of products of any two outputs of a part of a model on a text (U, U), in float64.

    Args:
        model: the model.
        module: the embedding or a recurrent layer of the model.
        units: the number of its outputs.
        text: windows of the text, of which the first few are read.
    """
    sums = torch.zeros(units, units, dtype=torch.float64)

    def add(module: nn.Module, inputs: object, output: Tensor | tuple[Tensor, object]) -> None:
        values = (output if isinstance(output, Tensor) else output[0]).flatten(0, -2).double()
        sums.add_((values.T @ values).cpu())

    handle = module.register_forward_hook(add)
    try:
        state = model.initial_state(text.batch_size)
        device = next(model.parameters()).device
        with evaluating(model):
            for index in range(min(WINDOWS, len(text))):
                _, state = model.hidden(text[index][0].to(device), state)
    finally:
        handle.remove()
    return sums


def _factors(moments: Tensor, gone: Tensor) -> Tensor:
    """Return the weights with which the kept units predict each removed unit (K, R)."""
    kept = moments[~gone][:, ~gone]
    ridge = RIDGE * kept.diagonal().mean().clamp_min(torch.finfo(moments.dtype).tiny)
    kept += ridge * torch.eye(len(kept), dtype=moments.dtype)
    factors: Tensor = torch.linalg.solve(kept, moments[~gone][:, gone])
    return factors


@torch.no_grad()
def take_over(parameter: Tensor, axis: UnitAxis, gone: Tensor, factors: Tensor) -> None:
    """Add the columns of removed units to those of the kept units that predict them, in place.

    A matrix that reads only some of the units is left as it is.

    Args:
        parameter: the matrix.
        axis: its axis along the width.
        gone: (U,) bool, the units to remove.
        factors: the weights with which the kept units predict each removed unit (K, R).
    """
    if parameter.ndim != 2 or axis.axis.copies != 1 or axis.axis.segment is not None:
        return
    columns = parameter if axis.dimension == 1 else parameter.T
    removed = gone.to(parameter.device)
    added = columns[:, removed].double() @ factors.T.to(parameter.device)
    columns[:, ~removed] += added.to(parameter.dtype)
