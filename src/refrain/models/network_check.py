"""Checks that a network implements the protocol, on small windows before training.

T steps in a window, B batch size, V tokens in the vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

from refrain.errors import UserError
from refrain.nn.recurrent.protocol import detached, state_tensors

from .modes import evaluating
from .protocol import offers, part_of, token_nats

STEPS, BATCH = 3, 2
CLOSE = 1e-3
"""The largest relative difference that rounding can cause in float32 and float64."""
CLOSE_STATES = 0.05
"""The same for the entries of a state, relative to the largest: nothing is averaged over tokens, and a network of
float32 may compute in bf16."""
ROUNDINGS = 8
"""The largest relative difference in a dtype of fewer digits, in units of its `torch.finfo(dtype).eps`."""


def class_name(network: object) -> str:
    """The class name of a network with its module, as recorded in a run. Nothing is imported by this name."""
    return f"{type(network).__module__}.{type(network).__qualname__}"


def check_network(network: object, vocabulary_size: int) -> Any:
    """Check that an object implements the protocol `Network` for a vocabulary.

    The network computes a few small windows in evaluation mode, on the device of its parameters. Its weights, its mode
    and the random generators are unchanged afterwards.

    Args:
        network: any object.
        vocabulary_size: V, the number of tokens in the vocabulary of the corpus.

    Returns:
        The outputs of a window that `forward` returned.

    Raises:
        UserError: when a part of the protocol is missing or wrong; the message names it.
    """
    name = class_name(network)
    if not isinstance(network, nn.Module):
        raise UserError(f"model: {name} is not a torch.nn.Module")
    if not callable(getattr(network, "initial_state", None)):
        raise UserError(f"model: {name} has no initial_state(batch_size); see refrain.models.Network")
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError(f"model: {name} has no parameters to train")
    device = next(network.parameters()).device
    ids = (vocabulary_size - 1 - torch.arange((2 * STEPS + 1) * BATCH)).view(-1, BATCH) % vocabulary_size
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), evaluating(network):
        try:
            return _check_window(network, name, ids.to(device), vocabulary_size)
        except UserError:
            raise
        except Exception as error:
            message = " ".join(str(error).split())
            raise UserError(
                f"model: {name} failed on windows of {STEPS} steps and {BATCH} sequences with ids below "
                f"{vocabulary_size}, the size of the vocabulary ({type(error).__name__}: {message}); see "
                "refrain.models.Network"
            ) from error


def _check_window(network: Any, name: str, ids: Tensor, vocabulary_size: int) -> Any:
    inputs = ids[:STEPS]
    targets = ids[1 : STEPS + 1]
    start = network.initial_state(BATCH)
    _check_state(start, name)
    nats, outputs, after = _unpacked(network(inputs, targets, start), name)
    if not isinstance(nats, Tensor) or nats.ndim or not nats.requires_grad:
        raise UserError(f"model: {name} returned nats that are not a scalar tensor with a gradient")
    _check_state(after, name)
    shapes, others = ([tuple(part.shape) for part in state_tensors(state)] for state in (start, after))
    if type(start) is not type(after) or shapes != others:
        raise UserError(
            f"model: {name} has a state of shapes {others} after a window, but initial_state returns {shapes}"
        )
    close = _close(network, nats)
    _check_alone(network, name, ids, nats, after, close)
    _check_sums(network, name, inputs, targets, float(nats.detach()), vocabulary_size, close)
    return outputs


def _close(network: Any, nats: Tensor) -> float:
    """The largest relative difference that rounding can cause in a network with these nats."""
    dtypes = {nats.dtype, *(parameter.dtype for parameter in network.parameters())}
    return max(CLOSE, *(ROUNDINGS * torch.finfo(dtype).eps for dtype in dtypes if dtype.is_floating_point))


def _unpacked(result: Any, name: str) -> tuple[Any, Any, Any]:
    if not isinstance(result, tuple) or len(result) != 3:
        count = f" of {len(result)}" if isinstance(result, tuple) else ""
        raise UserError(f"model: {name} returned {type(result).__name__}{count}, expected (nats, outputs, state)")
    nats, outputs, state = result
    return nats, outputs, state


def _check_state(state: Any, name: str) -> None:
    if isinstance(state, tuple):
        for part in state:
            _check_state(part, name)
    elif not isinstance(state, Tensor):
        raise UserError(
            f"model: {name} has a {type(state).__name__} in its state; a state must be tensors in tuples or NamedTuples"
        )


def _check_alone(network: Any, name: str, ids: Tensor, nats: Tensor, state: Any, close: float) -> None:
    """Check that the loss and the state of two successive windows are the same for each sequence alone."""
    alone = [network.initial_state(1) for _ in range(BATCH)]
    for window, begin in (("a window", 0), ("a second window", STEPS)):
        now = ids[begin : begin + STEPS + 1]
        if begin:
            nats, _, state = _unpacked(network(now[:-1], now[1:], detached(state)), name)
        total = 0.0
        for column in range(BATCH):
            one = now[:, column : column + 1]
            found, _, alone[column] = network(one[:-1], one[1:], detached(alone[column]))
            total += float(found.detach())
        _check_same(
            total,
            float(nats.detach()),
            name,
            "each sequence of a batch alone",
            "nats must be the sum over all targets, not the mean, and sequences must not influence each other",
            close,
            window,
        )
        if not _same_states(state, alone, max(close, CLOSE_STATES)):
            raise UserError(
                f"model: {name} has another state after {window} when read each sequence of a batch alone; sequences "
                "must not influence each other"
            )


def _same_states(whole: Any, alone: list[Any], close: float) -> bool:
    """Whether the state of a batch consists of those of its sequences, where an axis of a tensor is of sequences."""
    for tensor, *parts in zip(state_tensors(whole), *map(state_tensors, alone), strict=True):
        shape = tensor.shape
        axes = [axis for axis in range(len(shape)) if shape[axis] == BATCH and _with_one(shape, axis) == parts[0].shape]
        if not axes or not tensor.numel():
            continue
        found, wanted = tensor.detach().double(), torch.cat(parts, axes[0]).detach().double()
        scale = float(found.abs().nan_to_num(0.0, posinf=0.0).max())
        if not torch.allclose(found, wanted, rtol=close, atol=close * scale, equal_nan=True):
            return False
    return True


def _with_one(shape: torch.Size, axis: int) -> tuple[int, ...]:
    return *shape[:axis], 1, *shape[axis + 1 :]


def _check_sums(
    network: Any, name: str, inputs: Tensor, targets: Tensor, nats: float, vocabulary_size: int, close: float
) -> None:
    """Check that the loss is the same step by step and by `token_nats`."""
    if offers(network, "step"):
        with torch.no_grad():
            log_probabilities, _ = network.step(inputs[0], network.initial_state(BATCH))
        if tuple(log_probabilities.shape) != (BATCH, vocabulary_size):
            raise UserError(
                f"model: {name} has probabilities of shape {tuple(log_probabilities.shape)}, expected "
                f"{(BATCH, vocabulary_size)}: the vocabulary of the corpus has {vocabulary_size} tokens"
            )
        total = float(log_probabilities.double().exp().sum()) / BATCH
        if not abs(total - 1) < close:
            raise UserError(
                f"model: {name} has probabilities that sum to {total:.4g}; step must return their natural logarithms"
            )
        stepped = token_nats(_StepsAlone(network), inputs, targets, network.initial_state(BATCH))[0]
        _check_same(float(stepped.sum()), nats, name, "step by step", "step must compute the same as forward", close)
    if offers(network, "token_nats"):
        part = part_of(network, "token_nats", "the loss of single tokens")
        with torch.no_grad():
            costs, _ = part(inputs, targets, network.initial_state(BATCH))
        if tuple(costs.shape) != tuple(targets.shape):
            raise UserError(
                f"model: {name} has token_nats of shape {tuple(costs.shape)}, expected {tuple(targets.shape)}"
            )
        rule = "the sum of token_nats must be the nats of forward"
        _check_same(float(costs.sum()), nats, name, "token by token", rule, close)


class _StepsAlone:
    """A network reduced to its method `step`."""

    def __init__(self, network: Any) -> None:
        self.step = network.step


def _check_same(
    found: float, nats: float, name: str, how: str, rule: str, close: float, window: str = "a window"
) -> None:
    if not abs(found - nats) <= close * max(1.0, abs(nats)):
        raise UserError(f"model: {name} gives {nats:.5g} nats for {window} and {found:.5g} when read {how}; {rule}")
