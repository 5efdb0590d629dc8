"""Everything that decides a tagger's figures, as plain values."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .cells import LSTMCell, TaggerCell
from .embeddings import DenseEmbedding, TaggerEmbeddingLayout
from .heads import StandardInit, TaggerHead, TagSoftmax
from .network import Network
from .optimisation import Adam, Optimisation, TaggerOptimizer
from .text import Text
from .values import ByName, Count, FileName, NonNegative, Number, Positive, Settings, Share, Whole, Width


def _spelled(value: Any) -> Any:
    # data.column=3 is a number to the command line and to TOML
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Spelled = Annotated[str, BeforeValidator(_spelled)]
Folds = Annotated[int, Field(ge=3, le=100_000), Number]
Affix = Annotated[int, Field(ge=0, le=20), Number]


class TaggedData(Text):
    """The tagged corpus, and what of a word the tagger sees."""

    corpus: str = Field(
        "python-names",
        description="The name of a corpus, or the path of a folder or file of tagged sentences: CoNLL-U, columns as in "
        "CoNLL-2000, or token and tag separated by a tab.",
    )
    split: tuple[Share, Share] = Field(
        (0.8, 0.1),
        description="Fractions of a single file's sentences that are used for training and validation, in the order of "
        "the file; the rest is for testing. Not for a folder that has a file for each split.",
    )
    column: Spelled = Field(
        "auto",
        description="Column that holds the tags: in CoNLL-U its name, such as upos or xpos, or an attribute, such as "
        "misc:name or feats:Case; in other files its number, counted from 1. auto: upos, or the column after the "
        "words.",
    )
    word_column: Spelled = Field(
        "auto",
        description="Number of the column that holds the words, counted from 1; not for CoNLL-U. auto: the first, or "
        "the second where the first counts the words of each sentence.",
    )
    underscore: Literal["auto", "missing", "value"] = Field(
        "auto",
        description="What the tag _ means. missing: the word has no tag, and is left out of loss and accuracy; value: "
        "a tag like any other; auto: missing in the columns upos, xpos and deprel of CoNLL-U and in CoNLL-2009, "
        "otherwise a value.",
    )
    folds: Folds | None = Field(
        None,
        description="Cross-validation: the sentences of all files are dealt to this many parts; one is for testing, "
        "the next for validation, the others for training. Set by --folds.",
    )
    fold: Count = Field(1, description="Part that is for testing in a cross-validation, counted from 1.")
    fold_seed: Whole | None = Field(
        None, description="Seed by which a cross-validation deals the sentences to its parts; none: 1."
    )
    lower_case: bool = Field(
        False, description="Also learn a vector for the lower-cased form of each word, and add it to the word's vector."
    )
    prefixes: Affix = Field(0, description="Also learn vectors for prefixes of 1 up to this many characters; 0: none.")
    suffixes: Affix = Field(0, description="Also learn vectors for suffixes of 1 up to this many characters; 0: none.")
    shapes: bool = Field(False, description="Also learn vectors for word shapes, such as Xx for Word and d.d for 3.14.")
    feature_min_count: Count = Field(
        1,
        description="Lower-cased forms, prefixes, suffixes and shapes that fewer training words have share one vector.",
    )
    max_tokens: Count = Field(5000, description="Longest allowed sentence; a longer one is an error in the data.")
    skip_bad: bool = Field(False, description="Leave out and list sentences with errors, instead of stopping.")

    @model_validator(mode="after")
    def _folds(self) -> Self:
        if self.folds is None and (self.fold > 1 or self.fold_seed is not None):
            raise ValueError(f"{'fold' if self.fold > 1 else 'fold_seed'}: cannot take effect without folds")
        if self.folds is not None and self.fold > self.folds:
            raise ValueError(f"fold: must be at most folds, {self.folds} (got {self.fold})")
        return self

    @model_validator(mode="after")
    def _word_column(self) -> Self:
        if self.word_column != "auto" and not re.fullmatch(r"[1-9][0-9]{0,5}", self.word_column):
            raise ValueError(f"word_column: must be auto or a number from 1 on (got {self.word_column[:50]!r})")
        return self

    @model_validator(mode="after")
    def _features(self) -> Self:
        if self.feature_min_count > 1 and not self.features():
            raise ValueError("feature_min_count: cannot take effect without lower_case, prefixes, suffixes or shapes")
        return self

    def features(self) -> bool:
        """Whether the tagger sees more of a word than the word itself."""
        return bool(self.lower_case or self.prefixes or self.suffixes or self.shapes)


class TaggerModel(Network):
    """The shape of the network: word vectors, bidirectional layers and a distribution over tags."""

    embedding_size: Width = Field(100, description="Width of the word vectors.")
    hidden_sizes: Annotated[tuple[Width, ...], Field(min_length=1)] = Field(
        (100,), description="Width of each layer in each of the two directions, from the bottom up."
    )
    cell: TaggerCell = Field(LSTMCell(), description="The recurrent layer.")
    embedding: TaggerEmbeddingLayout = Field(
        DenseEmbedding(), description="Which entries of the word vectors are stored."
    )
    projection_size: Width | None = Field(
        None, description="Width of a tanh layer between the last recurrent layer and the tags; none: no such layer."
    )
    skip_connection: bool = Field(
        False,
        description="Whether the vector of a word, with its features, also reaches the tags directly: a matrix maps it "
        "to scores that are added to those of the recurrent layers.",
    )
    head: TaggerHead = Field(TagSoftmax(), description="The distribution over the tags.")
    init: Annotated[StandardInit, ByName] = Field(StandardInit(), description="How weights are initialised.")

    @model_validator(mode="after")
    def _single_sparse_layer(self) -> Self:
        if self.cell.kind == "sparse-lstm" and len(self.hidden_sizes) > 1:
            raise ValueError("cell: 'sparse-lstm' is for a single layer; give one number for hidden_sizes")
        return self


class TaggerTraining(Optimisation):
    """How the tagger's weights are trained. The loss is averaged over the words of a batch."""

    epochs: Count = Field(20, description="Passes over the training sentences.")
    batch_size: Count = Field(20, description="Sentences of similar length that are processed in parallel.")
    learning_rate: Positive = Field(0.001, description="Learning rate before the schedule is applied.")
    optimizer: TaggerOptimizer = Field(Adam(), description="The update rule.")
    best_by: Literal["accuracy", "f1"] = Field(
        "accuracy",
        description="Figure of the validation by which epochs are compared. f1: the F1 of the spans that tags such as "
        "B-PER and I-PER mark.",
    )
    unknown_rate: NonNegative = Field(
        0.25,
        description="In each epoch, a word that occurs c times in the training text is read as <unk> with probability "
        "unknown_rate / (unknown_rate + c), and those of its features that no other word has as <rare>.",
    )

    @model_validator(mode="after")
    def _stops_within_the_run(self) -> Self:
        self.check_window("stop_window", self.stop_window, remedy="give a smaller one or none")
        return self


class TaggerExperiment(Settings):
    """A tagger's run, complete."""

    task: Literal["tagger"] = Field(
        "tagger", description="What kind of run this is. A TOML file of a tagger that has no extends line sets it."
    )
    name: FileName = Field("experiment", description="Name of the run; a run folder without --out begins with it.")
    data: TaggedData = TaggedData()
    model: TaggerModel = TaggerModel()
    training: TaggerTraining = TaggerTraining()
