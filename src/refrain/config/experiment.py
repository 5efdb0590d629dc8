"""Everything that decides the figures of a language model's run, as plain values."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .model import Model
from .optimisation import NTASGD, SGD, Optimisation, Optimizer
from .sparsity import Sparsity
from .text import Text
from .values import ByName, Count, FileName, NonNegative, Number, Settings, Share, Whole

Protocol = Literal["exact", "zaremba", "awd"]

# the settings of `Data` that take effect with one unit and not with every other
UNIT_SETTINGS = {
    "word": (
        "order",
        "order_seed",
        "ties",
        "min_count",
        "max_words",
        "vocabulary_from",
        "vocabulary",
        "errors",
        "lowercase",
        "tokenise",
        "normalise",
        "workers",
    ),
    "byte": ("cleaning",),
    "character": (
        "order",
        "order_seed",
        "ties",
        "min_count",
        "max_characters",
        "vocabulary_from",
        "vocabulary",
        "errors",
        "workers",
    ),
    "subword": ("pieces", "piece_model", "piece_seed", "tokens", "vocabulary", "errors", "workers"),
}
# the settings of `Data` by which a vocabulary is made of the text
MADE_BY = (
    "order",
    "order_seed",
    "ties",
    "min_count",
    "max_words",
    "max_characters",
    "vocabulary_from",
    "pieces",
    "piece_model",
    "piece_seed",
    "tokens",
)


class Data(Text):
    """The corpus and how it becomes tokens."""

    corpus: str = Field(
        "python-docs",
        description="The name of a corpus, the path of a folder or file, or a pattern such as part-*.txt.",
    )
    unit: Literal["word", "byte", "character", "subword"] = Field(
        "word", description="What a token is: a word, a byte, a character of Unicode, or a piece of a word."
    )
    cleaning: Literal["none", "reviews"] = Field(
        "none",
        description="Cleaning of text that is read as bytes. reviews: each line is a document, HTML entities are "
        "decoded and surrounding blanks are removed.",
    )
    lowercase: bool = Field(False, description="Convert all letters to lower case before words are read.")
    tokenise: bool = Field(
        False,
        description="Split words from punctuation and contractions before they are read, as refrain tag does; marks "
        "such as <unk> stay whole.",
    )
    normalise: Literal["none", "nfc"] = Field(
        "none",
        description="nfc: compose characters, so that a letter with an accent is one character however it is stored.",
    )
    max_words: Annotated[int, Field(ge=2, lt=2**31), Number] | None = Field(
        None,
        description="Keep only this many of the most frequent words, <eos> and <unk> included; none: keep all.",
    )
    max_characters: Annotated[int, Field(ge=2, lt=2**31), Number] | None = Field(
        None,
        description="Keep only this many of the most frequent characters, the newline and U+FFFD included; none: keep "
        "all.",
    )
    pieces: Count = Field(
        8000,
        description="How many pieces of words are made of the training text; a text that is too short for them gets "
        "fewer.",
    )
    piece_model: Literal["unigram", "bpe"] = Field(
        "unigram", description="How pieces are made: as a unigram model, or by merging frequent pairs (bpe)."
    )
    piece_seed: Whole = Field(1, description="Seed with which pieces are made.")
    tokens: str | None = Field(
        None,
        description="The file of a tokenizer whose pieces are used: a SentencePiece model, a bpe.model of icefall with "
        "its tokens.txt, or a tokenizer.json; none: pieces are made of the training text.",
    )
    vocabulary: str | None = Field(
        None,
        description="The vocabulary, whatever the text: a file with one word on each line, in the order of their ids, "
        "or a run, whose words, characters or pieces are taken; none: it is made of the training text.",
    )
    vocabulary_from: Literal["train", "all"] = Field(
        "train", description="Which splits the vocabulary is made from: the training text or all of them."
    )
    workers: Annotated[int, Field(ge=1, le=256), Number] | None = Field(
        None,
        description="How many processes prepare a text of words, characters or subwords; the tokens do not depend on "
        "it. none: as many as there are processors, at most 8, and one for a text of less than 20 MB.",
    )

    @model_validator(mode="after")
    def _fits_the_unit(self) -> Self:
        changed = [name for name in sorted(self.model_fields_set) if not self.takes_effect(name)]
        defaults = {name: type(self).model_fields[name].default for name in changed}
        moved = [name for name, default in defaults.items() if getattr(self, name) != default]
        if moved:
            back = " ".join(f"data.{name}={'none' if defaults[name] is None else defaults[name]}" for name in moved)
            raise ValueError(
                f"{', '.join(moved)}: cannot take effect with unit {self.unit!r}; back to the default with {back}"
            )
        return self

    @model_validator(mode="after")
    def _pieces_are_made(self) -> Self:
        changed = [name for name in ("pieces", "piece_model", "piece_seed") if self.is_changed(name)]
        if self.tokens is not None and changed:
            raise ValueError(
                f"{', '.join(changed)}: cannot take effect with the pieces of a file; leave them out, or data.tokens"
            )
        return self

    @model_validator(mode="after")
    def _vocabulary_is_made(self) -> Self:
        changed = [name for name in MADE_BY if self.is_changed(name)]
        if self.vocabulary is not None and changed:
            raise ValueError(
                f"{', '.join(changed)}: cannot take effect with a fixed vocabulary; leave them out, or data.vocabulary"
            )
        return self

    def is_changed(self, name: str) -> bool:
        """Whether a setting is not the default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    def takes_effect(self, name: str) -> bool:
        """Whether a setting of this group takes effect with the unit."""
        every = {other for names in UNIT_SETTINGS.values() for other in names}
        return name not in every or name in UNIT_SETTINGS.get(self.unit, ())

    def frequent_first(self) -> bool:
        """Whether ids are in the order of frequency, the most frequent token first."""
        return self.takes_effect("order") and self.order == "descending"


class FixedWindows(Settings):
    """All windows have the same length."""

    kind: Literal["fixed"] = "fixed"
    tail: Literal["drop", "keep"] = Field(
        "drop", description="What to do with a last window that is shorter than window_steps."
    )


class RandomWindows(Settings):
    """The length of each window is drawn around window_steps, and the learning rate is scaled by it."""

    kind: Literal["random"] = "random"
    cap: Count | None = Field(None, description="Length of the longest window; none: window_steps + 20.")


class Training(Optimisation):
    """How the weights are trained."""

    optimizer: Optimizer = Field(SGD(), description="The update rule.")
    window_steps: Count = Field(35, description="Steps of truncated backpropagation through time.")
    windows: Annotated[FixedWindows | RandomWindows, Field(discriminator="kind"), ByName] = Field(
        FixedWindows(), description="How the text is cut into windows."
    )
    loss_scale: Literal["sum-over-time", "mean-over-tokens"] = Field(
        "mean-over-tokens",
        description="The loss that is differentiated: summed over the steps of a window and averaged over the batch, "
        "or averaged over both.",
    )
    activation_penalty: NonNegative = Field(
        0.0, description="AR: strength of the penalty on the mean square of the last layer's output after dropout."
    )
    temporal_penalty: NonNegative = Field(
        0.0, description="TAR: strength of the penalty on the mean square of the change of the last layer's output."
    )
    state: Literal["carry", "reset-per-epoch", "reset-per-document"] = Field(
        "reset-per-epoch",
        description="When the recurrent state is set to zero: never (carry), at the start of each epoch, or also after "
        "each line, so that every line is a document of its own, in evaluation too.",
    )
    validation: Protocol = Field("exact", description="Protocol of the validation after each epoch.")
    validation_windows: Count | None = Field(
        None,
        description="Also validate after every so many windows; the best checkpoint may be one of these. none: only "
        "at the end of each epoch.",
    )
    train_accuracy: bool = Field(
        False, description="Report the fraction of training tokens that the model predicts correctly before each step."
    )
    stop_accuracy: Share | None = Field(
        None, description="Stop after an epoch whose train_accuracy is at least this; none: do not."
    )
    sample_windows: Count | None = Field(
        None, description="Also draw a sample after every so many windows; none: only at the end of each epoch."
    )
    sample_tokens: Whole = Field(40, description="Length of the samples in tokens; 0 for no samples.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if isinstance(self.optimizer, NTASGD):
            self.check_window("optimizer.trigger_window", self.optimizer.trigger_window)
        self.check_window("stop_window", self.stop_window, remedy="give a smaller one or none")
        if self.stop_accuracy is not None and not self.train_accuracy:
            raise ValueError("stop_accuracy: needs train_accuracy")
        if self.train_accuracy and self.accumulate_windows > 1:
            raise ValueError("accumulate_windows: must be 1 with train_accuracy, which is measured before each update")
        if isinstance(self.windows, RandomWindows) and (self.windows.cap or self.window_steps) < self.window_steps:
            raise ValueError(f"windows.cap: must be at least window_steps (got {self.windows.cap})")
        if self.sample_windows is not None and not self.sample_tokens:
            raise ValueError("sample_windows: cannot take effect where sample_tokens is 0")
        return self


class Experiment(Settings):
    """A run, complete."""

    name: FileName = Field("experiment", description="Name of the run; a run folder without --out begins with it.")
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    sparsity: Sparsity = Sparsity()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model.head.kind == "adaptive" and not self.data.frequent_first():
            raise ValueError("model.head: the adaptive head needs words in the order 'descending' (data.order)")
        if (self.sparsity.penalised() or self.sparsity.prune) and self.model.weight_norm:
            raise ValueError(
                "sparsity: penalties and pruning would act on the directions of weight_norm, not on the weights used"
            )
        if self.training.optimizer.kind == "asgd" and (self.sparsity.target or self.sparsity.prune):
            raise ValueError(
                "training.optimizer: 'asgd' averages from the first step, over weights that are not zero yet; "
                "'nt-asgd' waits until sparsity.target or sparsity.prune is reached"
            )
        if self.training.max_minutes is not None and (self.sparsity.target or self.sparsity.prune):
            raise ValueError(
                "training.max_minutes: cannot be combined with sparsity.target or sparsity.prune, whose course is "
                "counted in epochs; give training.epochs instead"
            )
        if self.training.state == "reset-per-document" and self.model.weight_drop:
            raise ValueError(
                "training.state: 'reset-per-document' cuts windows, and weight_drop needs one mask a window"
            )
        return self
