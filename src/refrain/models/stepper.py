"""A language model made ready to be read and written a token at a time, for one stream or thousands.

T steps in the window, B streams, V words in the vocabulary.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from refrain.nn import Embedding, SoftmaxHead, fold_weight_norm
from refrain.nn.kernels.packed_linear import (
    PackedLinear,
    WeightType,
    fingerprint,
    has_stepper,
    log_softmax_,
    round_weights,
    target_nats,
)
from refrain.nn.recurrent.packed import pack_layer
from refrain.nn.recurrent.protocol import scan_with_resets, state_like, state_tensors

from .language_model import LanguageModel, Outputs

CHUNK_LOGITS = 8_000_000


class Stepper:
    """A snapshot of a model in evaluation mode that computes what the model does, each weight read once a token.

    Steps, windows and states are those of the model, and may be mixed with it. Dropout does nothing in evaluation and
    is left out. What there is no kernel for runs as the layer or head itself does: all of it on a GPU, in float64, or
    where there is no C++ compiler; layers other than LSTM, GRU and multiplicative LSTM; heads other than the softmax.

    Args:
        model: its weights are copied as they are now, in whatever mode it is.
        weights: `float32`, or `int8`, which rounds every matrix to 127ths of the largest entry of each row; a quarter
            of the memory is read.

    Attributes:
        model: the one it was made of.
        device: where ids are taken.
    """

    def __init__(self, model: LanguageModel, *, weights: WeightType = "float32") -> None:
        self._seen = model.reset_before, fingerprint(model)
        snapshot = copy.deepcopy(model).eval().requires_grad_(False)
        fold_weight_norm(snapshot)
        if weights == "int8":
            round_weights(snapshot)
        self.model, self.weights = model, weights
        self.device = next(snapshot.parameters()).device
        self.reset_before = model.reset_before
        self._embedding = _lookup(snapshot.embedding)
        self._layers = [pack_layer(layer, weights) for layer in snapshot.stack.layers]
        self._head: Any = snapshot.head
        self._output: PackedLinear | None = None
        if type(snapshot.head) is SoftmaxHead and has_stepper(snapshot.head.weight):
            self._output = PackedLinear(snapshot.head.weight, snapshot.head.bias, weights)
            self._head = None

    @property
    def is_current(self) -> bool:
        """Whether the model still has the weights that were copied."""
        return self._seen == (self.model.reset_before, fingerprint(self.model))

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """The state before the first token, one entry a layer."""
        return self.model.initial_state(batch_size)

    @torch.no_grad()
    def step(self, ids: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """One token of each stream: ids (B,) -> natural log-probabilities of the next (B, V), and the state."""
        if self.reset_before is not None:
            kept = (ids != self.reset_before)[:, None]
            state = state_like(state, [part * kept for part in state_tensors(state)])
        x, after = self._embedding(ids), []
        for layer, before in zip(self._layers, state, strict=True):
            x, layer_state = layer.step(x, before)
            after.append(layer_state)
        if self._output is None:
            return self._head.log_probabilities(x), tuple(after)
        return log_softmax_(self._output(x)), tuple(after)

    @torch.no_grad()
    def hidden(self, inputs: Tensor, state: tuple[Any, ...]) -> tuple[Outputs, tuple[Any, ...]]:
        """ids (T, B) -> the last layer's outputs and the state after the window."""
        x, after = self._embedding(inputs), []
        resets = None if self.reset_before is None else inputs == self.reset_before
        for layer, before in zip(self._layers, state, strict=True):
            if resets is None:
                x, layer_state = layer.window(x, before)
            else:
                x, layer_state = scan_with_resets(layer.window, x, before, resets)
            after.append(layer_state)
        return Outputs(x, x), tuple(after)

    @torch.no_grad()
    def token_nats(self, inputs: Tensor, targets: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """The nats of each target (T, B) and the state after the window."""
        outputs, state = self.hidden(inputs, state)
        if self._output is None:
            return self._head.token_nats(outputs.raw, targets), state
        size = max(1, CHUNK_LOGITS // self._output.matrix.rows)
        pairs = zip(outputs.raw.flatten(0, 1).split(size), targets.flatten().split(size), strict=True)
        nats = [target_nats(self._output(rows), wanted) for rows, wanted in pairs]
        return torch.cat(nats).view(targets.shape), state


def stepper_of(model: LanguageModel | Stepper) -> Stepper:
    """A model made ready, unless it is already."""
    return Stepper(model) if isinstance(model, LanguageModel) else model


def _lookup(embedding: nn.Module) -> Callable[[Tensor], Tensor]:
    """Ids of any shape -> vectors; of a plain embedding in one operation, as all that a module does costs more."""
    if type(embedding) is Embedding:
        return functools.partial(torch.embedding, embedding.weight)
    return embedding
