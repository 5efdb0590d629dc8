"""Everything that decides a tagger's figures, as plain values."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .computation import Computation
from .experiment import Schedule
from .values import Count, Density, NonNegative, Number, Positive, Rate, Settings, Share, Whole, Width

Affix = Annotated[int, Field(ge=0, le=20), Number]


class TaggedData(Settings):
    """The tagged corpus, and what of a word the tagger sees."""

    corpus: str = Field(
        "python-names",
        description="a corpus by name, or the path of a folder or file of tagged sentences: CoNLL-U, CoNLL-2000 style "
        "columns, or token and tag with a tab between them",
    )
    column: str = Field(
        "auto",
        description="where the tags stand: a column of CoNLL-U by name, such as upos or xpos, or in any other file its "
        "number, counted from 1; auto is upos, or else the second column",
    )
    split: tuple[Share, Share] = Field(
        (0.8, 0.1),
        description="shares of a single file's sentences that are train and valid, in the order of the text; the rest "
        "is test. Not for a folder of splits",
    )
    order: Literal["descending", "ascending", "first-seen", "random"] = Field(
        "descending", description="order of word ids by frequency in the training text"
    )
    order_seed: Whole | None = Field(None, description="of the random order; 1 if not given")
    min_count: Count = Field(1, description="rarer training words become <unk>")
    lower_case: bool = Field(False, description="a word's lower-cased form has a vector too, added to that of the word")
    prefixes: Affix = Field(0, description="beginnings of 1 to so many characters have vectors too; 0 for none")
    suffixes: Affix = Field(0, description="endings of 1 to so many characters have vectors too; 0 for none")
    shapes: bool = Field(False, description="a word's shape, such as Xx for Word and d.d for 3.14, has a vector too")
    feature_min_count: Count = Field(
        1, description="lower-cased forms, beginnings, endings and shapes of fewer training words share one vector"
    )
    max_tokens: Count = Field(5000, description="the longest sentence; a longer one is taken for a mistake")
    errors: Literal["strict", "replace"] = Field(
        "strict", description="what invalid UTF-8 does: stop, or be replaced by U+FFFD"
    )
    skip_bad: bool = Field(False, description="leave out sentences with mistakes and list them, instead of stopping")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if sum(self.split) > 1 + 1e-9:
            raise ValueError(f"split: train and valid are more than the whole (got {list(self.split)})")
        if self.order_seed is not None and self.order != "random":
            raise ValueError(f"order_seed: cannot take effect where order is {self.order!r}")
        if self.feature_min_count > 1 and not self.features():
            raise ValueError("feature_min_count: cannot take effect without lower_case, prefixes, suffixes or shapes")
        return self

    def features(self) -> bool:
        """Whether a word is more to the tagger than one of a list."""
        return bool(self.lower_case or self.prefixes or self.suffixes or self.shapes)


class TaggerModel(Settings):
    """The shape of the network: word vectors, layers that run both ways, and a distribution over tags."""

    cell: Literal["lstm", "gru"] = Field("lstm", description="the recurrent layer")
    embedding_size: Width = Field(100, description="width of the word vectors")
    hidden_sizes: Annotated[tuple[Width, ...], Field(min_length=1)] = Field(
        (100,), description="width of each layer in each of the two directions, from the bottom up"
    )
    embedding_blocks: Count = Field(1, description="blocks of the embedding; those after the first cover later words")
    embedding_density: Density = Field(1.0, description="share of the embedding's entries that there are")
    sparse_blocks: Annotated[int, Field(ge=2), Number] | None = Field(
        None, description="small LSTMs in each direction of a single layer; none for one dense LSTM"
    )
    sparse_density: Density | None = Field(None, description="share of the layer's inputs that each of them sees")
    projection_size: Width | None = Field(
        None, description="width of a tanh layer between the last layer and the tags; none for no such layer"
    )
    dropout: Rate = Field(0.0, description="rate of the dropout places that do not say otherwise")
    embedding_dropout: Rate | None = Field(None, description="rate on the word vectors")
    between_dropout: Rate | None = Field(None, description="rate between layers")
    output_dropout: Rate | None = Field(None, description="rate after the last layer, and after the tanh layer")
    dropout_kind: Literal["plain", "locked"] = Field(
        "plain", description="a fresh mask for every word, or one that is locked over the sentence"
    )
    word_dropout: Rate = Field(0.0, description="rate at which word types are dropped from the embedding")
    weight_drop: Rate = Field(
        0.0, description="rate at which recurrent weights of both directions are dropped, one mask a batch"
    )

    @model_validator(mode="after")
    def _sparse(self) -> Self:
        if self.embedding_blocks > self.embedding_size:
            raise ValueError(
                f"embedding_blocks: at most embedding_size (got {self.embedding_blocks} and {self.embedding_size})"
            )
        if self.embedding_blocks == 1 and self.embedding_density < 1:
            raise ValueError("embedding_density: cannot take effect with a single block")
        if self.embedding_density * self.embedding_blocks < 1 - 1e-9:
            raise ValueError("embedding_density: must be at least 1 / embedding_blocks, as the first covers all words")
        if (self.sparse_blocks is None) != (self.sparse_density is None):
            raise ValueError("sparse_blocks: goes with sparse_density; give both or neither")
        if self.sparse_blocks is not None and (self.cell != "lstm" or len(self.hidden_sizes) > 1):
            raise ValueError("sparse_blocks: cannot take effect with more than one layer, or where cell is not 'lstm'")
        return self

    @model_validator(mode="after")
    def _effective(self) -> Self:
        if len(self.hidden_sizes) == 1 and self.between_dropout:
            raise ValueError("between_dropout: cannot take effect with a single layer")
        places = [self.embedding_dropout, self.output_dropout]
        if len(self.hidden_sizes) > 1:
            places.append(self.between_dropout)
        if self.dropout and None not in places:
            raise ValueError("dropout: cannot take effect where every place has a rate of its own; set it to 0")
        if self.dropout_kind == "locked" and not self.dropout and not any(places):
            raise ValueError("dropout_kind: cannot take effect where nothing is dropped")
        return self


class TaggerTraining(Computation):
    """How the tagger's weights are found. The loss is the mean over the words of a batch."""

    epochs: Count = Field(20, description="passes over the training sentences")
    batch_size: Count = Field(20, description="sentences read side by side, of about the same length")
    optimizer: Literal["sgd", "adam"] = Field("adam", description="the update rule")
    learning_rate: Positive = Field(0.001, description="the full learning rate")
    momentum: Rate = Field(0.0, description="share of the last update that is made again (sgd)")
    weight_decay: NonNegative = Field(0.0, description="added to the gradient as weight_decay * weight")
    max_norm: Positive | None = Field(None, description="clip the global gradient norm to this")
    schedule: Schedule = Field(Schedule(), description="how the learning rate moves")
    unknown_rate: NonNegative = Field(
        0.25,
        description="a word that stands c times in the training text is read as <unk> with probability "
        "unknown_rate / (unknown_rate + c), drawn anew in each epoch",
    )
    stop_window: Count | None = Field(
        None, description="stop when the validation accuracy is below the best of those further back than this"
    )
    seed: Whole = Field(1, description="of initialisation, dropout and the order of sentences")
    log_windows: Count = Field(100, description="batches between two lines of metrics")
    checkpoint_minutes: Positive = Field(10.0, description="time between checkpoints inside an epoch")
    tensorboard: bool = Field(False, description="also write TensorBoard events (needs the extra 'tensorboard')")

    @model_validator(mode="after")
    def _effective(self) -> Self:
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum: cannot take effect where optimizer is {self.optimizer!r}")
        if self.stop_window is not None and self.stop_window >= self.epochs:
            raise ValueError(
                f"stop_window: {self.stop_window} looks further back than the run's {self.epochs} epochs go; "
                "give a smaller one or none"
            )
        return self


class TaggerExperiment(Settings):
    """A tagger's run, complete."""

    task: Literal["tagger"] = Field("tagger", description="what kind of run it is; a TOML file without extends says so")
    name: str = Field("experiment", description="what the run is called")
    data: TaggedData = TaggedData()
    model: TaggerModel = TaggerModel()
    training: TaggerTraining = TaggerTraining()
