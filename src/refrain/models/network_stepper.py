"""A network of one's own, read and written a token at a time by its own methods.

T steps in the window, B sequences, V words in the vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from .modes import evaluating
from .protocol import Network, offers, part_of, token_nats


class NetworkStepper:
    """A network's own steps and windows in evaluation mode, under the methods of `Stepper`.

    It is used for networks that are not a `LanguageModel`, and for subclasses of it that compute something else. A part
    that the network does not offer raises an error when it is needed.

    Args:
        model: keeps the protocol `Network`; its mode and its weights stay.

    Attributes:
        model: the network.
        device: where ids are taken.
        is_current: whether the network has the weights that are read; always.
    """

    is_current = True

    def __init__(self, model: Network) -> None:
        self.model = model
        self.device = next(model.parameters()).device

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first token."""
        return self.model.initial_state(batch_size)

    @torch.no_grad()
    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One token of each stream: ids (B,) -> natural log-probabilities of the next (B, V), and the state.

        Raises:
            UserError: when the network has no `step`.
        """
        step = part_of(self.model, "step", "generating text")
        with evaluating(self.model):
            log_probabilities, state = step(ids, state)
        return log_probabilities, state

    @torch.no_grad()
    def hidden(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        """ids (T, B) -> the network's outputs and the state after the window.

        Raises:
            UserError: when the network has no `hidden`.
        """
        hidden = part_of(self.model, "hidden", "what a network holds of a text")
        with evaluating(self.model):
            outputs, state = hidden(inputs, state)
        return outputs, state

    def read(self, inputs: Tensor, state: Any) -> Any:
        """ids (T, B) -> the state after the window.

        Raises:
            UserError: when the network has neither `hidden` nor `step`.
        """
        if offers(self.model, "hidden"):
            return self.hidden(inputs, state)[1]
        for ids in inputs:
            _, state = self.step(ids, state)
        return state

    def token_nats(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The nats of each target (T, B) and the state after the window.

        Raises:
            UserError: when the network has neither `token_nats` nor `step`.
        """
        with evaluating(self.model):
            return token_nats(self.model, inputs, targets, state)
