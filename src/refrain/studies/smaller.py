"""The choice of the units that compression removes."""

from torch import Tensor

from refrain.assembly.widths import removable_widths
from refrain.config.sparsity import sized
from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.sparsity import dead_by_width, drop_until, model_size, unit_axes, weakest_first
from refrain.sparsity.compact import largest_entries


def units_to_remove(
    model: LanguageModel, *, threshold: float | None = None, to: tuple[str, int | str] | None = None
) -> dict[str, Tensor]:
    """Find the dead units of a model, and those to remove for a threshold or a target size. The model is not changed.

    Args:
        model: the model, with plain weights.
        threshold: also remove units all of whose weights have an absolute value below this.
        to: `parameters`, `multiply_adds` or `bytes` and the largest value allowed, as a number or as a percentage such
            as `50%`; the weakest units are removed until the model is small enough.

    Returns:
        Width -> (U,) bool, for U units in a width.

    Raises:
        UserError: when no unit or all units of a width would be removed, or a target cannot be reached.
    """
    table = model.axes()
    parameters = dict(model.named_parameters())
    sizes = model.widths()
    widths = removable_widths(model)
    found = unit_axes(table)
    small: dict[str, Tensor] = {}
    if threshold is not None:
        small = {width: largest_entries(parameters, found[width]) < threshold for width in widths}
    dead = dead_by_width(parameters, table, widths, gone=small)
    for width in widths:
        if dead[width].all():
            cause = f"with --threshold {threshold:g}; ask for less" if threshold is not None else "already"
            raise UserError(f"all {sizes[width]} units of {width} are dead {cause}")
    if to is not None:
        measure, size = to
        whole = model_size(measure, table, sizes)
        target = sized(size, whole)
        if target >= whole:
            raise UserError(
                f"--to {measure}={size}: the model has {whole:,}, which is no more than that; choose a smaller target"
            )
        ranking = [pair for pair in weakest_first(parameters, table, widths) if not dead[pair[0]][pair[1]]]
        try:
            dropped = drop_until(ranking, table, sizes, measure=measure, target=target, dead=dead)
        except ValueError as error:
            raise UserError(f"--to {measure}={size}: {error}") from None
        for width, units in dropped.items():
            dead[width][units] = True
        dead = dead_by_width(parameters, table, widths, gone=dead)
    if not any(which.any() for which in dead.values()):
        given = "" if threshold is None else f", and none has all its weights below {threshold:g}"
        raise UserError(
            f"nothing to remove: no unit of {', '.join(widths)} is dead{given}; give a --threshold or a smaller size "
            "with --to, or train with sparsity.group_lasso"
        )
    return dead
