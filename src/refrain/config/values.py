"""The kinds of values that settings have."""

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError, PydanticKnownError

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


def _file_name(value: str) -> str:
    # the run folder begins with it where none is given, and must not be in another place than beside the others
    if not value.strip(" ."):
        problem = "must not be empty or dots alone"
    elif len(value.encode("utf-8", "surrogatepass")) > 100:
        problem = "must have at most 100 bytes"
    elif not value.isprintable():
        problem = "must not contain control characters"
    elif re.search(r"[/\\:]", value):
        problem = "must not contain '/', '\\' or ':'"
    elif value != value.strip(" ") or value.startswith("."):
        problem = "must not begin with a dot or a blank, nor end with a blank"
    elif re.fullmatch(r"(con|prn|aux|nul|(com|lpt)[0-9])(\..*)?", value, re.IGNORECASE):
        problem = "must not be the name of a device of Windows"
    else:
        return value
    raise PydanticCustomError("file_name", problem)


def percentage(value: Any) -> float | None:
    """Return a percentage as a fraction, 0.5 for `50%`; None for anything that is not a percentage."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*%", value) if isinstance(value, str) else None
    return float(match[1]) / 100 if match else None


FileName = Annotated[str, AfterValidator(_file_name)]
"""Text that can be part of the name of a file or folder on every system, and leads to no other folder."""
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
            raise UserError(*in_values(error.errors(include_url=False), group)) from None


class Settings(BaseModel, metaclass=_Explained):
    """A group of settings: immutable, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
