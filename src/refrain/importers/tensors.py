"""The named tensors of a file, each checked when it is read, and those that nobody has read."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refrain.errors import CheckpointError, quantity, shortened
from refrain.storage.regular_files import open_regular, read_regular
from refrain.storage.tensor_header import read_shapes

from .records import Record
from .state import find_state
from .torch_file import opened

LARGEST_FILE = 2**36
SHOWN = 5


class Tensors:
    """The tensors of a model, by their names in PyTorch.

    Args:
        path: the file, for messages.
        shapes: the shape of each tensor.
        read: reads a tensor.
        module: the record of the module, if a whole module was saved.
        beside: what was saved beside the model, by key, or by index in a list.
    """

    def __init__(
        self,
        path: Path,
        shapes: Mapping[str, tuple[int, ...]],
        read: Callable[[str], Tensor],
        *,
        module: Record | None = None,
        beside: Mapping[Any, Any] | None = None,
    ) -> None:
        self.path = path
        self.shapes = dict(shapes)
        self.module = module
        self.beside = dict(beside or {})
        self._read = read
        self._used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        """The shape of a tensor that must exist.

        Args:
            name: of the tensor.
            dimensions: the number of its dimensions.

        Raises:
            CheckpointError: when it is missing, empty or has another number of dimensions.
        """
        if name not in self.shapes:
            raise CheckpointError(f"{self.path}: has no {name}; it has {listed(self.shapes)}")
        shape = self.shapes[name]
        if len(shape) != dimensions or 0 in shape:
            raise CheckpointError(
                f"{self.path}: {name} must have {quantity(dimensions, 'dimension')} (got shape {list(shape)})"
            )
        return shape

    def read(self, name: str, *shape: int) -> Tensor:
        """Read a tensor as float32.

        Args:
            name: of the tensor.
            shape: the shape that it must have.

        Raises:
            CheckpointError: when it is missing, or has another shape, another dtype or values that are not finite.
        """
        found = self.shape(name, len(shape))
        if found != shape:
            raise CheckpointError(f"{self.path}: {name} has shape {list(found)}, but {list(shape)} fits the others")
        self._used.add(name)
        tensor = self._read(name)
        if not tensor.is_floating_point():
            raise CheckpointError(f"{self.path}: {name} has the dtype {tensor.dtype}, which is not one of weights")
        tensor = tensor.float()
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{self.path}: {name} has values that are not finite in float32")
        return tensor

    def ignore(self, name: str) -> None:
        """Count a tensor as read, which says nothing that others do not say."""
        self._used.add(name)

    def unused(self) -> list[str]:
        """The names of the tensors that nobody has read."""
        return sorted(set(self.shapes) - self._used)

    def equals(self, name: str, other: Tensor) -> bool:
        """Whether a tensor has the values of another one in float32; it does not count as read."""
        return self.shapes[name] == tuple(other.shape) and torch.equal(self._read(name).float(), other)

    def check_all_used(self, remedy: str = "") -> None:
        """Check that every tensor has been read, so that no part of the model is left out.

        Args:
            remedy: what the user can do, which ends the message.

        Raises:
            CheckpointError: when one has not; the message names it.
        """
        if unused := self.unused():
            raise CheckpointError(
                f"{self.path}: has parts that the format does not have or this library cannot express: {listed(unused)}"
                f"{remedy and f'; {remedy}'}"
            )


def listed(names: Mapping[str, Any] | list[str]) -> str:
    """The first few of some names, for a message."""
    ordered = list(names)
    more = f" and {len(ordered) - SHOWN:,} more" if len(ordered) > SHOWN else ""
    return ", ".join(shortened(name, 80) for name in ordered[:SHOWN]) + more


@contextlib.contextmanager
def tensors_of(path: Path) -> Iterator[Tensors]:
    """Open a file of `torch.save` or a safetensors file.

    Args:
        path: the file; one of safetensors ends in `.safetensors`.

    Raises:
        CheckpointError: when it is missing or damaged, or holds no model.
    """
    if path.suffix == ".safetensors":
        yield _safetensors(path)
        return
    with opened(path) as file:
        state = find_state(file.root, path)
        yield Tensors(
            path,
            {name: tensor.shape for name, tensor in state.tensors.items()},
            lambda name: file.tensor(state.tensors[name]),
            module=state.module,
            beside=state.beside,
        )


def _safetensors(path: Path) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            shapes = read_shapes(file, size)
        content = read_regular(path, limit=size)
        # read again from the bytes, as the file may have changed
        shapes = read_shapes(io.BytesIO(content), len(content))
        found = from_bytes(content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path}: is not a safetensors file ({error})") from None
    return Tensors(path, shapes, lambda name: found[name])
