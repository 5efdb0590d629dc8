"""What the reader of pickles makes of anything that is not plain data: names, records, storages and tensors.

None of them runs code. A name is two strings, and a record is the name of a class or function with what was given to
it.
"""

from dataclasses import dataclass, field
from typing import Any

LARGEST_DIMENSIONS = 16


class HostilePickleError(ValueError):
    """A pickle that no program for language models writes; the message names what is wrong with it."""


@dataclass(frozen=True)
class Name:
    """The name of a class or function, which is not imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Record:
    """What a class or function would have made, as plain data.

    Attributes:
        name: the class or function.
        args: its arguments.
        state: what was to be its attributes.
        items: what was to be its items, if it is a mapping.
        elements: what was to be its elements, if it is a sequence.
    """

    name: Name
    args: tuple[Any, ...] = ()
    state: Any = None
    items: dict[Any, Any] = field(default_factory=dict)
    elements: list[Any] = field(default_factory=list)

    def attribute(self, name: str) -> Any:
        """An attribute from the state, or None."""
        return self.state.get(name) if isinstance(self.state, dict) else None


@dataclass(frozen=True)
class Storage:
    """The numbers that tensors are views of.

    Attributes:
        dtype: the name of a torch dtype.
        key: the name of the storage in its file.
        size: its length in numbers.
    """

    dtype: str
    key: str
    size: int


@dataclass(eq=False)
class StoredTensor:
    """A tensor that has not been read.

    Attributes:
        storage: the numbers that it is a view of.
        offset: the index of its first number.
        shape: its shape.
        strides: the distance of neighbours along each axis.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.strides)
        if not all(type(number) is int and 0 <= number < 2**40 for number in numbers):
            raise HostilePickleError("a tensor whose offset, sizes or strides are not whole numbers of a usual size")
        if len(self.shape) != len(self.strides) or len(self.shape) > LARGEST_DIMENSIONS:
            raise HostilePickleError(f"a tensor of {len(self.shape)} sizes and {len(self.strides)} strides")
        count, last = 1, self.offset
        for size, stride in zip(self.shape, self.strides, strict=True):
            count *= size
            last += (size - 1) * stride
        if count and (last >= self.storage.size or count > self.storage.size):
            raise HostilePickleError(
                f"a tensor of shape {list(self.shape)} that needs more than the {self.storage.size:,} numbers of its "
                "storage"
            )
