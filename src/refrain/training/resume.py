"""Capture and restore the whole state of a run, so that it continues bit for bit."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refrain.errors import CheckpointError
from refrain.models.states import sequence_axes
from refrain.nn.recurrent.protocol import state_like, state_tensors
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.documents import checked

from .loop import NonFiniteError, Tally
from .optimizer_state import load_optimizer
from .own_methods import MethodError
from .planned_end import Plan
from .saved_state import AnyTrainingDocument, TrainingDocument
from .task import Best, Position, Task

TENSOR = "$tensor"
WEIGHTS = "weights."
# tensors in a checkpoint that always are finite, besides the parameters; a user's method may keep others
FINITE = ("carried.", "optimizer.", "averaging.", WEIGHTS)


def capture(task: Task, position: Position, state: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Capture the state of a run except the weights: generators, optimiser, recurrent state, schedule, position.

    Args:
        task: the task that is trained.
        position: the position in the run.
        state: the carried recurrent state, or None between epochs.

    Returns:
        Tensors by name, and plain data that refers to them.

    Raises:
        MethodError: when the state of a method cannot be stored.
    """
    tensors: dict[str, Tensor] = {"generator.cpu": torch.get_rng_state()}
    device = next(task.model.parameters()).device
    if device.type == "cuda":
        tensors["generator.cuda"] = torch.cuda.get_rng_state(device)
    if task.methods.own_evaluation_weights():
        # the model in the checkpoint has the evaluation weights
        tensors |= {f"{WEIGHTS}{name}": weight.detach().clone() for name, weight in task.model.named_parameters()}
    carried = [] if state is None else _of_all_ranks(task, state_tensors(state))
    states = {"schedule": task.schedule.state_dict(), **task.methods.state_dict()}
    document = {
        "position": asdict(position),
        "carried": pack(carried, tensors, "carried"),
        "optimizer": pack(task.optimizer.state_dict(), tensors, "optimizer"),
        "stateful": {name: _packed(state, tensors, name) for name, state in states.items()},
        "methods": list(task.methods.own),
    }
    return tensors, document


def _of_all_ranks(task: Task, own: list[Tensor]) -> list[Tensor]:
    """Join the states of the columns of all ranks; a network of one's own may have the columns along any axis."""
    if task.ranks.size == 1:
        return own
    axes = sequence_axes(task.model)
    first = [tensor.movedim(axis, 0) for tensor, axis in zip(own, axes, strict=True)]
    every = task.ranks.all_columns(first, task.batch_size)
    return [tensor.movedim(0, axis).contiguous() for tensor, axis in zip(every, axes, strict=True)]


def read_training(checkpoint: Checkpoint) -> dict[str, Any]:
    """Read the document of `capture` in a checkpoint, and check it.

    Raises:
        CheckpointError: when it is missing or damaged.
    """
    return _read(checkpoint, TrainingDocument)


def trained_steps(checkpoint: Checkpoint) -> int:
    """The number of training steps of any checkpoint, also of one that training cannot be resumed from.

    Raises:
        CheckpointError: when `training.json` is missing or damaged.
    """
    return int(_read(checkpoint, AnyTrainingDocument)["position"]["step"])


def _read(checkpoint: Checkpoint, form: type[TrainingDocument | AnyTrainingDocument]) -> dict[str, Any]:
    found = checkpoint.document("training")
    checked(form, found, checkpoint.folder / "training.json", "move this checkpoint away, and an earlier one is used")
    return dict(found)


def restore(task: Task, tensors: Mapping[str, Tensor], document: dict[str, Any]) -> tuple[Position, Any]:
    """Restore a state from `capture`, including the global random generators.

    The caller restores the weights, except the trained ones if the checkpoint's model has evaluation weights.

    Returns:
        The position in the run, and the carried recurrent state or None between epochs.

    Raises:
        CheckpointError: when the checkpoint belongs to another task.
    """
    try:
        device = next(task.model.parameters()).device
        load_optimizer(task.optimizer, unpack(document["optimizer"], tensors))
        weights = {name.removeprefix(WEIGHTS): tensor for name, tensor in tensors.items() if name.startswith(WEIGHTS)}
        if weights:
            load_weights(task.model, weights)
        states = {name: unpack(state, tensors) for name, state in document["stateful"].items()}
        task.schedule.load_state_dict(states["schedule"])
        task.methods.load_state_dict(states)
        carried = [tensor.to(device) for tensor in unpack(document["carried"], tensors)]
        columns = task.ranks.columns(task.batch_size)
        if columns is not None:
            axes = sequence_axes(task.model) if carried else []
            carried = [columns.of(tensor, axis).contiguous() for tensor, axis in zip(carried, axes, strict=True)]
        state = state_like(task.initial_state(), carried) if carried else None
        fields = document["position"]
        best = None if fields["best"] is None else Best(**fields["best"])
        tallies = {name: Tally(**fields[name]) for name in ("epoch_tally", "line_tally")}
        plans = [Plan(**plan) for plan in fields.get("plans", [])]
        position = Position(**{**fields, **tallies, "best": best, "plans": plans})
        _check_position(position, task)
        # last, since a method may draw random numbers while it restores its state
        torch.set_rng_state(tensors["generator.cpu"])
        if device.type == "cuda" and "generator.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["generator.cuda"], device)
        return position, state
    except MethodError as error:
        raise CheckpointError(f"the checkpoint does not fit this run: {error}") from error.__cause__
    # a state that was edited can fail in torch's own code in any way
    except Exception as error:
        text = " ".join(str(error).split())
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise CheckpointError(f"the checkpoint does not fit this run: {kind}{text}") from None


def _check_position(position: Position, task: Task) -> None:
    windows = len(task.windows(position.epoch)) if position.epoch < task.epochs else 0
    if position.window > windows:
        raise ValueError(f"position.window is {position.window}, but epoch {position.epoch + 1} has {windows} windows")
    if position.window and not position.epoch_tally.tokens:
        raise ValueError("position.epoch_tally.tokens is 0 within an epoch")
    if (position.best.step if position.best else 0) > position.step:
        raise ValueError("position.best.step is larger than position.step")


def check_finite(model: nn.Module, weights: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Check that a checkpoint holds finite numbers. Buffers and the states of a user's methods may hold others.

    Args:
        model: the model that is trained.
        weights: its weights, from `weights_of`.
        tensors: the other tensors, from `capture`.

    Raises:
        NonFiniteError: when a number is infinite or undefined; the message names the tensor.
    """
    parameters = {name for name, _ in model.named_parameters()}
    found = {name: tensor for name, tensor in weights.items() if name in parameters}
    found |= {name: tensor for name, tensor in tensors.items() if name.startswith(FINITE)}
    for name, tensor in found.items():
        finite = tensor.isfinite()
        if not finite.all():
            value = tensor[~finite].flatten()[0].item()
            raise NonFiniteError(f"{name} has become {value}, so that no checkpoint was written")


def check_methods(task: Task, document: dict[str, Any], path: Path) -> None:
    """Check that the user's methods are those with which the run was started.

    Args:
        task: the task that is trained.
        document: the plain data from `capture`.
        path: the run folder, for the message.

    Raises:
        CheckpointError: when the methods differ.
    """
    before = document.get("methods", [])
    now = list(task.methods.own)
    if before == now:
        return
    given = ", ".join(now) or "none"
    if not before:
        raise CheckpointError(
            f"{path}: was started without a user's methods (given now: {given}); resume it without them"
        )
    raise CheckpointError(
        f"{path}: was started with the methods {', '.join(before)} (given now: {given}); "
        f"continue it in Python with the same methods in the same order: refrain.resume({str(path)!r}, methods=[...])"
    )


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of all parameters, each under its first name, and of the persistent buffers."""
    weights: dict[str, Tensor] = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return weights | {name: buffer.detach().clone() for name, buffer in _buffers(model).items()}


def _buffers(model: nn.Module) -> dict[str, Tensor]:
    kept = model.state_dict(keep_vars=True)
    return {name: value for name, value in kept.items() if type(value) is Tensor}


def load_weights(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy weights into a model, in place.

    Args:
        model: a model with the parameters and buffers of the saved one.
        tensors: the weights, from `weights_of`.

    Raises:
        CheckpointError: when a name or a shape differs, or numbers are not floating-point; no parameter is copied in
            that case.
    """
    parameters = dict(model.named_parameters())
    buffers = _buffers(model)
    expected = {*parameters, *buffers}
    if expected != set(tensors):
        missing = sorted(expected - set(tensors))
        unexpected = sorted(set(tensors) - expected)
        raise CheckpointError(f"weights of another model: missing {missing}, unexpected {unexpected}")
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise CheckpointError(
                f"weights of another shape: {name} is {tuple(tensors[name].shape)} in the checkpoint, "
                f"{tuple(parameter.shape)} in the model"
            )
        if parameter.is_floating_point() and not tensors[name].is_floating_point():
            raise CheckpointError(
                f"weights of another dtype: {name} has {tensors[name].dtype}, which is not a floating-point one"
            )
    try:
        # load_state_dict of a module may accept a buffer of another shape
        model.load_state_dict({name: tensors[name] for name in buffers}, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"weights of another shape: {' '.join(str(error).split())}") from None
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def _packed(state: Any, tensors: dict[str, Tensor], name: str) -> Any:
    try:
        return pack(state, tensors, name)
    except (TypeError, RecursionError) as error:
        raise MethodError(name, "state_dict", f"returns a value that cannot be stored: {error}") from error


def pack(tree: Any, tensors: dict[str, Tensor], name: str) -> Any:
    """Convert nested dicts and lists to plain data; each tensor moves to `tensors` under a name made from its path.

    Raises:
        TypeError: when a value cannot be stored, or two tensors have one name, as with the keys `a.b`, and `b` in `a`.
    """
    match tree:
        case Tensor(layout=torch.strided):
            if name in tensors:
                raise TypeError(f"{name}: two tensors have this name, which is made from their keys; rename a key")
            tensors[name] = tree.detach().clone()
            return {TENSOR: name}
        case dict() if all(isinstance(key, str | int | float | None) for key in tree):
            return {"$dict": [[key, pack(value, tensors, f"{name}.{key}")] for key, value in tree.items()]}
        case list() | tuple():
            return [pack(value, tensors, f"{name}.{index}") for index, value in enumerate(tree)]
        case None | bool() | int() | float() | str():
            return tree
    raise TypeError(f"{name}: {type(tree).__name__} cannot be part of a checkpoint")


def unpack(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Invert `pack`; tuples become lists."""
    match tree:
        case {"$tensor": name}:
            return tensors[name]
        case {"$dict": items}:
            return {key: unpack(value, tensors) for key, value in items}
        case list():
            return [unpack(value, tensors) for value in tree]
    return tree
