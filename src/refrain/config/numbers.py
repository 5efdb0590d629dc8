"""Numbers and truth values as their settings keep them, whatever they were given as: 3 for 3.0, "3" and `int64(3)`."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from .mistakes import Setting
from .schema import fields_named


def with_plain_numbers(settings: Mapping[str, Setting], root: type[BaseModel]) -> dict[str, Setting]:
    """Settings whose numbers, truth values and lists of numbers are those that the validator makes of them.

    What it refuses stays as it is, and so does a whole number for a setting that takes fractions.

    Args:
        settings: by dotted name.
        root: the class of all settings, such as `Experiment`.
    """
    return {name: each._replace(value=_plain(name, each.value, root)) for name, each in settings.items()}


def _plain(name: str, value: Any, root: type[BaseModel]) -> Any:
    for adapter in _adapters(name, root):
        with contextlib.suppress(ValidationError):
            found = adapter.validate_python(value)
            if isinstance(found, tuple):
                return list(found)
            return value if type(value) is int and type(found) is float else found
    return value


@functools.cache
def _adapters(name: str, root: type[BaseModel]) -> tuple[TypeAdapter[Any], ...]:
    """The validators of a setting, one for each variant that has it; none for one that takes something else."""
    fields = [field for field in fields_named(root, name) if _takes_numbers(field.annotation)]
    # the word has no effect; Annotated needs one where a field has no limits
    annotations: list[Any] = [Annotated[field.annotation, "plain", *field.metadata] for field in fields]
    return tuple(map(TypeAdapter, annotations))


def _takes_numbers(annotation: Any) -> bool:
    return {*_types_in(annotation)} <= {int, float, bool, NoneType}


def _types_in(annotation: Any) -> Iterator[Any]:
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        arguments = arguments[:1]
    if not arguments:
        yield annotation
    for each in arguments:
        if each is not Ellipsis:
            yield from _types_in(each)
