"""A recurrent language model: embedding, recurrent stack and head, with dropout between them.

Zaremba et al. (2014): dropout acts on the embedding's output, between layers and before the head, never on the
recurrent connection.

T steps in a window, B batch size, D embedding width, H width of the last layer, V words in the vocabulary.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from refrain.axes import AxisTable
from refrain.errors import UserError
from refrain.nn import (
    AdaptiveHead,
    BlockLowRankEmbedding,
    BlockLowRankHead,
    Embedding,
    LowRankHead,
    MixtureHead,
    RecurrentStack,
    SoftmaxHead,
    SparseEmbedding,
    SparseSoftmaxHead,
)
from refrain.nn.columns import present_part
from refrain.nn.given_module import module_or_identity
from refrain.nn.recurrent.resets import cleared_state

from .protocol import CompleteNetwork
from .widths import WidthNames, layer_widths, widths


class Outputs(NamedTuple):
    """The outputs of a window that regularisers read."""

    raw: Tensor  # (T, B, H): the output of the last layer
    dropped: Tensor  # (T, B, H): the same after dropout, which is the input of the head


class Loss(NamedTuple):
    """The loss of a window, its outputs and the state after it."""

    nats: Tensor  # scalar: the negative log-likelihood, summed over all T * B targets
    outputs: Outputs
    state: tuple[Any, ...]


class LanguageModel(nn.Module):
    """A model that predicts each token from the tokens before it.

    Args:
        embedding: maps token ids to vectors of width D.
        stack: the recurrent layers, with input width D.
        head: maps vectors of width H to the distribution over the next token; implements the protocol `Head`.
        embedding_dropout: applied to the embedded window (T, B, D).
        output_dropout: applied to the output of the last layer (T, B, H).
        reset_before: the id of the token before which the state is set to zero, so that documents are independent;
            None never resets the state.

    Raises:
        ValueError: when a dropout is no module.
    """

    def __init__(
        self,
        embedding: Embedding | SparseEmbedding | BlockLowRankEmbedding,
        stack: RecurrentStack,
        head: SoftmaxHead | SparseSoftmaxHead | LowRankHead | BlockLowRankHead | MixtureHead | AdaptiveHead,
        *,
        embedding_dropout: nn.Module | None = None,
        output_dropout: nn.Module | None = None,
        reset_before: int | None = None,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.embedding_dropout = module_or_identity("embedding_dropout", embedding_dropout)
        self.stack = stack
        self.output_dropout = module_or_identity("output_dropout", output_dropout)
        self.head = head
        self.reset_before = reset_before

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """The state before the first token, with an entry for each layer."""
        return self.stack.initial_state(batch_size)

    def hidden(self, inputs: Tensor, state: tuple[Any, ...]) -> tuple[Outputs, tuple[Any, ...]]:
        """Map ids (T, B) to the outputs of the last layer and the state after the window."""
        part = present_part()
        ids = inputs if part is None else part.inputs
        resets = None if self.reset_before is None else ids == self.reset_before
        raw, state = self.stack(self.embedding_dropout(self.embedding(inputs)), state, resets)
        return Outputs(raw, self.output_dropout(raw)), state

    def forward(self, inputs: Tensor, targets: Tensor, state: tuple[Any, ...]) -> Loss:
        """The loss of a window, with a gradient.

        Args:
            inputs: ids (T, B).
            targets: the next ids (T, B).
            state: the result of `initial_state`, or the state after the window before, detached by the caller.
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
        """Map ids (B,) to natural log-probabilities of the next tokens (B, V) and the state after them."""
        if self.reset_before is not None:
            state = cleared_state(state, ids != self.reset_before)
        x = self.embedding_dropout(self.embedding(ids))
        raw, state = self.stack.step(x, state)
        return self.head.log_probabilities(self.output_dropout(raw)), state

    def init_uniform(self, scale: float) -> None:
        """Draw every matrix and the bias of the head from U(-scale, scale), and set recurrent biases to 0.

        As in Zaremba et al. (2014, section 4.1) and the tutorial built on it. Changes the weights in place.
        """
        recurrent_biases = self._recurrent_biases()
        for name, parameter in self.named_parameters():
            nn.init.uniform_(parameter, -scale, scale)
            if name in recurrent_biases:
                nn.init.zeros_(parameter)

    def init_glorot(self, *, truncated: bool = False) -> None:
        """Draw all parameters, vectors included, from normal distributions of variance 2 / (inputs + outputs).

        As in the byte-level multiplicative LSTM of docs/coming-from/byte-mlstm.md. The matrix of each gate is a matrix
        of its own. A recurrent bias is treated as a matrix with one row; the gain of a weight norm and the bias of the
        head are treated as square matrices. Changes the weights in place.

        Args:
            truncated: draw again what is further from zero than twice the standard deviation, as TensorFlow 1 does;
                the standard deviation of what is left is 0.88 of that.
        """
        table = self.axes()
        recurrent_biases = self._recurrent_biases()
        for name, parameter in self.named_parameters():
            sizes = [length // axis.copies for length, axis in zip(parameter.shape, table[name], strict=True)]
            if len(sizes) == 1:
                sizes.append(1 if name in recurrent_biases else sizes[0])
            std = math.sqrt(2 / sum(sizes))
            if truncated:
                nn.init.trunc_normal_(parameter, std=std, a=-2 * std, b=2 * std)
            else:
                nn.init.normal_(parameter, std=std)

    def _recurrent_biases(self) -> set[str]:
        """The names of the parameters that the recurrent layers declare as biases."""
        self._check_declared()
        names = self.width_names()
        table = self.stack.axes(names.embedding, names.layers)
        return {f"stack.{name}" for name, axes in table.items() if axes[0].role == "shifts"}

    def _check_declared(self) -> None:
        for part in (self.embedding, *self.stack.layers, self.head):
            if not callable(getattr(part, "axes", None)):
                raise UserError(
                    f"{type(part).__name__} declares no axes, which sparsity, sizes and initialisation need; add a "
                    "method axes to it, see refrain.nn.RecurrentLayer"
                )

    def width_names(self) -> WidthNames:
        """The names of all widths: `vocabulary`, `embedding`, `layer0.hidden`, ...

        A tied head shares the name of the embedding's width. For a tied softmax, this is also the name of the hidden
        width of the last layer.
        """
        # an embedding or a head given by the user may have neither attribute
        tied = getattr(self.head, "tied_width", None)
        inner_widths = getattr(self.head, "inner_widths", ())
        ranks = {inner: f"embedding.{inner}" for inner in getattr(self.embedding, "inner_widths", ())}
        head = {inner: "embedding" if tied == inner else f"head.{inner}" for inner in inner_widths}
        return WidthNames(
            vocabulary="vocabulary",
            embedding="embedding",
            layers=layer_widths(list(self.stack.layers), last="embedding" if tied == "input" else None),
            head=head | ranks if tied is not None else head,
            embedding_inner=ranks,
        )

    def axes(self) -> AxisTable:
        """The axes of every parameter, with the names of `width_names`. A tied head has no weight of its own.

        Raises:
            UserError: when a part of the model declares no axes.
        """
        self._check_declared()
        names = self.width_names()
        embedding = self.embedding.axes(names.vocabulary, names.embedding, **names.embedding_inner)
        head = self.head.axes(names.layers[-1].hidden, names.vocabulary, **names.head)
        if getattr(self.head, "tied_width", None) is not None:
            # a projection of an embedding in bands is its own
            shared = [name for name in embedding if not name.startswith("projections.")]
            head = {name: axes for name, axes in head.items() if name != "weight" and name not in shared}
            embedding |= {name: tuple(axis._replace(role="both") for axis in embedding[name]) for name in shared}
        parts = {"embedding": embedding, "stack": self.stack.axes(names.embedding, names.layers), "head": head}
        return {f"{part}.{name}": axes for part, table in parts.items() for name, axes in table.items()}

    def widths(self) -> dict[str, int]:
        """The size of every width, after a check against the shapes of all parameters."""
        return widths(dict(self.named_parameters()), self.axes())


if TYPE_CHECKING:
    # the type checker verifies that the model implements the protocol
    _complete: type[CompleteNetwork] = LanguageModel
