"""The kinds of values that settings have."""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticKnownError

from refrain.errors import UserError

if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    # pydantic has no public name for it
    ModelMetaclass = type(BaseModel)


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


class _Explained(ModelMetaclass):
    """Lets `Model(hidden_size=3)` raise the messages of this package, and not those of the validator."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            from .mistakes import in_values

            group: Any = cls
            raise UserError("\n".join(in_values(error.errors(include_url=False), group))) from None


class Settings(BaseModel, metaclass=_Explained):
    """A group of settings: immutable, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
