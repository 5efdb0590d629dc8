"""A recurrent language model: embedding, recurrent stack, head, and dropout in three places.

Zaremba et al. (2014): dropout acts on the embedding's output, between layers and before the head, never on the
recurrent connection.

T steps in the window, B sequences, D embedding width, H width of the last layer, V words in the vocabulary.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from refrain.axes import AxisTable
from refrain.errors import UserError
from refrain.nn import (
    AdaptiveHead,
    Embedding,
    MixtureHead,
    RecurrentStack,
    SoftmaxHead,
    SparseEmbedding,
    SparseSoftmaxHead,
)
from refrain.nn.recurrent.protocol import cleared_state

from .protocol import CompleteNetwork
from .widths import WidthNames, layer_widths, widths


class Outputs(NamedTuple):
    """What regularisers read of a window."""

    raw: Tensor  # (T, B, H): the last layer's output
    dropped: Tensor  # (T, B, H): the same after dropout, as the head saw it


class Loss(NamedTuple):
    """What a window of training gives."""

    nats: Tensor  # scalar: the sum over the window's T * B targets, with a gradient
    outputs: Outputs
    state: tuple[Any, ...]


class LanguageModel(nn.Module):
    """Predicts each token from those before it.

    Args:
        embedding: token ids to vectors of width D.
        stack: the recurrent layers; their input width is D.
        head: the distribution over the next token, from vectors of width H; keeps the protocol `Head`.
        embedding_dropout: applied to the embedded window (T, B, D).
        output_dropout: applied to the last layer's output (T, B, H).
        reset_before: the state is zero before each token with this id, so that nothing crosses from one document to
            the next; None lets the state run on.
    """

    def __init__(
        self,
        embedding: Embedding | SparseEmbedding,
        stack: RecurrentStack,
        head: SoftmaxHead | SparseSoftmaxHead | MixtureHead | AdaptiveHead,
        *,
        embedding_dropout: nn.Module | None = None,
        output_dropout: nn.Module | None = None,
        reset_before: int | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.embedding_dropout = embedding_dropout or nn.Identity()
        self.stack = stack
        self.output_dropout = output_dropout or nn.Identity()
        self.head = head
        self.reset_before = reset_before

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """The state before the first token, one entry a layer."""
        return self.stack.initial_state(batch_size)

    def hidden(self, inputs: Tensor, state: tuple[Any, ...]) -> tuple[Outputs, tuple[Any, ...]]:
        """ids (T, B) -> the last layer's outputs and the state after the window."""
        resets = None if self.reset_before is None else inputs == self.reset_before
        raw, state = self.stack(self.embedding_dropout(self.embedding(inputs)), state, resets)
        return Outputs(raw, self.output_dropout(raw)), state

    def forward(self, inputs: Tensor, targets: Tensor, state: tuple[Any, ...]) -> Loss:
        """The loss of a window, to be differentiated.

        Args:
            inputs: ids (T, B).
            targets: the ids that follow them (T, B).
            state: as from `initial_state`, or carried over and detached by the caller.
        """
        outputs, state = self.hidden(inputs, state)
        return Loss(self.head(outputs.dropped, targets), outputs, state)

    @torch.no_grad()
    def token_nats(self, inputs: Tensor, targets: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """The nats of each target (T, B), without a gradient, and the state after the window."""
        outputs, state = self.hidden(inputs, state)
        return self.head.token_nats(outputs.dropped, targets), state

    @torch.no_grad()
    def step(self, ids: Tensor, state: tuple[Any, ...]) -> tuple[Tensor, tuple[Any, ...]]:
        """One token of each sequence: ids (B,) -> natural log-probabilities of the next (B, V), and the state."""
        if self.reset_before is not None:
            state = cleared_state(state, ids != self.reset_before)
        x = self.embedding_dropout(self.embedding(ids))
        raw, state = self.stack.step(x, state)
        return self.head.log_probabilities(self.output_dropout(raw)), state

    def init_uniform(self, scale: float) -> None:
        """Draw every matrix and the head's bias from U(-scale, scale); recurrent biases become 0.

        As in Zaremba et al. (2014, section 4.1) and the tutorial built on it. Changes the weights in place.
        """
        recurrent_biases = self._recurrent_biases()
        for name, parameter in self.named_parameters():
            nn.init.uniform_(parameter, -scale, scale)
            if name in recurrent_biases:
                nn.init.zeros_(parameter)

    def init_glorot(self) -> None:
        """Draw everything from normal distributions of variance 2 / (inputs + outputs), vectors too.

        As in the byte-level multiplicative LSTM that this library took over. Each gate's matrix counts for itself; a
        recurrent bias counts as a matrix of one row, a weight norm's gain and the head's bias as square ones. Changes
        the weights in place.
        """
        table, recurrent_biases = self.axes(), self._recurrent_biases()
        for name, parameter in self.named_parameters():
            sizes = [length // axis.copies for length, axis in zip(parameter.shape, table[name], strict=True)]
            if len(sizes) == 1:
                sizes.append(1 if name in recurrent_biases else sizes[0])
            nn.init.normal_(parameter, std=math.sqrt(2 / sum(sizes)))

    def _recurrent_biases(self) -> set[str]:
        """The names of what the recurrent layers declare as biases."""
        self._check_declared()
        names = self.width_names()
        table = self.stack.axes(names.embedding, names.layers)
        return {f"stack.{name}" for name, axes in table.items() if axes[0].role == "shifts"}

    def _check_declared(self) -> None:
        for part in (self.embedding, *self.stack.layers, self.head):
            if not callable(getattr(part, "axes", None)):
                raise UserError(
                    f"{type(part).__name__} declares no axes, which sparsity, sizes and initialisation need; give it a "
                    "method axes, see refrain.nn.RecurrentLayer"
                )

    def width_names(self) -> WidthNames:
        """The names of all widths: `vocabulary`, `embedding`, `layer0.hidden`, ...

        A tied head shares the embedding's width by name. Under a tied softmax this is the last layer's hidden width.
        """
        # a head of one's own may have neither
        tied = getattr(self.head, "tied_width", None)
        inner_widths = getattr(self.head, "inner_widths", ())
        return WidthNames(
            vocabulary="vocabulary",
            embedding="embedding",
            layers=layer_widths(list(self.stack.layers), last="embedding" if tied == "input" else None),
            head={inner: "embedding" if tied == inner else f"head.{inner}" for inner in inner_widths},
        )

    def axes(self) -> AxisTable:
        """The axes of every parameter, under the names of `width_names`. A tied head has no weight of its own.

        Raises:
            UserError: when a part of one's own declares no axes.
        """
        self._check_declared()
        names = self.width_names()
        embedding = self.embedding.axes(names.vocabulary, names.embedding)
        head = self.head.axes(names.layers[-1].hidden, names.vocabulary, **names.head)
        if getattr(self.head, "tied_width", None) is not None:
            head.pop("weight", None)
            embedding = {name: tuple(axis._replace(role="both") for axis in axes) for name, axes in embedding.items()}
        parts = {"embedding": embedding, "stack": self.stack.axes(names.embedding, names.layers), "head": head}
        return {f"{part}.{name}": axes for part, table in parts.items() for name, axes in table.items()}

    def widths(self) -> dict[str, int]:
        """The size of every width, checked against the shapes of all parameters."""
        return widths(dict(self.named_parameters()), self.axes())


if TYPE_CHECKING:
    # the type checker holds the model to the protocol
    _complete: type[CompleteNetwork] = LanguageModel
