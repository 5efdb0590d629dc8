"""A trained tagger with its vocabulary, as `refrain.load` returns it."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from refrain.arguments import at_least_one, text_of
from refrain.data import TagVocabulary
from refrain.data.tagged.buckets import Encoded
from refrain.data.tagged.sentences import Sentence
from refrain.data.tagged.tokenise import sentences_of
from refrain.errors import UserError, shown
from refrain.evaluation.tagging import TaggingFigure, figure_of, predict_with_probabilities
from refrain.models import Tagger, pack_tagger
from refrain.nn.kernels.packed_linear import WeightType, fingerprint, round_weights
from refrain.pictures.notebook import facts_html
from refrain.progress import Track, untracked

from .sizes import sizes_of
from .texts import words_of_sentences

NO_TAGS = np.zeros(0, np.int64)


class TrainedTagger:
    """A trained tagger, for tagging and evaluating sentences.

    Args:
        model: the tagger; it is switched to evaluation mode.
        vocabulary: the words, features and tags.
        config: the settings of the run, as plain data.
        folder: the checkpoint folder.
        column: the column of CoNLL-U for the tags.
        weights: `float32`, or `int8`, which rounds every matrix of the model, in place, to 127ths of the largest entry
            of each row. All results are then those of the rounded model.
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
        self._packed: tuple[list[tuple[int, int]], Tagger] | None = None
        self.vocabulary = vocabulary
        self.config = config
        self.folder = folder
        self.column = column

    def __getstate__(self) -> dict[str, Any]:
        # a pickle or a copy packs the weights again when it is first used
        return {**self.__dict__, "_packed": None}

    def __repr__(self) -> str:
        settings = self.config["model"]
        shape = f"{settings['cell']['kind']} {'-'.join(str(size) for size in settings['hidden_sizes'])}"
        sizes = f"{len(self.vocabulary.words):,} words, {len(self.vocabulary.tags)} tags"
        parameters = sum(each.numel() for each in self.model.parameters())
        return f"TrainedTagger({str(self.folder)!r}, {shape}, {sizes}, {parameters:,} parameters)"

    def _repr_html_(self) -> str:
        settings = self.config["model"]
        widths = "-".join(str(size) for size in (settings["embedding_size"], *settings["hidden_sizes"]))
        rows = [
            ("model", f"bidirectional {settings['cell']['kind']} {widths}"),
            ("words", f"{len(self.vocabulary.words):,}"),
            ("tags", f"{len(self.vocabulary.tags):,}"),
            ("trained on", str(self.config["data"]["corpus"])),
        ]
        return facts_html(f"Tagger {self.config['name']}", [*rows, *sizes_of(self.model, self.weights, self.folder)])

    @property
    def packed(self) -> Tagger:
        """The model with packed weights, which are packed again when the weights of the model have changed."""
        current = fingerprint(self.model)
        # several threads may pack at once; each returns one that is complete
        packed = self._packed
        if packed is None or packed[0] != current:
            packed = self._packed = (current, pack_tagger(self.model, weights=self.weights))
        return packed[1]

    def tag(self, sentences: Sequence[Sequence[str]], *, batch_size: int = 64) -> list[list[str]]:
        """Tag sentences.

        Args:
            sentences: the sentences, each a sequence of words; an empty sentence has no tags.
            batch_size: the number of sentences in a batch; it affects speed and memory, not the result.

        Raises:
            UserError: when a sentence is a string, whose words would be its characters, or something else that is no
                list of words.
        """
        found = self.tag_with_probabilities(sentences, batch_size=batch_size)
        return [[tag for tag, _ in words] for words in found]

    def tag_with_probabilities(
        self, sentences: Sequence[Sequence[str]], *, batch_size: int = 64
    ) -> list[list[tuple[str, float]]]:
        """Tag sentences, and give the probability of the tag of each word.

        Args:
            sentences: the sentences, each a sequence of words; an empty sentence has no tags.
            batch_size: the number of sentences in a batch; it affects speed and memory, not the result.

        Raises:
            UserError: when a sentence is a string, whose words would be its characters, or something else that is no
                list of words.
        """
        batch_size = at_least_one(batch_size, "batch_size")
        sentences = words_of_sentences(sentences)
        encoded = [Encoded(self.vocabulary.encode(words), NO_TAGS) for words in sentences if words]
        found = iter(predict_with_probabilities(self.packed, encoded, batch_size=batch_size))
        names = self.vocabulary.tags
        return [
            [(names[tag], float(probability)) for tag, probability in zip(*next(found), strict=True)] if words else []
            for words in sentences
        ]

    def stream(self, sentences: Iterable[Sequence[str]], *, batch_size: int = 64) -> Iterator[list[str]]:
        """Tag sentences from an iterator in batches, and yield their tags in the same order.

        Args:
            sentences: the sentences, each a sequence of words.
            batch_size: the number of sentences in a batch, which are read before the first of them is tagged.
        """
        batch_size = at_least_one(batch_size, "batch_size")
        if isinstance(sentences, str):
            words_of_sentences(sentences)
        waiting = iter(sentences)
        while batch := list(islice(waiting, batch_size)):
            yield from self.tag(batch, batch_size=batch_size)

    def tag_text(self, text: str) -> list[list[tuple[str, str]]]:
        """Split plain text into sentences and words and tag them. `refrain.data.tagged.tokenise` defines a word."""
        sentences = [[token.form for token in sentence] for sentence in sentences_of(text_of(text, "text").split("\n"))]
        return [list(zip(words, tags, strict=True)) for words, tags in zip(sentences, self.tag(sentences), strict=True)]

    def evaluate(
        self, sentences: Sequence[Sentence], *, batch_size: int = 64, track: Track = untracked
    ) -> TaggingFigure:
        """Measure the accuracy of the tagger.

        Args:
            sentences: the sentences; tags that do not occur in the training text count as errors.
            batch_size: the number of sentences in a batch; it affects speed and memory, not the result.
            track: reports the loop over the batches; see `refrain.progress`.

        Raises:
            UserError: when something is no `Sentence`, or has not one tag for each word. Empty ones are left out.
        """
        for sentence in sentences:
            if not isinstance(sentence, Sentence):
                raise UserError(
                    "sentences: each must be a Sentence of words and tags, as read_tagged of refrain.data returns "
                    f"them (got {shown(sentence)})"
                )
            if len(sentence.words) != len(sentence.tags):
                counts = f"{len(sentence.words)} and {len(sentence.tags)} of {shown(list(sentence.words))}"
                raise UserError(f"sentences: each needs one tag for each of its words (got {counts})")
        measured = [sentence for sentence in sentences if sentence.words]
        if not measured:
            raise UserError("sentences: there is no sentence with a word")
        return figure_of(self.packed, self.vocabulary, measured, batch_size=batch_size, track=track)
