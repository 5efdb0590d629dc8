"""A tagger: word embedding, bidirectional recurrent layers, and a distribution over the tags.

As in Demeester et al. (2018, section 4.2), whose network has one layer and a tanh layer before the tags.

T words in the longest sentence, B sentences in a batch, N words in the batch, F features of each word besides the word
itself, D embedding width, H hidden width of each direction, K tags.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn import Bidirectional, CharacterFeatures, ConditionalRandomField, Embedding, SparseEmbedding
from refrain.nn.given_module import module_or_identity
from refrain.nn.precision import widened

from .language_model import Loss, Outputs
from .widths import layer_widths, widths


class Prediction(NamedTuple):
    """What a tagger predicts for the words of a batch.

    Attributes:
        logits: unnormalised log-probabilities of the tags (N, K).
        tags: the predicted tags (N,): the best of each word, or those of the best sequence of each sentence with a
            conditional random field.
    """

    logits: Tensor
    tags: Tensor


class Tagger(nn.Module):
    """A model that assigns a tag to each word of a sentence.

    A batch is a tensor of ids (T, B, 1 + F): the id of each word, then the ids of its features. Word ids after the end
    of a sentence are negative.

    Args:
        embedding: maps word ids to vectors of width D.
        layers: the layers from the bottom up; the input width of each is twice the hidden width of the layer below.
        num_tags: K, the number of tags.
        features: maps feature ids to vectors that are added to the word vectors; None for words without features.
        projection_size: the width of a tanh layer before the tags; None for no tanh layer.
        crf: a conditional random field over the tags of a sentence; None for tags that are independent of each other.
        skip_connection: whether a matrix (K, D) maps the vector of a word, with its features, to scores of the tags
            that are added to those of the layers.
        embedding_dropout: applied to the word vectors (T, B, D).
        between: applied to the outputs (T, B, 2H) of every layer except the last.
        output_dropout: applied to the output of the last layer (T, B, 2H), and after the tanh layer.

    Raises:
        ValueError: when no layer is given, the widths of two neighbouring layers do not fit, `crf` has another number
            of tags, or a dropout is no module.
    """

    def __init__(
        self,
        embedding: Embedding | SparseEmbedding,
        layers: Sequence[Bidirectional],
        num_tags: int,
        *,
        features: CharacterFeatures | None = None,
        projection_size: int | None = None,
        crf: ConditionalRandomField | None = None,
        skip_connection: bool = False,
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
                raise ValueError(f"a layer has input width {layer.input_size}, but its input has width {below}")
            below = 2 * layer.hidden_size
        if crf is not None and crf.num_tags != num_tags:
            raise ValueError(f"the conditional random field has {crf.num_tags} tags, but the tagger has {num_tags}")
        self.embedding = embedding
        self.features = features
        self.embedding_dropout = module_or_identity("embedding_dropout", embedding_dropout)
        self.layers = nn.ModuleList(layers)
        self.between = module_or_identity("between", between)
        self.output_dropout = module_or_identity("output_dropout", output_dropout)
        self.projection = None if projection_size is None else nn.Linear(below, projection_size)
        self.output = nn.Linear(projection_size or below, num_tags)
        # the output has the bias of both
        self.skip = nn.Linear(embedding.embedding_size, num_tags, bias=False) if skip_connection else None
        self.crf = crf

    def initial_state(self, batch_size: int) -> tuple[Any, ...]:
        """An empty state, because sentences are independent."""
        return ()

    def hidden(self, inputs: Tensor) -> Outputs:
        """Map ids (T, B, 1 + F) to outputs (T, B, 2H) before and after dropout, which are undefined at padding."""
        return self._read(inputs)[1]

    def _read(self, inputs: Tensor) -> tuple[Tensor, Outputs]:
        """The vectors (T, B, D) of the words, after dropout, and the outputs of the last layer, as `hidden`."""
        words = inputs[..., 0]
        vectors = self.embedding(words.clamp(min=0))
        if self.features is not None:
            vectors = vectors + self.features(inputs[..., 1:])
        x = vectors = self.embedding_dropout(vectors)
        lengths = (words >= 0).sum(dim=0)
        for index, layer in enumerate(self.layers):
            x = layer(self.between(x) if index else x, lengths)
        return vectors, Outputs(x, self.output_dropout(x))

    def logits(self, inputs: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the tags of each word.

        With a conditional random field, they are the logarithms of the marginal probabilities: the sum over all tag
        sequences of the sentence that have this tag.

        Args:
            inputs: ids (T, B, 1 + F).

        Returns:
            (N, K): the first words of all sentences, then the second words, and so on.
        """
        scores = self._scores(inputs, *self._read(inputs))
        return scores if self.crf is None else self._marginals(self.crf, inputs, scores)

    def predict(self, inputs: Tensor) -> Prediction:
        """Predict the tags of a batch.

        Args:
            inputs: ids (T, B, 1 + F).

        Returns:
            The logits and the predicted tags, in the order of `logits`.
        """
        scores = self._scores(inputs, *self._read(inputs))
        if self.crf is None:
            return Prediction(scores, scores.argmax(dim=1))
        is_word = inputs[..., 0] >= 0
        tags = self.crf.best_tags(_by_step(scores, is_word), is_word.sum(dim=0))
        return Prediction(self._marginals(self.crf, inputs, scores), tags[is_word])

    def _marginals(self, crf: ConditionalRandomField, inputs: Tensor, scores: Tensor) -> Tensor:
        is_word = inputs[..., 0] >= 0
        return crf.marginals(_by_step(scores, is_word), is_word.sum(dim=0))[is_word]

    def _scores(self, inputs: Tensor, vectors: Tensor, outputs: Outputs) -> Tensor:
        is_word, x = inputs[..., 0] >= 0, outputs.dropped
        if self.projection is not None:
            x = self.output_dropout(self.projection(x).tanh())
        scores: Tensor = self.output(x[is_word])
        return scores if self.skip is None else scores + self.skip(vectors[is_word])

    def forward(self, inputs: Tensor, targets: Tensor, state: tuple[Any, ...] = ()) -> Loss:
        """The loss of a batch, with a gradient.

        Args:
            inputs: ids (T, B, 1 + F).
            targets: tags (N,), in the order of `logits`; words whose tag is -100 are left out of the loss.
            state: an empty state, the result of `initial_state`.
        """
        vectors, outputs = self._read(inputs)
        scores = self._scores(inputs, vectors, outputs)
        if self.crf is None:
            nats = nn.functional.cross_entropy(widened(scores), targets, reduction="sum")
        else:
            is_word = inputs[..., 0] >= 0
            nats = self.crf(_by_step(scores, is_word), is_word.sum(dim=0), _by_step(targets, is_word))
        return Loss(nats, outputs, state)

    def axes(self) -> AxisTable:
        """The axes of every parameter, with widths such as `vocabulary`, `embedding`, `layer0.hidden` and `tags`."""
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
        if self.skip is not None:
            weight = Axis("tags", removable=False), Axis("embedding", role="reads")
            parts["skip"] = {"weight": weight}
        if self.crf is not None:
            parts["crf"] = self.crf.axes("tags")
        return {f"{part}.{name}": axes for part, names in parts.items() for name, axes in names.items()}

    def widths(self) -> dict[str, int]:
        """The size of every width, after a check against the shapes of all parameters."""
        return widths(dict(self.named_parameters()), self.axes())


def _by_step(values: Tensor, is_word: Tensor) -> Tensor:
    """Arrange values (N, ...) of words by step and sentence (T, B, ...), with zeros after the ends of sentences."""
    table = values.new_zeros(*is_word.shape, *values.shape[1:])
    table[is_word] = values
    return table


def _linear_axes(above: str, below: str, copies: int, *, removable: bool = True) -> AxisTable:
    rows = Axis(above, removable=removable)
    return {"weight": (rows, Axis(below, copies, role="reads")), "bias": (rows._replace(role="shifts"),)}
