"""Checks that a network implements the protocol, on a small window before training.

T steps in a window, B batch size, V tokens in the vocabulary.
"""

from typing import Any

import torch
from torch import Tensor, nn

from refrain.errors import UserError
from refrain.nn.recurrent.protocol import state_tensors

from .modes import evaluating
from .protocol import offers, part_of, token_nats

STEPS, BATCH = 3, 2
CLOSE = 1e-3
"""The largest relative difference that rounding can cause."""


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
    ids = (vocabulary_size - 1 - torch.arange((STEPS + 1) * BATCH)).view(STEPS + 1, BATCH) % vocabulary_size
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), evaluating(network):
        try:
            return _check_window(network, name, ids.to(device), vocabulary_size)
        except UserError:
            raise
        except Exception as error:
            message = " ".join(str(error).split())
            raise UserError(
                f"model: {name} failed on a window of {STEPS} steps and {BATCH} sequences with ids below "
                f"{vocabulary_size}, the size of the vocabulary ({type(error).__name__}: {message}); see "
                "refrain.models.Network"
            ) from error


def _check_window(network: Any, name: str, ids: Tensor, vocabulary_size: int) -> Any:
    inputs = ids[:-1]
    targets = ids[1:]
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
    _check_sums(network, name, inputs, targets, float(nats.detach()), vocabulary_size)
    return outputs


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


def _check_sums(network: Any, name: str, inputs: Tensor, targets: Tensor, nats: float, vocabulary_size: int) -> None:
    """Check that the loss is the same for each sequence alone, step by step and by `token_nats`."""
    alone = 0.0
    for index in range(BATCH):
        one = slice(index, index + 1)
        found, _, _ = network(inputs[:, one], targets[:, one], network.initial_state(1))
        alone += float(found.detach())
    _check_same(
        alone, nats, name, "each sequence of a batch alone", "nats must be the sum over all targets, not the mean"
    )
    if offers(network, "step"):
        with torch.no_grad():
            log_probabilities, _ = network.step(inputs[0], network.initial_state(BATCH))
        if tuple(log_probabilities.shape) != (BATCH, vocabulary_size):
            raise UserError(
                f"model: {name} has probabilities of shape {tuple(log_probabilities.shape)}, expected "
                f"{(BATCH, vocabulary_size)}: the vocabulary of the corpus has {vocabulary_size} tokens"
            )
        total = float(log_probabilities.double().exp().sum()) / BATCH
        if not abs(total - 1) < CLOSE:
            raise UserError(
                f"model: {name} has probabilities that sum to {total:.4g}; step must return their natural logarithms"
            )
        stepped = token_nats(_StepsAlone(network), inputs, targets, network.initial_state(BATCH))[0]
        _check_same(float(stepped.sum()), nats, name, "step by step", "step must compute the same as forward")
    if offers(network, "token_nats"):
        part = part_of(network, "token_nats", "the loss of single tokens")
        with torch.no_grad():
            costs, _ = part(inputs, targets, network.initial_state(BATCH))
        if tuple(costs.shape) != tuple(targets.shape):
            raise UserError(
                f"model: {name} has token_nats of shape {tuple(costs.shape)}, expected {tuple(targets.shape)}"
            )
        _check_same(
            float(costs.sum()), nats, name, "token by token", "the sum of token_nats must be the nats of forward"
        )


class _StepsAlone:
    """A network reduced to its method `step`."""

    def __init__(self, network: Any) -> None:
        self.step = network.step


def _check_same(found: float, nats: float, name: str, how: str, rule: str) -> None:
    if not abs(found - nats) <= CLOSE * max(1.0, abs(nats)):
        raise UserError(f"model: {name} gives {nats:.5g} nats for a window and {found:.5g} when read {how}; {rule}")
