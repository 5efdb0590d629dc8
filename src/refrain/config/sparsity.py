"""How weights become zero, as plain values."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from .values import Count, NonNegative, Positive, Rate, Settings, Share


def _counted(value: Any) -> Any:
    """7M, 1.5M or 300k as numbers."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG])", value) if isinstance(value, str) else None
    return round(float(match[1]) * {"k": 1e3, "M": 1e6, "G": 1e9}[match[2]]) if match else value


Amount = Annotated[Count, BeforeValidator(_counted)]


class Target(Settings):
    """The size that a run is steered to; one of the three."""

    parameters: Amount | None = Field(None, description="of the compacted model; 7M and 300k are understood")
    multiply_adds: Amount | None = Field(None, description="a token of the compacted model")
    bytes: Amount | None = Field(None, description="of the compacted model's weights in float32")
    reached: Share = Field(0.7, description="share of the run after which the size is reached; weights settle then")

    def chosen(self) -> tuple[str, int] | None:
        """The measure and its value, or None where there is no target."""
        for name in ("parameters", "multiply_adds", "bytes"):
            value = getattr(self, name)
            if value is not None:
                return name, value
        return None

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in ("parameters", "multiply_adds", "bytes") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{given[1]}: cannot be a target beside {given[0]}")
        if not given and self.reached != 0.7:
            raise ValueError("reached: cannot take effect without a target")
        return self


class Sparsity(Settings):
    """Penalties, pruning and freezing."""

    l1: NonNegative = Field(0.0, description="times the sum of absolute values of the parameters in l1_on")
    l1_on: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("*weight*",), description="names of parameters, with * for anything"
    )
    group_lasso: NonNegative = Field(0.0, description="times the norm of all that goes with a unit, summed over units")
    group_widths: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("embedding", "*.hidden", "*.intermediate"), description="widths whose units are groups, with * for anything"
    )
    group_multipliers: tuple[str, ...] = Field(
        (), description="a width=number each, times group_lasso; the last that fits a width counts"
    )
    group_scaling: Literal["none", "sqrt-size"] = Field(
        "none", description="also times the square root of a group's number of entries"
    )
    group_overlap: Literal["twice", "once"] = Field(
        "twice", description="how often an entry counts that lies in a row and a column of one unit"
    )
    row_lasso: NonNegative = Field(
        0.0,
        description="times the norm of each row of the matrices in row_lasso_on; a row runs through all of them that a "
        "layer has for the same units",
    )
    row_lasso_on: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("stack.*",), description="names of matrices, with * for anything"
    )
    column_lasso: NonNegative = Field(
        0.0, description="times the norm of each column of the matrices in column_lasso_on"
    )
    column_lasso_on: Annotated[tuple[str, ...], Field(min_length=1)] = Field(
        ("stack.*",), description="names of matrices, with * for anything"
    )
    strengths_for: Literal["this-loss", "sum-over-time"] = Field(
        "this-loss",
        description="the loss scale that the strengths above are stated for; they are converted to the run's",
    )
    zeros: Literal["proximal", "threshold"] = Field(
        "proximal",
        description="a proximal step after each step of the optimiser, or the penalty's gradient and a threshold",
    )
    threshold: Positive | None = Field(None, description="entries below it become zero after each step (threshold)")
    freeze: Literal["none", "elements", "units"] = Field(
        "none", description="what is zero at the start stays zero: single entries, or whole dead units"
    )
    prune: Rate = Field(0.0, description="share of each matrix's entries that gradual magnitude pruning makes zero")
    prune_begin: Share = Field(0.1, description="share of the run at which pruning begins")
    prune_end: Share = Field(0.7, description="share of the run at which the final share is reached")
    target: Target = Target()

    def penalised(self) -> bool:
        """Whether there is any penalty."""
        return bool(self.l1 or self.group_lasso or self.row_lasso or self.column_lasso)

    def active(self) -> bool:
        """Whether anything here takes effect."""
        return self.penalised() or self.freeze != "none" or bool(self.prune)

    @model_validator(mode="after")
    def _effective(self) -> Self:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        wants: dict[str, bool] = {
            "l1_on": bool(self.l1),
            "group_widths": bool(self.group_lasso),
            "group_multipliers": bool(self.group_lasso),
            "group_scaling": bool(self.group_lasso),
            "group_overlap": bool(self.group_lasso),
            "row_lasso_on": bool(self.row_lasso),
            "column_lasso_on": bool(self.column_lasso),
            "strengths_for": self.penalised(),
            "zeros": self.penalised(),
            "prune_begin": bool(self.prune),
            "prune_end": bool(self.prune),
        }
        for name, effective in wants.items():
            if getattr(self, name) != defaults[name] and not effective:
                raise ValueError(f"{name}: cannot take effect without the penalty or pruning that it belongs to")
        if (self.threshold is not None) != (self.zeros == "threshold"):
            raise ValueError("threshold: goes with zeros = 'threshold', and must be given there")
        if self.prune and self.prune_begin >= self.prune_end:
            raise ValueError("prune_end: must be greater than prune_begin")
        if self.target.chosen() and not self.group_lasso:
            raise ValueError("target: needs group_lasso, the strength to begin with")
        for word in self.group_multipliers:
            name, equals, number = word.partition("=")
            plain = name and equals and re.fullmatch(r"\d+(\.\d+)?([eE][+-]?\d+)?", number)
            if not plain or not math.isfinite(float(number)):
                raise ValueError(
                    f"group_multipliers: each must be width=number, as in layer0.hidden=0.5 (got {word!r})"
                )
        return self
