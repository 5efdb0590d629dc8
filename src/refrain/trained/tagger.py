"""A trained tagger with its vocabulary: what `refrain.load` returns of a tagger's run."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from refrain.data import TagVocabulary
from refrain.data.tagged.buckets import Encoded
from refrain.data.tagged.sentences import Sentence
from refrain.data.tagged.tokenise import sentences_of
from refrain.evaluation.tagging import TaggingFigure, figure_of, predict_tags
from refrain.models import Tagger, prepare_tagger
from refrain.nn.kernels.packed_linear import WeightType, fingerprint, round_weights

NO_TAGS = np.zeros(0, np.int64)


class TrainedTagger:
    """A model that gives words tags.

    Args:
        model: in evaluation mode from here on.
        vocabulary: its words, features and tags.
        config: the settings it was trained with, as plain data.
        folder: where it was loaded from.
        column: the column of CoNLL-U that its tags belong in.
        weights: `int8` rounds every matrix of the model, in place, to 127ths of the largest entry of each row; all
            figures are then those of the rounded model.
    """

    def __init__(
        self,
        model: Tagger,
        vocabulary: TagVocabulary,
        config: dict[str, Any],
        folder: Path,
        column: str = "upos",
        *,
        weights: WeightType = "float32",
    ) -> None:
        if weights == "int8":
            round_weights(model)
        self.model = model.eval()
        self.weights = weights
        self._prepared: tuple[list[tuple[int, int]], Tagger] | None = None
        self.vocabulary = vocabulary
        self.config = config
        self.folder = folder
        self.column = column

    def __repr__(self) -> str:
        settings = self.config["model"]
        shape = f"{settings['cell']['kind']} {'-'.join(str(size) for size in settings['hidden_sizes'])}"
        return f"TrainedTagger({str(self.folder)!r}, {shape}, {len(self.vocabulary.tags)} tags)"

    @property
    def prepared(self) -> Tagger:
        """The model made ready to read sentences; made anew after its weights have changed."""
        seen = fingerprint(self.model)
        if self._prepared is None or self._prepared[0] != seen:
            self._prepared = seen, prepare_tagger(self.model, weights=self.weights)
        return self._prepared[1]

    def tag(self, sentences: Sequence[Sequence[str]], *, batch_size: int = 64) -> list[list[str]]:
        """The tags of sentences.

        Args:
            sentences: each a sequence of words; an empty one has no tags.
            batch_size: sentences side by side; decides speed and memory, not the result.

        Raises:
            ValueError: when a sentence is a string, whose words would be its characters.
        """
        if any(isinstance(sentence, str) for sentence in sentences):
            raise ValueError("a sentence is a list of words; split a string first, or use tag_text")
        encoded = [Encoded(self.vocabulary.encode(words), NO_TAGS) for words in sentences if len(words)]
        found = iter(predict_tags(self.prepared, encoded, batch_size=batch_size))
        return [[self.vocabulary.tags[index] for index in next(found)] if len(words) else [] for words in sentences]

    def stream(self, sentences: Iterable[Sequence[str]], *, batch_size: int = 64) -> Iterator[list[str]]:
        """The tags of sentences as they come, in the same order.

        Args:
            sentences: each a sequence of words.
            batch_size: so many are read ahead.
        """
        waiting = iter(sentences)
        while some := list(islice(waiting, batch_size)):
            yield from self.tag(some, batch_size=batch_size)

    def tag_text(self, text: str) -> list[list[tuple[str, str]]]:
        """Plain text as sentences of words with their tags; see `refrain.data.tagged.tokenise` for what a word is."""
        sentences = [[token.form for token in sentence] for sentence in sentences_of(text.split("\n"))]
        return [list(zip(words, tags, strict=True)) for words, tags in zip(sentences, self.tag(sentences), strict=True)]

    def evaluate(self, sentences: Sequence[Sentence], *, batch_size: int = 64) -> TaggingFigure:
        """How well sentences are tagged.

        Args:
            sentences: with tags that the vocabulary holds.
            batch_size: sentences side by side; decides speed and memory, not the result.
        """
        return figure_of(self.prepared, self.vocabulary, sentences, batch_size=batch_size)
