"""Evaluation and generation with a network given by the user, through its own methods.

T steps in a window, B batch size, V tokens in the vocabulary.
"""

from typing import Any

import torch
from torch import Tensor

from refrain.nn.kernels.forking import one_thread_after_fork

from .modes import evaluating
from .protocol import Network, device_of, offers, part_of, token_nats


class NetworkStepper:
    """The methods of `Stepper` for any network, which is called in evaluation mode.

    It is used for networks that are no `LanguageModel`, and for subclasses of it that override its computation. A
    method raises if the network lacks the part that it needs.

    Args:
        model: a network that implements the protocol `Network`; its mode and its weights are not changed.

    Attributes:
        model: the network.
        device: the device of the parameters, on which ids are expected.
        is_current: always True, because the weights of the network are not copied.
    """

    is_current = True

    def __init__(self, model: Network) -> None:
        one_thread_after_fork()
        self.model = model
        self.device = device_of(model)

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first token."""
        return self.model.initial_state(batch_size)

    @torch.no_grad()
    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Map ids (B,) to natural log-probabilities of the next tokens (B, V) and the state after them.

        Raises:
            UserError: when the network has no `step`.
        """
        step = part_of(self.model, "step", "generating text")
        with evaluating(self.model):
            log_probabilities, state = step(ids, state)
        return log_probabilities, state

    def following_nats(self, ids: Tensor, state: Any, rows: Tensor, following: Tensor) -> tuple[Tensor, Any]:
        """The nats of ids that may follow each of a batch of sequences, and the state after it; see `Scorer`.

        Raises:
            UserError: when the network has no `step`.
        """
        log_probabilities, state = self.step(ids, state)
        return -log_probabilities[rows, following], state

    @property
    def scorer(self) -> "NetworkStepper":
        """This object; see `Stepper`."""
        return self

    @property
    def shares_prefixes(self) -> bool:
        """False, because a network may have no `step`, or states of any form; see `AnyStepper`."""
        return False

    @torch.no_grad()
    def hidden(self, inputs: Tensor, state: Any) -> tuple[Any, Any]:
        """Map ids (T, B) to the outputs of the network and the state after the window.

        Raises:
            UserError: when the network has no `hidden`.
        """
        hidden = part_of(self.model, "hidden", "reading the hidden states of a network")
        with evaluating(self.model):
            outputs, state = hidden(inputs, state)
        return outputs, state

    def read(self, inputs: Tensor, state: Any) -> Any:
        """Map ids (T, B) to the state after the window.

        Raises:
            UserError: when the network has neither `hidden` nor `step`.
        """
        if offers(self.model, "hidden"):
            return self.hidden(inputs, state)[1]
        for ids in inputs:
            _, state = self.step(ids, state)
        return state

    def token_nats(self, inputs: Tensor, targets: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The negative log-likelihood in nats of each target (T, B), and the state after the window.

        Raises:
            UserError: when the network has neither `token_nats` nor `step`.
        """
        with evaluating(self.model):
            return token_nats(self.model, inputs, targets, state)
