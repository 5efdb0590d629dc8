"""How weights become zero, as plain values."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError, PydanticKnownError

from .values import ByName, Count, Positive, Settings, Share, percentage

Patterns = Annotated[tuple[str, ...], Field(min_length=1)]

MEASURES = ("parameters", "multiply_adds", "layer_multiply_adds", "bytes")
"""The measures of a size that can be a target."""

SIZE_LABELS = {
    "parameters": "parameters",
    "multiply_adds": "multiply-adds per token",
    "layer_multiply_adds": "multiply-adds per token of the layers",
}
"""The sizes that reports have, with their names in tables."""


def counted(value: Any) -> Any:
    """7M, 1.5M or 300k as numbers; anything else as it is."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG])", value) if isinstance(value, str) else None
    return round(float(match[1]) * {"k": 1e3, "M": 1e6, "G": 1e9}[match[2]]) if match else value


def sized(value: int | str, whole: int) -> int:
    """A size as a number.

    Args:
        value: a number, or a percentage.
        whole: the size of which it is a percentage.
    """
    share = percentage(value)
    return int(value) if share is None else max(1, round(share * whole))


_COUNT = TypeAdapter(Count)


def _amount(value: Any) -> int | str:
    share = percentage(value)
    if share is not None and not 0 < share < 1:
        raise PydanticCustomError("share", "must be more than 0% and less than 100%")
    if share is not None:
        return str(value)
    try:
        return _COUNT.validate_python(counted(value))
    except ValidationError as error:
        first = error.errors()[0]
        known: Any = first["type"]
        if known in ("int_parsing", "int_type"):
            wanted = "must be a number such as 300k or 7M, or a percentage such as 50%"
            raise PydanticCustomError("share", wanted) from None
        raise PydanticKnownError(known, first.get("ctx") or {}) from None


Amount = Annotated[int | str, BeforeValidator(_amount)]


class L1Penalty(Settings):
    """A penalty on the absolute values of single weights."""

    strength: Positive = Field(description="Factor of the sum of absolute values.")
    on: Patterns = Field(
        ("*weight*",),
        description="Names of the parameters it acts on, with * for anything. Matrices of bands of words, and the "
        "projection of a low-rank head, are called blocks and projection.",
    )


class GroupLasso(Settings):
    """A penalty on the norm of everything that belongs to a unit, which removes whole units."""

    strength: Positive = Field(description="Factor of the sum of norms over all units.")
    widths: Patterns = Field(
        ("embedding", "*.hidden", "*.intermediate"),
        description="Names of the widths whose units are groups, with * for anything.",
    )
    multipliers: tuple[str, ...] = Field(
        (),
        description="Factors of the strength for single widths, each written width=number; the last one that fits a "
        "width counts.",
    )
    scaling: Literal["none", "sqrt-size"] = Field(
        "none", description="sqrt-size: multiply the strength by the square root of the number of entries in a group."
    )
    overlap: Literal["twice", "once"] = Field(
        "twice", description="How often an entry counts that lies both in a row and in a column of the same unit."
    )

    @model_validator(mode="after")
    def _multipliers(self) -> Self:
        for word in self.multipliers:
            name, equals, number = word.partition("=")
            plain = name and equals and re.fullmatch(r"\d+(\.\d+)?([eE][+-]?\d+)?", number)
            if not plain or not math.isfinite(float(number)):
                raise ValueError(f"multipliers: each must be width=number, as in layer0.hidden=0.5 (got {word!r})")
        return self


class RowLasso(Settings):
    """A penalty on the norm of each row of some matrices; a row spans all matrices of a layer with the same units."""

    strength: Positive = Field(description="Factor of the sum of norms over all rows.")
    on: Patterns = Field(("stack.*",), description="Names of the matrices it acts on, with * for anything.")


class ColumnLasso(Settings):
    """A penalty on the norm of each column of some matrices."""

    strength: Positive = Field(description="Factor of the sum of norms over all columns.")
    on: Patterns = Field(("stack.*",), description="Names of the matrices it acts on, with * for anything.")


class ProximalZeros(Settings):
    """A proximal step after each optimiser step makes weights exactly zero."""

    kind: Literal["proximal"] = "proximal"


class ThresholdZeros(Settings):
    """The penalty's gradient is added to the loss, and small weights are set to zero after each step."""

    kind: Literal["threshold"] = "threshold"
    threshold: Positive = Field(description="Weights with a smaller absolute value are set to zero.")


class GradualPruning(Settings):
    """Gradual magnitude pruning of every matrix."""

    share: Share = Field(description="Fraction of each matrix's entries that is zero in the end.")
    begin: Share = Field(0.1, description="Fraction of the run after which pruning begins.")
    end: Share = Field(0.7, description="Fraction of the run after which the final fraction is reached.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.begin >= self.end:
            raise ValueError("end: must be greater than begin")
        return self


class Target(Settings):
    """The size that the group lasso steers to, by exactly one measure, and when it is reached.

    A percentage such as 50% refers to the model at the start of the run, which records the number.
    """

    parameters: Amount | None = Field(
        None,
        description="Parameters of the compacted model: a number such as 300k or 7M, or a percentage such as 50% of "
        "the model at the start.",
    )
    multiply_adds: Amount | None = Field(None, description="Multiply-adds of the compacted model for one token.")
    layer_multiply_adds: Amount | None = Field(
        None,
        description="Multiply-adds of the recurrent layers of the compacted model for one token, without those of the "
        "head.",
    )
    bytes: Amount | None = Field(None, description="Bytes of the compacted model's weights in float32.")
    reached: Share = Field(
        0.7, description="Fraction of the run after which the size is reached; the weights settle in the rest."
    )
    penalised: Literal["all", "weakest"] = Field(
        "all",
        description="Units that the penalty acts on: all, or the weakest ones that the path to the size leaves out "
        "next, so that the other units keep their weights.",
    )

    def chosen(self) -> tuple[str, int | str]:
        """The measure and its value, which may be a percentage."""
        return next(iter(self._given().items()))

    def _given(self) -> dict[str, int | str]:
        values = {name: getattr(self, name) for name in MEASURES}
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = list(self._given())
        if len(given) != 1:
            if given:
                others = " ".join(f"sparsity.target.{name}=none" for name in given[1:])
                raise ValueError(
                    f"{given[0]}: cannot be a target beside {' and '.join(given[1:])}; keep one of them, "
                    f"as with {others}"
                )
            raise ValueError(f"parameters: give exactly one of {', '.join(MEASURES[:-1])} and {MEASURES[-1]}")
        return self


class Sparsity(Settings):
    """Penalties, pruning and freezing."""

    l1: L1Penalty | None = Field(None, description="L1 penalty.")
    group_lasso: GroupLasso | None = Field(None, description="Group lasso on units.")
    row_lasso: RowLasso | None = Field(None, description="Group lasso on the rows of matrices.")
    column_lasso: ColumnLasso | None = Field(None, description="Group lasso on the columns of matrices.")
    strengths_for: Literal["this-loss", "sum-over-time"] = Field(
        "this-loss",
        description="The loss scale that the strengths are stated for; they are converted to the one of the run.",
    )
    zeros: Annotated[ProximalZeros | ThresholdZeros, Field(discriminator="kind"), ByName] = Field(
        ProximalZeros(), description="How penalised weights become exactly zero."
    )
    freeze: Literal["none", "elements", "units"] = Field(
        "none",
        description="Keep at zero what is zero at the start of the run: nothing, single entries, or whole dead units.",
    )
    prune: GradualPruning | None = Field(None, description="Gradual magnitude pruning.")
    target: Target | None = Field(None, description="A size that the group lasso steers to.")

    def penalised(self) -> bool:
        """Whether there is any penalty."""
        return any((self.l1, self.group_lasso, self.row_lasso, self.column_lasso))

    def active(self) -> bool:
        """Whether anything here takes effect."""
        return self.penalised() or self.freeze != "none" or self.prune is not None

    @model_validator(mode="after")
    def _effective(self) -> Self:
        if not self.penalised() and (self.strengths_for != "this-loss" or self.zeros.kind != "proximal"):
            name = "zeros" if self.zeros.kind != "proximal" else "strengths_for"
            raise ValueError(f"{name}: cannot take effect without a penalty; give one, such as group_lasso.strength")
        if self.target and not self.group_lasso:
            raise ValueError("target: needs a group lasso to begin with; give group_lasso.strength")
        return self
