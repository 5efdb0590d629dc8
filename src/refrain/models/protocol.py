"""What a language model has to offer to be trained, evaluated and read, so that a network of one's own can be, too.

`Network` is all that training, resuming and the exact protocols of evaluation need. `CompleteNetwork` adds the parts
that single features need; each is optional, and a feature whose part is missing says so in one line.

T steps in the window, B sequences, V words in the vocabulary, H width of the last layer.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from refrain.axes import AxisTable
from refrain.errors import UserError

PARTS = {
    "token_nats": "token_nats(inputs, targets, state) -> nats (T, B) and the state",
    "step": "step(ids (B,), state) -> log-probabilities (B, V) and the state",
    "hidden": "hidden(inputs, state) -> outputs with raw and dropped (T, B, H), and the state",
    "head": "head, which keeps the protocol refrain.nn.Head",
    "stack": "stack, a refrain.nn.RecurrentStack",
    "axes": "axes() -> the axes of every parameter",
    "widths": "widths() -> the size of every width",
    "reset_before": "reset_before, the id before which the state is zero",
}
"""Optional parts of a network, with their signatures."""


class Network(Protocol):
    """A language model as training and evaluation use it: an `nn.Module` with a state that is passed and never kept.

    The state is a tensor, or tensors in tuples or NamedTuples, nested as you like; `()` for a network without a state.
    Its shapes are those of `initial_state`. In evaluation mode the network is deterministic and the sequences of a
    batch do not influence each other. `nn.Module` provides everything but `initial_state` and `forward`.
    """

    training: bool

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first token of `batch_size` sequences, on the device of the parameters."""
        ...

    def __call__(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any, Any]:
        """The loss of a window: `forward`.

        Args:
            inputs: ids (T, B), int64.
            targets: the ids that follow them (T, B).
            state: as from `initial_state`, or that of the window before, without its history.

        Returns:
            Three things. `nats`: a scalar with a gradient, the negative log-likelihood summed over all T * B targets,
            in natural logarithms. `outputs`: what regularisers read, for example `Outputs` with `raw` and `dropped`,
            each (T, B, H); None if there is nothing. `state`: the state after the window.
        """
        ...

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Of `nn.Module`."""
        ...

    def modules(self) -> Iterator[nn.Module]:
        """Of `nn.Module`."""
        ...


class CompleteNetwork(Network, Protocol):
    """A network with every optional part, as `LanguageModel` has them. The parts and what needs them are:

    * `token_nats`: tables of tokens and words, scores of texts.
    * `step`: generation and samples; also replaces a missing `token_nats`.
    * `hidden` and `head`: the neural cache, the accuracy on training text (`training.train_accuracy`).
    * `stack`: features of texts, single units that are followed or held.
    * `axes` and `widths`: penalties, masks and targets of sparsity, reports.
    * `reset_before`: `training.state=reset-per-document`.
    """

    reset_before: int | None

    @property
    def head(self) -> Any:
        """The distribution over the next token; keeps the protocol `refrain.nn.Head`."""
        ...

    @property
    def stack(self) -> Any:
        """The recurrent layers, a `refrain.nn.RecurrentStack`, whose states are the network's."""
        ...

    def hidden(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        """ids (T, B) -> outputs with `raw` and `dropped`, each (T, B, H), and the state after the window."""
        ...

    def token_nats(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The nats of each target (T, B), without a gradient, and the state after the window."""
        ...

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token of each sequence: ids (B,) -> natural log-probabilities of the next (B, V), and the state."""
        ...

    def axes(self) -> AxisTable:
        """The axes of every parameter, under the names of the widths."""
        ...

    def widths(self) -> dict[str, int]:
        """The size of every width."""
        ...


def offers(network: object, part: str) -> bool:
    """Whether a network has an optional part.

    Args:
        network: any.
        part: one of `PARTS`.
    """
    return hasattr(network, part)


def part_of(network: object, part: str, purpose: str) -> Any:
    """An optional part of a network.

    Args:
        network: any.
        part: one of `PARTS`.
        purpose: what needs it, for the message: the subject of a sentence.

    Raises:
        UserError: when the network does not have it.
    """
    if not hasattr(network, part):
        raise UserError(f"{purpose} needs a part that {type(network).__name__} does not have: {PARTS[part]}")
    return getattr(network, part)


@torch.no_grad()
def token_nats(network: object, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
    """The nats of each target by a network's `token_nats`, or else by its steps, in whatever mode it is.

    Args:
        network: that offers one of the two.
        inputs: ids (T, B).
        targets: the ids that follow them (T, B).
        state: before the window.

    Returns:
        Nats (T, B) and the state after the window.

    Raises:
        UserError: when the network offers neither.
    """
    if offers(network, "token_nats") or not offers(network, "step"):
        nats, state = part_of(network, "token_nats", "the cost of single tokens")(inputs, targets, state)
        return nats, state
    step = part_of(network, "step", "the cost of single tokens")
    costs = []
    for ids, following in zip(inputs, targets, strict=True):
        log_probabilities, state = step(ids, state)
        costs.append(-log_probabilities.gather(1, following[:, None])[:, 0])
    return torch.stack(costs), state
