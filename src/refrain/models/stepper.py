"""A language model made ready to be read and written a token at a time, for one stream or thousands.

T steps in the window, B streams, V words in the vocabulary.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from refrain.nn import Embedding, LockedDropout, RecurrentStack, SoftmaxHead, VariationalDropout, fold_weight_norm
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
from refrain.nn.recurrent.protocol import cleared_state, scan_with_resets

from .language_model import LanguageModel, Outputs
from .network_stepper import NetworkStepper
from .protocol import Network

CHUNK_LOGITS = 8_000_000


class Stepper:
    """A snapshot of a model in evaluation mode that computes what the model does, each weight read once a token.

    Steps, windows and states are those of the model, and may be mixed with it. Dropout does nothing in evaluation and
    is left out; other modules in its places are applied. What there is no kernel for runs as the layer or head itself
    does: all of it on a GPU, in float64, or where there is no C++ compiler; layers other than LSTM, GRU and
    multiplicative LSTM; heads other than the softmax.

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
        self._on_embedded = _in_evaluation(snapshot.embedding_dropout)
        self._between = _in_evaluation(snapshot.stack.between)
        self._on_outputs = _in_evaluation(snapshot.output_dropout)
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
            state = cleared_state(state, ids != self.reset_before)
        x, after = self._on_embedded(self._embedding(ids)), []
        for index, (layer, before) in enumerate(zip(self._layers, state, strict=True)):
            x, layer_state = layer.step(self._between(x) if index else x, before)
            after.append(layer_state)
        x = self._on_outputs(x)
        if self._output is None:
            return self._head.log_probabilities(x), tuple(after)
        return log_softmax_(self._output(x)), tuple(after)

    @torch.no_grad()
    def hidden(self, inputs: Tensor, state: tuple[Any, ...]) -> tuple[Outputs, tuple[Any, ...]]:
        """ids (T, B) -> the last layer's outputs and the state after the window."""
        x, after = self._on_embedded(self._embedding(inputs)), []
        resets = None if self.reset_before is None else inputs == self.reset_before
        for index, (layer, before) in enumerate(zip(self._layers, state, strict=True)):
            x = self._between(x) if index else x
            if resets is None:
                x, layer_state = layer.window(x, before)
            else:
                x, layer_state = scan_with_resets(layer.window, x, before, resets)
            after.append(layer_state)
        return Outputs(x, self._on_outputs(x)), tuple(after)

    def read(self, inputs: Tensor, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """ids (T, B) -> the state after the window."""
        return self.hidden(inputs, state)[1]

    @torch.no_grad()
    def token_nats(self, inputs: Tensor, targets: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """The nats of each target (T, B) and the state after the window."""
        outputs, state = self.hidden(inputs, state)
        if self._output is None:
            return self._head.token_nats(outputs.dropped, targets), state
        size = max(1, CHUNK_LOGITS // self._output.matrix.rows)
        pairs = zip(outputs.dropped.flatten(0, 1).split(size), targets.flatten().split(size), strict=True)
        nats = [target_nats(self._output(rows), wanted) for rows, wanted in pairs]
        return torch.cat(nats).view(targets.shape), state


def stepper_of(
    model: Network | Stepper | NetworkStepper, *, weights: WeightType = "float32"
) -> Stepper | NetworkStepper:
    """A model that can be read a token at a time.

    Args:
        model: a language model, a network of one's own, or what this function has returned.
        weights: see `Stepper`. The weights of a network of one's own stay as they are.
    """
    if isinstance(model, LanguageModel) and _is_plain(model):
        return Stepper(model, weights=weights)
    return NetworkStepper(model) if isinstance(model, nn.Module) else cast("Stepper | NetworkStepper", model)


def _is_plain(model: LanguageModel) -> bool:
    """Whether a model computes what its class and that of its stack do; a subclass may compute something else."""
    names = ("hidden", "step", "token_nats", "initial_state")
    same = all(getattr(type(model), name) is getattr(LanguageModel, name) for name in names)
    return same and type(model.stack) is RecurrentStack


def _in_evaluation(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A module between layers as a function; dropout is left out, as calling it costs as much as a small matmul."""
    does_nothing = isinstance(module, nn.Identity | nn.Dropout | LockedDropout | VariationalDropout)
    return _same if does_nothing else module


def _same(x: Tensor) -> Tensor:
    return x


def _lookup(embedding: nn.Module) -> Callable[[Tensor], Tensor]:
    """Ids of any shape -> vectors; of a plain embedding in one operation, as all that a module does costs more."""
    if type(embedding) is Embedding:
        return functools.partial(torch.embedding, embedding.weight)
    return embedding
