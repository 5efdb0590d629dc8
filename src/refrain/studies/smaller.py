"""The choice of the units that compression removes."""

from torch import Tensor

from refrain.assembly.widths import removable_widths
from refrain.config.sparsity import counted
from refrain.config.values import percentage
from refrain.data import Windows
from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.progress import Track, untracked
from refrain.sparsity import dead_by_width, model_size, unit_axes
from refrain.sparsity.compact import largest_entries
from refrain.sparsity.dropping import UnreachableError

from .unit_ranking import units_for_size


def units_to_remove(
    model: LanguageModel,
    *,
    threshold: float | None = None,
    to: tuple[str, int] | None = None,
    beside: int = 0,
    text: Windows | None = None,
    needed: bool = True,
    is_int8: bool = False,
    track: Track = untracked,
) -> dict[str, Tensor]:
    """Find the dead units of a model, and those to remove for a threshold or a target size. The model is not changed.

    Args:
        model: the model, with plain weights.
        threshold: also remove units all of whose weights have an absolute value below this.
        to: a measure of `model_size` and the largest value allowed; units are removed until the model is small enough,
            those first that cost the least loss on `text` for the size that they save.
        beside: what is added to the size, which no unit changes, such as the header of a file.
        text: windows of a text, which `to` needs.
        needed: whether there must be a unit to remove.
        is_int8: whether the weights are int8 already, which is a part of the message if nothing is to be removed.
        track: reports the choice of units.

    Returns:
        Width -> (U,) bool, for U units in a width.

    Raises:
        UserError: when all units of a width would be removed or none that is needed, or a target cannot be reached.
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
            cause = (
                f"with --threshold {threshold:g}; ask for less"
                if threshold is not None
                else "already, so that nothing passes through them; train with a weaker penalty or a larger target"
            )
            raise UserError(f"all {sizes[width]} units of {width} are dead {cause}")
    if to is not None:
        dead = _for_size(model, dead, to, beside, text, track)
    if needed and not any(which.any() for which in dead.values()):
        given = "" if threshold is None else f", and none has all its weights below {threshold:g}"
        already = "the weights are int8 already, and " if is_int8 else ""
        raise UserError(
            f"nothing to remove: {already}no unit of {', '.join(widths)} is dead{given}; give a --threshold or a "
            "smaller size with --to, or train with sparsity.group_lasso"
        )
    return dead


def _for_size(
    model: LanguageModel,
    dead: dict[str, Tensor],
    to: tuple[str, int],
    beside: int,
    text: Windows | None,
    track: Track,
) -> dict[str, Tensor]:
    """The dead units, and those to remove for a target size; arguments as in `units_to_remove`."""
    measure, target = to[0], to[1] - beside
    if text is None:
        raise ValueError("a target size needs a text, on which the units are chosen")
    try:
        if model_size(measure, model.axes(), model.widths(), dead) > target:
            dead = units_for_size(model, text, tuple(dead), measure=measure, target=target, dead=dead, track=track)
    except UnreachableError as error:
        name = measure.removeprefix("int8_")
        header = f", of which {beside:,} are the header" if beside else ""
        raise UserError(
            f"--to {name}={to[1]}: {name} cannot go below {error.smallest + beside:,}{header}; choose a larger one"
        ) from None
    if lost := [width for width, which in dead.items() if which.all()]:
        raise UserError(
            f"--to {measure.removeprefix('int8_')}={to[1]}: with so few units, nothing would pass through "
            f"{lost[0]}; choose a larger one"
        )
    return dead


def target_size(measure: str, asked: int | str, whole: int) -> int:
    """Resolve a target size against the size of the model.

    Args:
        measure: see `model_size`.
        asked: a number, `7M`, or a percentage of the model's size.
        whole: the size of the model.

    Raises:
        UserError: when it is no size, or no smaller than the model.
    """
    share = percentage(asked)
    if share is not None and not 0 < share < 1:
        raise UserError(f"--to {measure}={asked}: a percentage must be between 0% and 100%")
    try:
        size = float(counted(asked)) if share is None else max(1.0, share * whole)
        target = round(size)
    except (ValueError, OverflowError):
        raise UserError(f"--to {measure}={asked}: the size must be a number, 7M or a percentage such as 50%") from None
    if size < 1:
        raise UserError(f"--to {measure}={asked}: the size must be at least 1; a share is a percentage such as 50%")
    if target >= whole:
        raise UserError(
            f"--to {measure}={asked}: the model has {whole:,}, which is no more than that; choose a smaller target"
        )
    return target
