"""Everything that decides a run's figures, as plain values."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .computation import Computation
from .model import Model
from .sparsity import Sparsity
from .values import Count, NonNegative, Number, Positive, Rate, Settings, Share, Whole

Protocol = Literal["exact", "zaremba", "awd"]

# the settings of `Data` that take effect with one unit and not with every other
UNIT_SETTINGS = {
    "word": ("order", "order_seed", "min_count", "max_words", "vocabulary_from", "errors"),
    "byte": ("cleaning",),
}


class Data(Settings):
    """The corpus and how it becomes tokens."""

    corpus: str = Field(
        "python-docs",
        description="a corpus by name, or the path of a folder or file; for bytes also a pattern, as part-*.txt",
    )
    unit: Literal["word", "byte"] = Field("word", description="what a token is")
    split: tuple[Share, Share] = Field(
        (0.9, 0.05),
        description="shares of train and valid, in the order of the text; the rest is test. Not for a folder of splits",
    )
    cleaning: Literal["none", "reviews"] = Field(
        "none",
        description="of bytes; reviews: each line is a document, HTML entities become characters, blanks around it go",
    )
    order: Literal["descending", "ascending", "first-seen", "random"] = Field(
        "descending", description="order of ids by frequency in the training text"
    )
    order_seed: Whole | None = Field(None, description="of the random order; 1 if not given")
    min_count: Count = Field(1, description="rarer training words become <unk>")
    max_words: Annotated[int, Field(ge=2, lt=2**31), Number] | None = Field(
        None, description="keep only the most frequent words, <eos> and <unk> among them"
    )
    vocabulary_from: Literal["train", "all"] = Field("train", description="which splits the vocabulary is made from")
    errors: Literal["strict", "replace"] = Field(
        "strict", description="what invalid UTF-8 does: stop, or be replaced by U+FFFD"
    )

    @model_validator(mode="after")
    def _of_the_unit(self) -> Self:
        changed = [name for name in sorted(self.model_fields_set) if not self.takes_effect(name)]
        defaults = {name: type(self).model_fields[name].default for name in changed}
        moved = [name for name, default in defaults.items() if getattr(self, name) != default]
        if moved:
            back = " ".join(f"data.{name}={'none' if defaults[name] is None else defaults[name]}" for name in moved)
            raise ValueError(
                f"{', '.join(moved)}: cannot take effect with unit {self.unit!r}; back to the default with {back}"
            )
        return self

    def takes_effect(self, name: str) -> bool:
        """Whether a setting of this group takes effect with the unit."""
        every = {other for names in UNIT_SETTINGS.values() for other in names}
        return name not in every or name in UNIT_SETTINGS.get(self.unit, ())

    def frequent_first(self) -> bool:
        """Whether ids are in the order of frequency, the most frequent token first."""
        return self.takes_effect("order") and self.order == "descending"

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.order_seed is not None and self.order != "random":
            raise ValueError(f"order_seed: cannot take effect where order is {self.order!r}")
        if sum(self.split) > 1 + 1e-9:
            raise ValueError(f"split: train and valid are more than the whole (got {list(self.split)})")
        return self


class Schedule(Settings):
    """How the learning rate moves."""

    kind: Literal["constant", "exponential", "linear", "cosine", "plateau"] = Field(
        "constant",
        description="exponential: times `decay` after `hold_epochs`, and again every `step_epochs`; linear, cosine: "
        "to zero over the run; plateau: times `decay` after an epoch without a better validation",
    )
    hold_epochs: Whole = Field(0, description="epochs at the full rate (exponential)")
    step_epochs: Count = Field(1, description="epochs from one factor to the next (exponential)")
    decay: Annotated[float, Field(gt=0, le=1), Number] = Field(1.0, description="factor (exponential, plateau)")

    @model_validator(mode="after")
    def _effective(self) -> Self:
        if self.kind in ("exponential", "plateau") and self.decay == 1.0:
            raise ValueError(f"decay: must be less than 1 for the {self.kind} schedule (got 1.0)")
        if self.kind not in ("exponential", "plateau") and self.decay != 1.0:
            raise ValueError(f"decay: cannot take effect in the {self.kind} schedule")
        if self.kind != "exponential" and self.hold_epochs:
            raise ValueError(f"hold_epochs: cannot take effect in the {self.kind} schedule")
        if self.kind != "exponential" and self.step_epochs != 1:
            raise ValueError(f"step_epochs: cannot take effect in the {self.kind} schedule")
        return self


class Training(Computation):
    """How the weights are found."""

    epochs: Count = Field(10, description="passes over the training text")
    batch_size: Count = Field(20, description="streams read side by side")
    window_steps: Count = Field(35, description="steps of truncated backpropagation")
    window_length: Literal["fixed", "random"] = Field(
        "fixed", description="every window as long as the others, or drawn around window_steps, learning rate scaled"
    )
    window_cap: Count | None = Field(None, description="longest window that is drawn; window_steps + 20 if not given")
    tail: Literal["drop", "keep"] = Field("drop", description="what happens to a last window shorter than window_steps")
    loss_scale: Literal["sum-over-time", "mean-over-tokens"] = Field(
        "mean-over-tokens",
        description="the loss that is differentiated: summed over steps and averaged over streams, or a mean over both",
    )
    optimizer: Literal["sgd", "adam", "nt-asgd", "asgd"] = Field(
        "sgd", description="the update rule; nt-asgd averages weights once validation stalls, asgd from the first step"
    )
    trigger_window: Count | None = Field(
        None, description="nt-asgd: average when a validation is worse than the best of those further back than this"
    )
    stop_window: Count | None = Field(
        None, description="stop when a validation is worse than the best of those further back than this"
    )
    activation_penalty: NonNegative = Field(0.0, description="AR: times the mean square of the dropped last output")
    temporal_penalty: NonNegative = Field(0.0, description="TAR: times the mean square of the last output's change")
    state: Literal["carry", "reset-per-epoch", "reset-per-document"] = Field(
        "reset-per-epoch",
        description="when the recurrent state is set to zero: never, at the start of each epoch, or also before each "
        "line end, so that every line is a document of its own, in evaluation too",
    )
    learning_rate: Positive = Field(1.0, description="the full learning rate")
    momentum: Rate = Field(0.0, description="share of the last update that is made again (sgd)")
    weight_decay: NonNegative = Field(0.0, description="added to the gradient as weight_decay * weight")
    max_norm: Positive | None = Field(None, description="clip the global gradient norm to this")
    schedule: Schedule = Field(Schedule(), description="how the learning rate moves")
    validation: Protocol = Field("exact", description="protocol of the validation after each epoch")
    seed: Whole = Field(1, description="of initialisation, dropout and samples")
    validation_windows: Count | None = Field(
        None, description="also validate after so many windows of an epoch; the best checkpoint may be one of these"
    )
    sample_windows: Count | None = Field(None, description="also draw a sample after so many windows of an epoch")
    train_accuracy: bool = Field(
        False, description="count the training positions whose most likely token is right, before each step"
    )
    stop_accuracy: Share | None = Field(None, description="stop after an epoch in which so many of them were right")
    log_windows: Count = Field(100, description="windows between two lines of metrics")
    checkpoint_minutes: Positive = Field(10.0, description="time between checkpoints inside an epoch")
    sample_tokens: Whole = Field(40, description="length of the sample after each epoch; 0 for none")
    tensorboard: bool = Field(False, description="also write TensorBoard events (needs the extra 'tensorboard')")

    @model_validator(mode="after")
    def _effective(self) -> Self:
        if self.optimizer == "nt-asgd" and self.trigger_window is None:
            raise ValueError("trigger_window: must be given where optimizer is 'nt-asgd'")
        if self.optimizer != "nt-asgd" and self.trigger_window is not None:
            raise ValueError(f"trigger_window: cannot take effect where optimizer is {self.optimizer!r}")
        for name in ("trigger_window", "stop_window"):
            value = getattr(self, name)
            if value is not None and value >= self.epochs:
                raise ValueError(
                    f"{name}: {value} looks further back than the run's {self.epochs} epochs go; give a smaller one"
                    + " or none" * (name == "stop_window")
                )
        if self.momentum and self.optimizer != "sgd":
            raise ValueError(f"momentum: cannot take effect where optimizer is {self.optimizer!r}")
        if self.stop_accuracy is not None and not self.train_accuracy:
            raise ValueError("stop_accuracy: needs train_accuracy")
        if self.window_length == "fixed" and self.window_cap is not None:
            raise ValueError("window_cap: cannot take effect where window_length is 'fixed'")
        if self.window_cap is not None and self.window_cap < self.window_steps:
            raise ValueError(f"window_cap: must be at least window_steps (got {self.window_cap})")
        if self.sample_windows is not None and not self.sample_tokens:
            raise ValueError("sample_windows: cannot take effect where sample_tokens is 0")
        if self.window_length == "random" and self.tail == "drop":
            raise ValueError("tail: random windows read every token; set it to 'keep'")
        return self


class Experiment(Settings):
    """A run, complete."""

    name: str = Field("experiment", description="what the run is called")
    data: Data = Data()
    model: Model = Model()
    training: Training = Training()
    sparsity: Sparsity = Sparsity()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.model.head == "adaptive" and not self.data.frequent_first():
            raise ValueError("model.head: the adaptive head needs words in the order 'descending' (data.order)")
        if (self.sparsity.penalised() or self.sparsity.prune) and self.model.weight_norm:
            raise ValueError(
                "sparsity: penalties and pruning would act on the directions of weight_norm, not on the weights used"
            )
        if self.training.optimizer == "asgd" and (self.sparsity.target.chosen() or self.sparsity.prune):
            raise ValueError(
                "training.optimizer: 'asgd' averages from the first step, over weights that are not zero yet; "
                "'nt-asgd' waits until sparsity.target or sparsity.prune is reached"
            )
        if self.training.state == "reset-per-document" and self.model.weight_drop:
            raise ValueError(
                "training.state: 'reset-per-document' cuts windows, and weight_drop wants one mask a window"
            )
        return self
