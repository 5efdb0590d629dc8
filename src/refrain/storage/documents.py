"""Checks JSON documents that a user may have edited; each error names file, key, cause and remedy in one line."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from refrain.errors import CheckpointError, shortened, shown


class Document(BaseModel):
    """A part of a document: values have exactly the types of the fields, and numbers are finite.

    Unknown keys are ignored, since a later version may add some.
    """

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


Index = Annotated[int, Field(ge=0, lt=2**63)]
"""A whole number that is not negative."""

Amount = Annotated[float, Field(ge=0)]
"""A finite number that is not negative."""

DocumentT = TypeVar("DocumentT", bound=Document)


def checked(form: type[DocumentT], data: Any, path: Path | str, remedy: str) -> DocumentT:
    """Check the content of a document.

    Args:
        form: what the document must contain.
        data: the content.
        path: the file, for the message.
        remedy: what the user can do, which ends the message.

    Returns:
        The values that `form` names.

    Raises:
        CheckpointError: when something is missing or has a wrong type, size or sign.
    """
    try:
        return state_of(form, data)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}; {remedy}") from None


def state_of(form: type[DocumentT], data: Any) -> DocumentT:
    """Check a part of a document.

    Args:
        form: what the part must contain.
        data: the part.

    Returns:
        The values that `form` names.

    Raises:
        ValueError: when something is missing or has a wrong type, size or sign; the message is one line.
    """
    try:
        return form.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = shortened(".".join(str(part) for part in first["loc"]), 200)
        message = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        got = "" if first["type"] == "missing" else f" (got {shown(first['input'])})"
        raise ValueError(f"{f'{key}: ' if key else ''}{message}{got}") from None
