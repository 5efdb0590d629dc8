"""A language model with packed weights for evaluation and generation, at batch size 1 or larger.

T steps in a window, B batch size, V tokens in the vocabulary.
"""

import bisect
import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from refrain.nn import (
    BlockLowRankEmbedding,
    Dropout,
    Embedding,
    LockedDropout,
    RecurrentStack,
    VariationalDropout,
    fold_weight_norm,
)
from refrain.nn.kernels.forking import one_thread_after_fork
from refrain.nn.kernels.integer import lanes
from refrain.nn.kernels.packed_linear import (
    WeightType,
    fingerprint,
    log_softmax_,
    round_weights,
    target_nats,
)
from refrain.nn.recurrent.packed import pack_layer, unpacked_names
from refrain.nn.recurrent.protocol import PackedLayer
from refrain.nn.recurrent.resets import cleared_state, scan_with_resets

from .integer_scorer import IntegerScorer
from .language_model import LanguageModel, Outputs
from .network_stepper import NetworkStepper
from .packed_head import PackedHead, pack_head
from .protocol import Network, check_has
from .scorer import Reader, Scorer
from .states import chooses_states

# the largest number of logits that are computed at once: memory for more is returned to the system each time
CHUNK_LOGITS = 1_000_000


class Stepper:
    """A copy of a model for evaluation, with packed weights, each of which is read once per token.

    It computes the same as the model in evaluation mode, and its states can be exchanged with those of the model.
    Dropout is left out; other modules between the layers are applied. The code of the layers and the head is used where
    no kernel exists: on a GPU, in float64, without a C++ compiler, for layers other than LSTM, GRU, multiplicative
    LSTM and sparse LSTM, and for heads other than the softmax, of low rank, in bands of words or neither.

    Args:
        model: the model, in training or evaluation mode; it is not changed.
        weights: `float32`, or `int8`, which rounds every matrix to 127ths of the largest entry of each row, so that a
            token reads a quarter of the memory.

    Attributes:
        model: the model that was copied.
        device: the device of the parameters, on which ids are expected.
    """

    def __init__(self, model: LanguageModel, *, weights: WeightType = "float32") -> None:
        one_thread_after_fork()
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
        self._output = pack_head(snapshot.head, weights)
        self._head: Any = snapshot.head if self._output is None else None

    def __reduce_ex__(self, protocol: Any) -> Any:
        # a pickle or a copy packs the weights of its own model, unless this stepper has older ones
        if self.is_current:
            return _stepper, (self.model, self.weights)
        return super().__reduce_ex__(protocol)

    def __getstate__(self) -> dict[str, Any]:
        # the layout of the scorer's integers is that of this processor, and it is made anew where it is needed
        return {name: value for name, value in self.__dict__.items() if name != "scorer"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # the copy of the model is at another address, where the weights of this stepper have never been
        self._seen = None, []

    @property
    def is_current(self) -> bool:
        """Whether the model still has the weights that were copied."""
        return self._seen == (self.model.reset_before, fingerprint(self.model))

    @property
    def unpacked(self) -> list[str]:
        """The names of the classes of layers and heads that no kernel computes, but their own code in float32."""
        return [*unpacked_names(self._layers), *([] if self._head is None else [type(self._head).__name__])]

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """The state before the first token, with an entry for each layer."""
        return self.model.initial_state(batch_size)

    @torch.no_grad()
    def step(self, ids: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """Map ids (B,) to natural log-probabilities of the next tokens (B, V) and the state after them.

        Raises:
            IndexError: when an id on a CPU is not in [0, V).
            ValueError: when ids are not integers (B,), or the state is of another model or batch size.
        """
        if not isinstance(ids, Tensor) or ids.ndim != 1 or ids.dtype not in (torch.int64, torch.int32):
            raise ValueError(f"ids must be a tensor (B,) of integers, got {_described(ids)}")
        if not isinstance(state, tuple) or len(state) != len(self._layers):
            raise ValueError("the state must be one of initial_state(batch_size), or one that step returned")
        scores, state = self.logits(ids, state)
        return scores if self._output is None else log_softmax_(scores), state

    @torch.no_grad()
    def logits(self, ids: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """`step` without the softmax, which a sampler does not need.

        The result (B, V) differs from log-probabilities by a number for each row; heads without packed weights return
        log-probabilities.
        """
        if self.reset_before is not None:
            state = cleared_state(state, ids != self.reset_before)
        x = self._on_embedded(self._embedding(ids))
        after = []
        for index, (layer, before) in enumerate(zip(self._layers, state, strict=True)):
            x, layer_state = layer.step(self._between(x) if index else x, before)
            after.append(layer_state)
        x = self._on_outputs(x)
        return self._head.log_probabilities(x) if self._output is None else self._output.step(x), tuple(after)

    @torch.no_grad()
    def hidden(self, inputs: Tensor, state: tuple[Any, ...]) -> tuple[Outputs, tuple[Any, ...]]:
        """Map ids (T, B) to the outputs of the last layer and the state after the window."""
        return self.through(self._layers, inputs, state)

    def through(
        self, layers: Sequence[PackedLayer], inputs: Tensor, state: tuple[Any, ...]
    ) -> tuple[Outputs, tuple[Any, ...]]:
        """`hidden` with other layers in the place of the packed ones."""
        x = self._on_embedded(self._embedding(inputs))
        after = []
        resets = None if self.reset_before is None else inputs == self.reset_before
        for index, (layer, before) in enumerate(zip(layers, state, strict=True)):
            x = self._between(x) if index else x
            if resets is None:
                x, layer_state = layer.window(x, before)
            else:
                x, layer_state = scan_with_resets(layer.window, x, before, resets)
            after.append(layer_state)
        return Outputs(x, self._on_outputs(x)), tuple(after)

    def read(self, inputs: Tensor, state: tuple[Any, ...]) -> tuple[Any, ...]:
        """Map ids (T, B) to the state after the window."""
        return self.hidden(inputs, state)[1]

    @torch.no_grad()
    def token_nats(self, inputs: Tensor, targets: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """The negative log-likelihood in nats of each target (T, B), and the state after the window."""
        outputs, state = self.hidden(inputs, state)
        return self.head_nats(outputs.dropped, targets), state

    @torch.no_grad()
    def head_nats(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The nats of targets (...) by the head, after outputs of the last layer (..., H)."""
        if self._output is None:
            nats: Tensor = self._head.token_nats(hidden, targets)
            return nats
        size = max(1, CHUNK_LOGITS // self._output.vocabulary_size)
        pairs = zip(hidden.flatten(0, -2).split(size), targets.flatten().split(size), strict=True)
        found = [target_nats(self._output(rows), ids) for rows, ids in pairs]
        return torch.cat(found).view(targets.shape)

    @torch.no_grad()
    def following_nats(
        self, ids: Tensor, state: tuple[Any, ...], rows: Tensor, following: Tensor
    ) -> tuple[Tensor, tuple[Any, ...]]:
        """The nats (M,) of ids that may follow each of a batch of sequences, and the state after it; see `Scorer`."""
        log_probabilities, state = self.step(ids, state)
        return -log_probabilities[rows, following], state

    @functools.cached_property
    def shares_prefixes(self) -> bool:
        """Whether states can be chosen by sequence; see `AnyStepper`."""
        return chooses_states(self)

    @functools.cached_property
    def scorer(self) -> Scorer:
        """What scores many sequences at once: this stepper, or one with int8 matmuls.

        It is an `IntegerScorer` for int8 weights where there are kernels for int8 matmuls.
        """
        return IntegerScorer(self) if self.weights == "int8" and lanes() else self

    @property
    def layers(self) -> Sequence[PackedLayer]:
        """The layers for inference."""
        return self._layers

    @property
    def output(self) -> PackedHead | None:
        """The packed head; None where the head's own code is used."""
        return self._output


def _described(ids: object) -> str:
    return f"{ids.dtype} of shape {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__


def _stepper(model: LanguageModel, weights: WeightType) -> Stepper:
    """A stepper that was pickled or copied."""
    return Stepper(model, weights=weights)


def stepper_of(model: Network | Reader, *, weights: WeightType = "float32") -> Stepper | NetworkStepper:
    """The stepper of a model: `Stepper` for a language model, `NetworkStepper` for another network.

    Args:
        model: a language model, another network, or a stepper, which is returned unchanged.
        weights: see `Stepper`; has no effect on other networks and on steppers.

    Raises:
        UserError: when it is none of these.
    """
    if isinstance(model, LanguageModel) and _is_plain(model):
        return Stepper(model, weights=weights)
    if isinstance(model, nn.Module):
        return NetworkStepper(model)
    check_has(model, "step", "device")
    return cast("Stepper | NetworkStepper", model)


def _is_plain(model: LanguageModel) -> bool:
    """Whether neither the model nor its stack is of a subclass that overrides the computation."""
    names = ("hidden", "step", "token_nats", "initial_state")
    same = all(getattr(type(model), name) is getattr(LanguageModel, name) for name in names)
    return same and type(model.stack) is RecurrentStack


def _in_evaluation(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """A module between layers in evaluation mode. Dropout becomes a plain function, as nn.Module calls take time."""
    # a subclass may do something
    does_nothing = type(module) in (nn.Identity, nn.Dropout, Dropout, LockedDropout, VariationalDropout)
    return _same if does_nothing else module


def _same(x: Tensor) -> Tensor:
    return x


def _lookup(embedding: nn.Module) -> Callable[[Tensor], Tensor]:
    """The lookup of vectors. Calls `torch.embedding` directly; nn.Module overhead is noticeable at batch size 1."""
    if type(embedding) is Embedding:
        return functools.partial(torch.embedding, embedding.weight)
    if type(embedding) is BlockLowRankEmbedding and embedding.blocks[0].device.type == "cpu":
        return functools.partial(_vectors, embedding)
    return embedding


def _vectors(embedding: BlockLowRankEmbedding, ids: Tensor) -> Tensor:
    """The vectors of ids; that of a single id is computed for its band alone."""
    if ids.numel() != 1:
        vectors: Tensor = embedding(ids)
        return vectors
    word = int(ids)
    index = bisect.bisect_right(embedding.bands, word, key=lambda band: band.start) - 1
    row: Tensor = embedding.blocks[index][word - embedding.bands[index].start]
    if str(index) in embedding.projections:
        row = torch.mv(embedding.projections[str(index)], row)
    return row.expand(*ids.shape, -1)
