"""Scores of many sequences at once by a model with int8 weights, with int8 matmuls.

T steps in a window, B batch size, M ids to score.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .stepper import Stepper


class IntegerScorer:
    """The scores of a stepper, several times as fast.

    The inputs of the matrix products of LSTMs and of the softmax are rounded to eight bits as well (see
    `refrain.nn.kernels.integer`), so nats differ a little from those of the stepper. Other layers and heads are those
    of the stepper, which a softmax in bands of words is as well. The nats of a sequence do not depend on the rest of
    the batch, bit for bit, if all layers are LSTMs and the head is a softmax that is not of low rank.

    Args:
        stepper: with int8 weights.

    Attributes:
        device: the device on which ids are expected.
    """

    def __init__(self, stepper: "Stepper") -> None:
        self._stepper = stepper
        self.device = stepper.device
        self._layers: list[Any] = [
            layer.in_integers() if hasattr(layer, "in_integers") else layer for layer in stepper.layers
        ]
        self._softmax = None if stepper.output is None else stepper.output.in_integers()

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """The state before the first token, with an entry for each layer."""
        return self._stepper.initial_state(batch_size)

    @torch.no_grad()
    def token_nats(self, inputs: Tensor, targets: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """The negative log-likelihood in nats of each target (T, B), and the state after the window."""
        outputs, state = self._stepper.through(self._layers, inputs, state)
        if self._softmax is None:
            return self._stepper.head_nats(outputs.dropped, targets), state
        hidden = outputs.dropped.flatten(0, 1)
        return self._softmax(hidden, torch.arange(len(hidden)), targets.flatten()).view(targets.shape), state

    @torch.no_grad()
    def following_nats(
        self, ids: Tensor, state: tuple[Any, ...], rows: Tensor, following: Tensor
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """The nats (M,) of ids that may follow each of a batch of sequences, and the state after it; see `Scorer`."""
        outputs, state = self._stepper.through(self._layers, ids[None], state)
        if self._softmax is None:
            return self._stepper.head_nats(outputs.dropped[0, rows], following), state
        return self._softmax(outputs.dropped[0], rows, following), state
