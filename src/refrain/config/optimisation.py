"""How weights are updated, the same for every kind of run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from .computation import Computation
from .schedules import ConstantSchedule, Schedule
from .values import ByName, Count, NonNegative, Positive, Rate, Settings, Whole


class SGD(Settings):
    """Stochastic gradient descent."""

    kind: Literal["sgd"] = "sgd"
    momentum: Rate = Field(0.0, description="Fraction of the previous update that is added to each update.")


class Adam(Settings):
    """Adam."""

    kind: Literal["adam"] = "adam"


class NTASGD(Settings):
    """SGD that begins to average its weights once validation stops improving."""

    kind: Literal["nt-asgd"] = "nt-asgd"
    trigger_window: Count = Field(
        description="Averaging begins after a validation that is worse than the best of all but this many most recent "
        "ones."
    )


class ASGD(Settings):
    """SGD that averages its weights from the first step on."""

    kind: Literal["asgd"] = "asgd"


Optimizer = Annotated[SGD | Adam | NTASGD | ASGD, Field(discriminator="kind"), ByName]
TaggerOptimizer = Annotated[SGD | Adam, Field(discriminator="kind"), ByName]


class Optimisation(Computation):
    """Length of a run, batches, learning rate, and what is logged."""

    epochs: Count = Field(10, description="Passes over the training data.")
    max_minutes: Positive | None = Field(
        None,
        description="End training after so many minutes if the epochs take longer, with the schedule shortened to that "
        "time; none: run all epochs.",
    )
    batch_size: Count = Field(20, description="Sequences that are processed in parallel.")
    accumulate_windows: Count = Field(
        1,
        description="Batches whose gradients are averaged before each update, so that processes on a slow network "
        "exchange them less often.",
    )
    learning_rate: Positive = Field(1.0, description="Learning rate before the schedule is applied.")
    schedule: Schedule = Field(ConstantSchedule(), description="How the learning rate changes during the run.")
    weight_decay: NonNegative = Field(0.0, description="L2 penalty: this times the weight is added to the gradient.")
    max_norm: Positive | None = Field(
        None, description="Clip the global gradient norm to this value; none: no clipping."
    )
    stop_window: Count | None = Field(
        None,
        description="Stop after a validation that is worse than the best of all but this many most recent ones; none: "
        "run all epochs.",
    )
    stop_min_epochs: Whole = Field(0, description="Train at least this many epochs before stop_window can end the run.")
    seed: Whole = Field(1, description="Seed of initialisation, dropout, data order and samples.")
    log_windows: Count = Field(100, description="Batches between two lines of metrics.")
    checkpoint_minutes: Positive = Field(10.0, description="Minutes between checkpoints within an epoch.")
    tensorboard: bool = Field(
        False, description="Also write TensorBoard events (needs the optional dependency 'tensorboard')."
    )

    @model_validator(mode="after")
    def _minimum_takes_effect(self) -> Self:
        # in a run that is not longer, nothing could be stopped in any case
        if 0 < self.stop_min_epochs < self.epochs and self.stop_window is None:
            raise ValueError("stop_min_epochs: cannot take effect without stop_window; set it to 0")
        return self

    def check_window(self, name: str, window: int | None, *, remedy: str = "give a smaller one") -> None:
        """Refuse to compare validations over more epochs than the run has.

        Args:
            name: of the setting.
            window: its value; None is no comparison.
            remedy: what to do instead.

        Raises:
            ValueError: when the run is too short.
        """
        if window is not None and window >= self.epochs:
            raise ValueError(f"{name}: {window} looks further back than the run's {self.epochs} epochs go; {remedy}")
