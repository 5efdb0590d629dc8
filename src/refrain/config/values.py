"""The kinds of values that settings have."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError


def _not_truth(value: Any) -> Any:
    # True is a 1 to Python, and hardly meant as one
    if isinstance(value, bool):
        raise PydanticKnownError("float_type")
    return value


def _named_variant(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Number = BeforeValidator(_not_truth)
Rate = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), Number]
Count = Annotated[int, Field(ge=1, lt=2**31), Number]
Width = Annotated[int, Field(ge=1, le=1_000_000), Number]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), Number]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), Number]
Whole = Annotated[int, Field(ge=0, lt=2**63), Number]
Density = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), Number]
Share = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False), Number]

ByName = BeforeValidator(_named_variant)
"""Lets the name of a variant stand for the variant with its defaults: `head="softmax"`."""


class Settings(BaseModel):
    """A group of settings: immutable, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
