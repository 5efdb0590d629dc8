"""How the learning rate changes during a run."""

from typing import Annotated, Literal

from pydantic import Field

from .values import ByName, Count, Number, Settings, Whole

Decay = Annotated[float, Field(gt=0, lt=1), Number]


class ConstantSchedule(Settings):
    """The learning rate stays the same."""

    kind: Literal["constant"] = "constant"


class ExponentialSchedule(Settings):
    """The learning rate is multiplied by a factor every so many epochs."""

    kind: Literal["exponential"] = "exponential"
    decay: Decay = Field(description="Factor by which the learning rate is multiplied.")
    hold_epochs: Whole = Field(0, description="Epochs before the factor is first applied.")
    step_epochs: Count = Field(1, description="Epochs between two applications of the factor.")


class LinearSchedule(Settings):
    """The learning rate falls linearly to zero over the run."""

    kind: Literal["linear"] = "linear"


class CosineSchedule(Settings):
    """The learning rate falls to zero over the run along a half cosine."""

    kind: Literal["cosine"] = "cosine"


class PlateauSchedule(Settings):
    """The learning rate is multiplied by a factor after each epoch that did not improve the validation."""

    kind: Literal["plateau"] = "plateau"
    decay: Decay = Field(description="Factor by which the learning rate is multiplied.")


Schedule = Annotated[
    ConstantSchedule | ExponentialSchedule | LinearSchedule | CosineSchedule | PlateauSchedule,
    Field(discriminator="kind"),
    ByName,
]
