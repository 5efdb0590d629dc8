"""The protocols of language models, which networks given by the user implement as well.

Training, resuming and exact evaluation need a `Network`. `CompleteNetwork` adds optional parts, each of which some
features need. A feature whose part is missing raises an error that names the part.

T steps in a window, B batch size, V tokens in the vocabulary, H width of the last layer.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from refrain.arguments import described
from refrain.axes import AxisTable
from refrain.errors import UserError

PARTS = {
    "token_nats": "token_nats(inputs, targets, state) -> nats (T, B) and the state",
    "step": "step(ids (B,), state) -> log-probabilities (B, V) and the state",
    "hidden": "hidden(inputs, state) -> outputs with raw and dropped (T, B, H), and the state",
    "head": "head, which implements the protocol refrain.nn.Head",
    "stack": "stack, a refrain.nn.RecurrentStack",
    "axes": "axes() -> the axes of every parameter",
    "widths": "widths() -> the size of every width",
    "reset_before": "reset_before, the id before which the state is zero",
}
"""Optional part of a network -> its signature in words."""


class Network(Protocol):
    """A language model for training and evaluation: an `nn.Module` whose state is an argument and never an attribute.

    The state is a tensor, or tensors in nested tuples or NamedTuples, or `()` for a network without a state. Its shapes
    are those of `initial_state`. In evaluation mode, the network is deterministic and the sequences of a batch do not
    influence each other. `nn.Module` provides everything except `initial_state` and `forward`.
    """

    training: bool

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first token, on the device of the parameters."""
        ...

    def __call__(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any, Any]:
        """The loss of a window: `forward`.

        Args:
            inputs: ids (T, B), int64.
            targets: the next ids (T, B).
            state: the result of `initial_state`, or the detached state after the window before.

        Returns:
            A tuple of three. `nats`: a scalar with a gradient, the negative log-likelihood in nats, summed over all
            T * B targets. `outputs`: the tensors that regularisers read, for example `Outputs` with `raw` and
            `dropped`, each (T, B, H); or None. `state`: the state after the window.
        """
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """See `nn.Module`."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """See `nn.Module`."""
        ...


class CompleteNetwork(Network, Protocol):
    """A network with all optional parts, such as `LanguageModel`. The parts, and the features that need them, are:

    * `token_nats`: tables of tokens and words, scores of texts.
    * `step`: generation and samples; also used if `token_nats` is missing.
    * `hidden` and `head`: the neural cache, the accuracy on training text (`training.train_accuracy`).
    * `stack`: features of texts, and single units that are followed or held at a value.
    * `axes` and `widths`: penalties, masks, targets and reports of sparsity.
    * `reset_before`: `training.state=reset-per-document`.
    """

    reset_before: int | None

    @property
    def head(self) -> Any:
        """The distribution over the next token, which implements the protocol `refrain.nn.Head`."""
        ...

    @property
    def stack(self) -> Any:
        """The recurrent layers, a `refrain.nn.RecurrentStack`, whose state is the state of the network."""
        ...

    def hidden(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        """Map ids (T, B) to outputs with `raw` and `dropped`, each (T, B, H), and the state after the window."""
        ...

    def token_nats(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The nats of each target (T, B), without a gradient, and the state after the window."""
        ...

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map ids (B,) to natural log-probabilities of the next tokens (B, V) and the state after them."""
        ...

    def axes(self) -> AxisTable:
        """The axes of every parameter."""
        ...

    def widths(self) -> dict[str, int]:
        """The size of every width."""
        ...


def check_has(given: object, *names: str) -> None:
    """Check that something is a network, or reads as one does, by names of its attributes.

    Args:
        given: the object, which may be a loaded model instead of its network.
        names: the attributes that are needed.

    Raises:
        UserError: when one is missing.
    """
    if not all(hasattr(given, name) for name in names):
        raise UserError(
            f"model: must be a network, such as lm.model of lm = refrain.load(run) (got {described(given)})"
        )


def device_of(network: Network) -> torch.device:
    """The device of the parameters of a network.

    Raises:
        UserError: when it is no network.
    """
    check_has(network, "parameters")
    return next(network.parameters()).device


def offers(network: object, part: str) -> bool:
    """Whether a network has an optional part.

    Args:
        network: any object.
        part: one of `PARTS`.
    """
    return _has(network, part)


def _has(network: object, part: str) -> bool:
    try:
        return hasattr(network, part)
    except Exception as error:
        # a property that fails
        raise UserError(
            f"model: {part} of {type(network).__name__} raised {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error


def part_of(network: object, part: str, purpose: str) -> Any:
    """Get an optional part of a network.

    Args:
        network: any object.
        part: one of `PARTS`.
        purpose: the feature that needs the part, as the subject of the sentence in the message.

    Raises:
        UserError: when the network does not have it.
    """
    if not _has(network, part):
        raise UserError(f"{purpose} needs a part that {type(network).__name__} does not have; add {PARTS[part]}")
    return getattr(network, part)


@torch.no_grad()
def token_nats(network: object, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The negative log-likelihood of each target, by `token_nats` of a network or, if it is missing, by `step`.

    Args:
        network: a network with at least one of the two methods; its mode is not changed.
        inputs: ids (T, B).
        targets: the next ids (T, B).
        state: the state before the window.

    Returns:
        Nats (T, B) and the state after the window.

    Raises:
        UserError: when the network has neither method.
    """
    if offers(network, "token_nats") or not offers(network, "step"):
        nats, state = part_of(network, "token_nats", "the loss of single tokens")(inputs, targets, state)
        return nats, state
    step = part_of(network, "step", "the loss of single tokens")
    costs = []
    for ids, following in zip(inputs, targets, strict=True):
        log_probabilities, state = step(ids, state)
        costs.append(-log_probabilities.gather(1, following[:, None])[:, 0])
    return torch.stack(costs), state
