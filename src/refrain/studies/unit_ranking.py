"""The choice of units whose removal costs the least loss for the size that it saves, on a text.

Units of all widths are ranked together by an estimate of the loss per parameter, byte or multiply-add, in rounds: what
is left of a unit's effect depends on the units that are removed already.
"""

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from refrain.data import Windows
from refrain.evaluation.dynamic import differentiable
from refrain.models import LanguageModel
from refrain.nn.recurrent.protocol import detached
from refrain.progress import Track, untracked
from refrain.sparsity import clear_units, dead_by_width, drop_until, model_size, unit_axes
from refrain.sparsity.removal import removal_effects
from refrain.sparsity.sizes import unit_sizes

ROUNDS = 8
"""The number of times that the effect of each unit is estimated."""
# the number of windows that a round reads
WINDOWS = 12


def units_for_size(
    model: LanguageModel,
    text: Windows,
    widths: Sequence[str],
    *,
    measure: str,
    target: int,
    dead: Mapping[str, Tensor],
    track: Track = untracked,
) -> dict[str, Tensor]:
    """Choose units to remove, so that a model is no larger than a target and its loss on a text grows little.

    Args:
        model: the model, which is not changed.
        text: windows of the text, of which each round reads the first few.
        widths: the widths whose units may be removed.
        measure: see `model_size`.
        target: the largest size allowed.
        dead: width -> (U,) bool, units that are removed in any case.
        track: reports the loop over the rounds.

    Returns:
        Width -> (U,) bool, the units to remove, with those that are removed in any case.

    Raises:
        UnreachableError: when the target cannot be reached.
    """
    table, sizes = model.axes(), model.widths()
    everything = [(width, unit) for width in widths for unit in (~dead[width]).nonzero().flatten().tolist()]
    # raises before the text is read
    drop_until(everything, table, sizes, measure=measure, target=target, dead=dead)
    masked = copy.deepcopy(model)
    parameters = dict(masked.named_parameters())
    found = unit_axes(table)
    gone = {width: dead[width].clone() for width in widths}
    first = model_size(measure, table, sizes, gone)
    for index in track(range(ROUNDS), "choosing the units to remove, in rounds", ROUNDS):
        for width in widths:
            clear_units(parameters, found[width], gone[width])
        size = math.ceil(first * (target / first) ** ((index + 1) / ROUNDS)) if index < ROUNDS - 1 else target
        ranking = _ranked(masked, text, widths, unit_sizes(measure, table, sizes, widths, gone))
        left = [(width, unit) for width, unit in ranking if not gone[width][unit]]
        for width, units in drop_until(left, table, sizes, measure=measure, target=size, dead=gone).items():
            gone[width][units] = True
        gone = dead_by_width(parameters, table, widths, gone=gone)
    return gone


def _ranked(
    model: LanguageModel, text: Windows, widths: Sequence[str], saved: Mapping[str, Sequence[int]]
) -> list[tuple[str, int]]:
    """Rank the units of some widths by their loss per size, the smallest first."""
    ranking = []
    for width, losses in unit_losses(model, text, widths).items():
        pairs = enumerate(zip(losses.tolist(), saved[width], strict=True))
        # a unit that saves nothing by this measure, such as one of the head by that of the layers, stays
        ranking += [(loss / size, width, unit) for unit, (loss, size) in pairs if size]
    return [(width, unit) for _, width, unit in sorted(ranking)]


def unit_losses(model: LanguageModel, text: Windows, widths: Sequence[str]) -> dict[str, Tensor]:
    """Estimate what the loss on a text would grow by without each unit: the mean square of the first-order effect.

    Args:
        model: the model, which is not changed.
        text: windows of the text, of which the first few are read.
        widths: the widths of the units.

    Returns:
        Width -> (U,), in squared nats per token.
    """
    parameters = dict(model.named_parameters())
    found = unit_axes(model.axes())
    total = {width: torch.zeros(size, dtype=torch.float64) for width, size in model.widths().items() if width in widths}
    state = model.initial_state(text.batch_size)
    device = next(model.parameters()).device
    with differentiable(model), torch.enable_grad():
        for index in range(min(WINDOWS, len(text))):
            inputs, targets = (part.to(device) for part in text[index])
            nats, _, state = model(inputs, targets, detached(state))
            values = torch.autograd.grad(nats / targets.numel(), list(parameters.values()), materialize_grads=True)
            gradients = dict(zip(parameters, values, strict=True))
            for width, sums in total.items():
                sums += removal_effects(parameters, gradients, found[width]).double().square().cpu()
    return total
