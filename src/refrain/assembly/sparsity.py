"""Sparsity settings -> what makes weights zero during a run."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from refrain.axes import Axis, AxisTable
from refrain.config import Experiment, Sparsity, Target, ThresholdZeros
from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.sparsity import L1, LineLasso, Masks, UnitAxis, UnitLasso, drop_until, unit_axes
from refrain.training.size_controller import Controller
from refrain.training.sparsifier import Pruning, Sparsifier

from .widths import removable_widths


def build_sparsifier(experiment: Experiment, model: LanguageModel, steps: int) -> Sparsifier | None:
    """What makes weights zero during a run, or None where nothing does.

    Args:
        experiment: the settings.
        model: with the weights of the start; what is zero now can be frozen.
        steps: of the whole run.

    Raises:
        UserError: when a pattern fits nothing, or a target is no smaller than the model.
    """
    settings = experiment.sparsity
    if not settings.active():
        return None
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    matrices = {name: parameter for name, parameter in parameters.items() if parameter.ndim >= 2}
    scale = 1.0
    if settings.strengths_for == "sum-over-time" and experiment.training.loss_scale == "mean-over-tokens":
        # a mean over T steps is their sum divided by T, and so are its penalties
        scale = 1 / experiment.training.window_steps
    table, removable = model.axes(), removable_widths(model)
    found = unit_axes(table)
    lassos = _on_units(settings, parameters, {width: found[width] for width in removable}, scale)
    masks = Masks(parameters)
    if settings.freeze == "elements":
        masks.freeze_zeros(matrices)
    if settings.freeze == "units":
        masks.freeze_units(table, removable)
    prune = settings.prune
    pruning = None if prune is None else Pruning(matrices, prune.share, prune.begin, prune.end)
    return Sparsifier(
        [*_on_entries(settings, parameters, matrices, table, scale), *lassos.values()],
        zeros=settings.zeros.kind,
        parameters=parameters,
        table=table,
        removable=removable,
        smallest=settings.zeros.threshold if isinstance(settings.zeros, ThresholdZeros) else 0.0,
        masks=masks,
        pruning=pruning,
        controller=None if settings.target is None else _controller(settings.target, model, lassos),
        steps=steps,
    )


def _on_entries(
    settings: Sparsity,
    parameters: Mapping[str, Tensor],
    matrices: Mapping[str, Tensor],
    table: AxisTable,
    scale: float,
) -> list[L1 | LineLasso]:
    penalties: list[L1 | LineLasso] = []
    if settings.l1:
        chosen = matching(settings.l1.on, parameters, "sparsity.l1.on", "parameter")
        penalties.append(L1([parameters[name] for name in chosen], scale * settings.l1.strength))
    if settings.row_lasso:
        rows: dict[tuple[str, Axis], list[Tensor]] = {}
        for name in matching(settings.row_lasso.on, matrices, "sparsity.row_lasso.on", "matrix"):
            # what goes into one gate of one unit, from below and from the step before
            rows.setdefault((name.rpartition(".")[0], table[name][0]), []).append(matrices[name])
        penalties.append(LineLasso(list(rows.values()), scale * settings.row_lasso.strength, 1))
    if settings.column_lasso:
        chosen = matching(settings.column_lasso.on, matrices, "sparsity.column_lasso.on", "matrix")
        penalties.append(LineLasso([[matrices[name]] for name in chosen], scale * settings.column_lasso.strength, 0))
    return penalties


def _on_units(
    settings: Sparsity, parameters: Mapping[str, Tensor], found: Mapping[str, Sequence[UnitAxis]], scale: float
) -> dict[str, UnitLasso]:
    lasso = settings.group_lasso
    if lasso is None:
        return {}
    # not every model matches all default patterns
    given = lasso.widths != type(lasso).model_fields["widths"].default
    chosen = matching(lasso.widths, found, "sparsity.group_lasso.widths", "width", each=given)
    multipliers = [word.split("=") for word in lasso.multipliers]
    for pattern, _ in multipliers:
        matching([pattern], chosen, "sparsity.group_lasso.multipliers", "width of sparsity.group_lasso.widths")
    lassos = {}
    for width in chosen:
        factors = [float(number) for pattern, number in multipliers if fnmatch.fnmatchcase(width, pattern)]
        strength = scale * lasso.strength * (factors[-1] if factors else 1.0)
        if strength:
            lassos[width] = UnitLasso(parameters, found[width], strength, lasso.scaling, lasso.overlap)
    if not lassos:
        raise UserError(f"sparsity.group_lasso.multipliers: leave no penalty on any of {', '.join(chosen)}")
    return lassos


def _controller(settings: Target, model: LanguageModel, lassos: Mapping[str, UnitLasso]) -> Controller:
    measure, target = settings.chosen()
    table, widths, place = model.axes(), model.widths(), f"sparsity.target.{measure}"
    removable = tuple(removable_widths(model))
    parameters = dict(model.named_parameters())
    controller = Controller(parameters, table, widths, removable, lassos, measure, target, settings.reached)
    if target >= controller.first:
        raise UserError(
            f"{place}: the model has {controller.first:,} now, which is not more than {target:,}; ask for less"
        )
    try:
        units = [(width, unit) for width in lassos for unit in range(widths[width])]
        drop_until(units, table, widths, measure=measure, target=target)
    except ValueError as error:
        raise UserError(f"{place}: {error}; the units of {', '.join(lassos)} can go") from None
    return controller


def matching(patterns: Iterable[str], names: Iterable[str], setting: str, kind: str, *, each: bool = True) -> list[str]:
    """The names that fit a pattern, in their own order.

    Args:
        patterns: with * for anything.
        names: that exist.
        setting: where the patterns come from, for the message.
        kind: what the names are of, for the message.
        each: every pattern must fit a name; else one of them must.

    Raises:
        UserError: naming the names that exist.
    """
    known, wanted = list(names), list(patterns)
    idle = [pattern for pattern in wanted if not any(fnmatch.fnmatchcase(name, pattern) for name in known)]
    if idle and (each or len(idle) == len(wanted)):
        raise UserError(f"{setting}: {idle[0]!r} fits no {kind}; there are {', '.join(known)}")
    return [name for name in known if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]
