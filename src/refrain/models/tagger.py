"""A tagger: word vectors, recurrent layers that run both ways, a distribution over tags for each word.

As in Demeester et al. (2018, section 4.2), whose network has one layer and a tanh layer before the tags.

T words of the longest sentence, B sentences, N words in all of them, F features a word beside the word itself,
D embedding width, H hidden width of each direction, K tags.
"""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn import Bidirectional, CharacterFeatures, Embedding, SparseEmbedding

from .language_model import Loss, Outputs
from .widths import layer_widths, widths


class Tagger(nn.Module):
    """Gives each word of a sentence a tag.

    A batch is one tensor of ids (T, B, 1 + F): the word, then its features. After the end of a sentence the word is
    padding, which is any negative number.

    Args:
        embedding: word ids to vectors of width D.
        layers: from the bottom up; the input width of one is twice the hidden width of the one below.
        num_tags: K.
        features: what is added to the word vectors; None where words are all there is.
        projection_size: width of a tanh layer before the tags; None for no such layer.
        embedding_dropout: applied to the word vectors (T, B, D).
        between: applied to the outputs (T, B, 2H) of every layer but the last.
        output_dropout: applied to the last layer's output (T, B, 2H), and after the tanh layer.

    Raises:
        ValueError: when there is no layer, or two neighbours do not fit.
    """

    def __init__(
        self,
        embedding: Embedding | SparseEmbedding,
        layers: Sequence[Bidirectional],
        num_tags: int,
        *,
        features: CharacterFeatures | None = None,
        projection_size: int | None = None,
        embedding_dropout: nn.Module | None = None,
        between: nn.Module | None = None,
        output_dropout: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not layers:
            raise ValueError("Tagger needs at least one layer")
        below = embedding.embedding_size
        for layer in layers:
            if layer.input_size != below:
                raise ValueError(f"a layer of input width {layer.input_size} cannot stand on one of width {below}")
            below = 2 * layer.hidden_size
        self.embedding = embedding
        self.features = features
        self.embedding_dropout = embedding_dropout or nn.Identity()
        self.layers = nn.ModuleList(layers)
        self.between = between or nn.Identity()
        self.output_dropout = output_dropout or nn.Identity()
        self.projection = None if projection_size is None else nn.Linear(below, projection_size)
        self.output = nn.Linear(projection_size or below, num_tags)

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """Nothing: every sentence begins anew."""
        return ()

    def hidden(self, inputs: Tensor) -> Outputs:
        """ids (T, B, 1 + F) -> the last layer's output (T, B, 2H) before and after dropout; padding has no meaning."""
        words = inputs[..., 0]
        vectors = self.embedding(words.clamp(min=0))
        if self.features is not None:
            vectors = vectors + self.features(inputs[..., 1:])
        x, lengths = self.embedding_dropout(vectors), (words >= 0).sum(dim=0)
        for index, layer in enumerate(self.layers):
            x = layer(self.between(x) if index else x, lengths)
        return Outputs(x, self.output_dropout(x))

    def logits(self, inputs: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the tags.

        Args:
            inputs: ids (T, B, 1 + F).

        Returns:
            (N, K): all first words of the sentences, then all second ones, and so on.
        """
        return self._logits(inputs, self.hidden(inputs))

    def _logits(self, inputs: Tensor, outputs: Outputs) -> Tensor:
        x = outputs.dropped
        if self.projection is not None:
            x = self.output_dropout(self.projection(x).tanh())
        return cast(Tensor, self.output(x[inputs[..., 0] >= 0]))

    def forward(self, inputs: Tensor, targets: Tensor, state: tuple[Any, ...] = ()) -> Loss:
        """The loss of a batch, to be differentiated.

        Args:
            inputs: ids (T, B, 1 + F).
            targets: tags (N,), in the order of `logits`.
            state: nothing, as from `initial_state`.
        """
        outputs = self.hidden(inputs)
        nats = nn.functional.cross_entropy(self._logits(inputs, outputs), targets, reduction="sum")
        return Loss(nats, outputs, state)

    def axes(self) -> AxisTable:
        """The axes of every parameter. Widths: `vocabulary`, `features`, `embedding`, `layer0.hidden`, ..., `tags`."""
        parts = {"embedding": self.embedding.axes("vocabulary", "embedding")}
        if self.features is not None:
            parts["features"] = self.features.axes("features", "embedding")
        below, copies = "embedding", 1
        layers = cast("list[Bidirectional]", list(self.layers))
        for index, (layer, names) in enumerate(zip(layers, layer_widths(layers), strict=True)):
            parts[f"layers.{index}"] = layer.axes(below, names.hidden, copies, **names.inner)
            below, copies = names.hidden, 2
        if self.projection is not None:
            parts["projection"] = _linear_axes("projection", below, copies)
            below, copies = "projection", 1
        parts["output"] = _linear_axes("tags", below, copies, removable=False)
        return {f"{part}.{name}": axes for part, names in parts.items() for name, axes in names.items()}

    def widths(self) -> dict[str, int]:
        """The size of every width, checked against the shapes of all parameters."""
        return widths(dict(self.named_parameters()), self.axes())


def _linear_axes(above: str, below: str, copies: int, *, removable: bool = True) -> AxisTable:
    rows = Axis(above, removable=removable)
    return {"weight": (rows, Axis(below, copies, role="reads")), "bias": (rows._replace(role="shifts"),)}
