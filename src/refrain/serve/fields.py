"""The fields of requests: their types, their limits, and the check of a body against them."""

import functools
from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from refrain.errors import shown

from .limits import Limits
from .mistakes import UNSUPPORTED, refusal
from .refused import Refused

# tabs and line ends are the only control characters of a text
NO_CONTROLS = "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f]*$"


def limited(limit: str) -> dict[str, str]:
    """Mark a field with a limit of `Limits`, which the OpenAPI document shows as a number.

    Args:
        limit: the name of the limit.
    """
    return {"limit": limit}


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Marks a whole number, after its bounds. In JSON, 2.0 is one too."""


def only(*allowed: Any, remedy: str) -> BeforeValidator:
    """Mark a field that is not supported, after its bounds, which say the same in the OpenAPI document.

    Args:
        allowed: the values that have no effect.
        remedy: what the client can do.
    """

    def check(value: Any) -> Any:
        if value in allowed:
            return value
        raise PydanticCustomError(
            UNSUPPORTED, "is not supported (got {got}); {remedy}", {"got": shown(value), "remedy": remedy}
        )

    return BeforeValidator(check)


Text = Annotated[str, Field(pattern=NO_CONTROLS, json_schema_extra={"limit": "characters"})]
"""A text. Of control characters it may have tabs and line ends."""
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=NO_CONTROLS)]
"""A name that the client chooses."""
Seed = Annotated[int, Field(ge=0, lt=2**63), WHOLE]


class Message(BaseModel):
    """A request or a part of one: exactly these fields, of exactly these types."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class NullableMessage(Message):
    """A request in which null is the default of a field, as in requests of other programs."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, values: Any) -> Any:
        """Leave out what is null, which clients send for the default."""
        if not isinstance(values, dict):
            return values
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the JSON Schema, which allows null where a field may be left out."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        for name, field in schema["properties"].items():
            if name in schema["required"]:
                continue
            if "anyOf" not in field:
                own = [key for key in field if key not in ("default", "title", "limit")]
                field["anyOf"] = [{key: field.pop(key) for key in own}]
            if {"type": "null"} not in field["anyOf"]:
                field["anyOf"].append({"type": "null"})
        return schema


class Answer(BaseModel):
    """A response or a part of one. Responses are documented by these classes, and tests check them."""

    model_config = ConfigDict(strict=True, extra="forbid")


MessageT = TypeVar("MessageT", bound=BaseModel)


def read_message(form: type[MessageT], body: bytes | str, limits: Limits, reference: str = "/openapi.json") -> MessageT:
    """Read the body of a request.

    Args:
        form: what the body must be.
        body: JSON.
        limits: the limits of the server.
        reference: where the client finds a description of the fields.

    Raises:
        Refused: when the body is not JSON, does not fit the form, or is beyond a limit.
    """
    try:
        message = form.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise refusal(error, reference) from None
    total = 0
    lowered = {}
    for name, limit, value in _limited(message):
        most = getattr(limits, limit)
        size = len(value) if isinstance(value, str | list) else value
        total += size if limit == "characters" else 0
        if size > most and name in type(message).model_fields and name not in message.model_fields_set:
            # a default that the server does not allow
            lowered[name] = most
        elif size > most:
            raise too_large(name, limit, size, most, status=422)
    if total > limits.characters:
        raise too_large("all texts together", "characters", total, limits.characters)
    return message.model_copy(update=lowered) if lowered else message


def too_large(what: str, limit: str, size: int, most: int, *, status: int = 413) -> Refused:
    """The refusal of a request that is beyond a limit.

    Args:
        what: the field.
        limit: the name of the limit.
        size: what was given.
        most: the limit.
        status: the HTTP status: 413 for the whole request, and 422 for a field, whose limit the document shows.
    """
    units = {"characters": " characters", "texts": " texts", "body_bytes": " bytes"}.get(limit, "")
    option = f"--max-{limit.replace('_', '-')}"
    return Refused(
        status,
        f"{what}: at most {most:,}{units} (got {size:,}); send less at a time, or start the server with a larger "
        f"{option}",
        code="too_large",
        field=what.partition(".")[0] if status == 422 else None,
    )


def check_rows(rows: int, limits: Limits) -> None:
    """Check that an answer will not be too long.

    Args:
        rows: the number of tokens, candidates and values in it.
        limits: the limits of the server.

    Raises:
        Refused: when it would be.
    """
    if rows > limits.rows:
        raise Refused(
            422,
            f"the answer may have at most {limits.rows:,} tokens, candidates and values (got {rows:,}); ask for less "
            "at a time, or start the server with a larger --max-rows",
            code="too_large",
        )


def _limited(message: BaseModel, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """The values of a message that have a limit: the path, the limit and the value of each."""
    for name, limit in _limits_of(type(message)).items():
        value = getattr(message, name)
        own = path + name
        if isinstance(value, list):
            if limit or not isinstance(next(iter(value), None), BaseModel):
                yield own, limit or _limit_of(value), value
            yield from _items(own, value)
        elif isinstance(value, BaseModel):
            yield from _limited(value, f"{own}.")
        elif isinstance(value, str) or (limit is not None and value is not None):
            yield own, limit or "characters", value


@functools.cache
def _limits_of(form: type[BaseModel]) -> dict[str, str | None]:
    """The fields that may have a limit, and the name of the limit where one is marked."""
    found: dict[str, str | None] = {}
    for name, field in form.model_fields.items():
        marks = [field.json_schema_extra, *(getattr(mark, "json_schema_extra", None) for mark in field.metadata)]
        limits = [str(mark["limit"]) for mark in marks if isinstance(mark, dict) and "limit" in mark]
        if limits or field.annotation not in (bool, float):
            found[name] = limits[0] if limits else None
    return found


def _items(path: str, values: list[Any]) -> Iterator[tuple[str, str, Any]]:
    for value in values:
        if isinstance(value, str):
            yield f"{path}.item", "characters", value
        elif isinstance(value, BaseModel):
            yield from _limited(value, f"{path}.")
        elif isinstance(value, list):
            yield f"{path}.item", _limit_of(value), value
            yield from _items(path, value)


def _limit_of(values: list[Any]) -> str:
    """The limit of a list: that of texts or, where it holds the ids of tokens, that of their text."""
    return "characters" if values and isinstance(values[0], int) else "texts"
