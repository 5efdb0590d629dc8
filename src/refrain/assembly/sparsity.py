"""Builds the sparsifier of a run, which makes weights zero during training, from sparsity settings."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.config import AnyExperiment, Experiment, Sparsity, Target, ThresholdZeros
from refrain.config.sparsity import sized
from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.sparsity import (
    L1,
    LineLasso,
    Masks,
    UnitAxis,
    UnitLasso,
    dead_by_width,
    drop_until,
    model_size,
    unit_axes,
)
from refrain.training.size_controller import Controller
from refrain.training.sparsifier import Pruning, Sparsifier

from .backend import trains_natively
from .widths import removable_widths


def build_sparsifier(experiment: Experiment, model: LanguageModel, steps: int) -> Sparsifier | None:
    """Build the sparsifier of a run, or return None if no setting of sparsity is active.

    Args:
        experiment: the settings of the run.
        model: the model with its initial weights, whose zeros can be frozen.
        steps: the number of training steps of the whole run.

    Raises:
        UserError: when a pattern matches no name, or a target is not smaller than the model.
    """
    settings = experiment.sparsity
    if not settings.active():
        return None
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    matrices = {name: parameter for name, parameter in parameters.items() if parameter.ndim >= 2}
    scale = 1.0
    if settings.strengths_for == "sum-over-time" and experiment.training.loss_scale == "mean-over-tokens":
        # the strengths are for a loss summed over T steps; the loss is the mean over the steps, so divide by T
        scale = 1 / experiment.training.window_steps
    table = model.axes()
    removable = removable_widths(model)
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
        native=trains_natively(model),
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
            # a group joins the input and recurrent weights of one gate of one unit
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
    changed = lasso.widths != type(lasso).model_fields["widths"].default
    chosen = matching(lasso.widths, found, "sparsity.group_lasso.widths", "width", each=changed)
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
        raise UserError(
            f"sparsity.group_lasso.multipliers: are 0 for all of {', '.join(chosen)}; give one a positive factor"
        )
    return lassos


def _controller(settings: Target, model: LanguageModel, lassos: Mapping[str, UnitLasso]) -> Controller:
    measure, _ = settings.chosen()
    target = _target_number(settings, model)
    table = model.axes()
    widths = model.widths()
    setting = f"sparsity.target.{measure}"
    removable = tuple(removable_widths(model))
    parameters = dict(model.named_parameters())
    if not model_size(measure, table, widths):
        raise UserError(
            f"{setting}: the model has no parameter under stack., where recurrent layers are; use another one"
        )
    weakest = settings.penalised == "weakest"
    controller = Controller(parameters, table, widths, removable, lassos, measure, target, settings.reached, weakest)
    if target >= controller.first:
        raise UserError(
            f"{setting}: the model has {controller.first:,} now, which is not more than {target:,}; set a smaller one, "
            "or train on at this size with sparsity.target=none sparsity.group_lasso=none sparsity.freeze=units"
        )
    try:
        units = [(width, unit) for width in lassos for unit in range(widths[width])]
        drop_until(units, table, widths, measure=measure, target=target)
    except ValueError as error:
        raise UserError(f"{setting}: {error}; only units of {', '.join(lassos)} can be removed") from None
    return controller


def _target_number(settings: Target, model: LanguageModel) -> int:
    """The target as a number; a percentage is that of the model as it is."""
    measure, value = settings.chosen()
    table = model.axes()
    dead = dead_by_width(dict(model.named_parameters()), table, tuple(removable_widths(model)))
    return sized(value, model_size(measure, table, model.widths(), dead))


def with_target_number(experiment: AnyExperiment, model: nn.Module) -> AnyExperiment:
    """The settings with the size that a run steers to as a number, where it is a percentage.

    Args:
        experiment: the settings.
        model: the model at the start of the run.
    """
    if not isinstance(experiment, Experiment) or experiment.sparsity.target is None:
        return experiment
    measure, value = experiment.sparsity.target.chosen()
    if isinstance(value, int) or not isinstance(model, LanguageModel):
        return experiment
    target = experiment.sparsity.target.model_copy(update={measure: _target_number(experiment.sparsity.target, model)})
    return experiment.model_copy(update={"sparsity": experiment.sparsity.model_copy(update={"target": target})})


def matching(patterns: Iterable[str], names: Iterable[str], setting: str, noun: str, *, each: bool = True) -> list[str]:
    """The names that match one of several patterns, in the order of the names.

    Args:
        patterns: the patterns, in which * matches any text.
        names: the existing names.
        setting: the setting with the patterns, for the message.
        noun: the type of thing that has the names, for the message.
        each: whether every pattern must match a name; otherwise at least one of them must.

    Raises:
        UserError: when a pattern matches no name; the message lists the existing names.
    """
    known = list(names)
    requested = list(patterns)
    unmatched = [pattern for pattern in requested if not any(fnmatch.fnmatchcase(name, pattern) for name in known)]
    if unmatched and (each or len(unmatched) == len(requested)):
        raise UserError(f"{setting}: {unmatched[0]!r} matches no {noun}; the names are {', '.join(known)}")
    return [name for name in known if any(fnmatch.fnmatchcase(name, pattern) for pattern in requested)]
