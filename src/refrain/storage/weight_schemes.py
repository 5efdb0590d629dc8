"""Weights that take less space in a checkpoint than float32: int8 with a scale for each row, and without their zeros.

A weight with a scheme is stored as several tensors of the same safetensors file, which are named after it, as in
`head.weight:multiples`. The metadata of the file have the scheme and the shape of each such weight; other tensors are
stored as they are. With n entries, R rows and z entries other than zero:

| scheme | tensors | bytes |
|---|---|---|
| `int8-rows` | multiples (R, n / R) int8, scales (R,) float32 | n + 4 R |
| `sparse` | bitmap of n bits, values (z,) float32 | n / 8 + 4 z |
| `sparse-int8-rows` | bitmap of n bits, values (z,) int8, scales (R,) float32 | n / 8 + z + 4 R |

A row is what the last axis runs along. Bit j of byte i of a bitmap says whether entry 8 i + j is stored.
"""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from .plain_json import loads

if TYPE_CHECKING:
    from torch import Tensor

SCHEMES = {
    "int8-rows": ("multiples", "scales"),
    "sparse": ("bitmap", "values"),
    "sparse-int8-rows": ("bitmap", "values", "scales"),
}
"""The tensors of each scheme. What a name means does not change: another way of storing has another name."""
KEY = "schemes"
"""The name in the metadata of a safetensors file."""
WORTHWHILE = 0.9
"""A weight is stored without its zeros if that takes at most this fraction of its bytes."""
MAX_DIMENSIONS = 16


class Int8Rows(NamedTuple):
    """A weight rounded to whole multiples of a scale for each row: `multiples * scales[..., None]`.

    Attributes:
        multiples: (..., columns), int8.
        scales: float32, one for each row: the product of all axes but the last.
    """

    multiples: "Tensor"
    scales: "Tensor"


class Scheme(NamedTuple):
    """How a weight is stored.

    Attributes:
        name: a key of `SCHEMES`.
        shape: the shape of the weight.
    """

    name: str
    shape: tuple[int, ...]


def pack(weights: "Mapping[str, Tensor | Int8Rows]") -> "tuple[dict[str, Tensor], dict[str, Scheme]]":
    """Return the tensors to store for some weights, and the scheme of each weight that has one.

    Matrices that are mostly zero are stored without zeros where that is smaller; -0.0 is an entry like any other.

    Args:
        weights: tensors by name; a weight that is rounded already is given as `Int8Rows`.
    """
    tensors: dict[str, Tensor] = {}
    schemes: dict[str, Scheme] = {}
    for name, weight in weights.items():
        parts, scheme = _parts(weight)
        if scheme is None:
            tensors |= {name: parts[""]}
        else:
            tensors |= {f"{name}:{part}": tensor for part, tensor in parts.items()}
            schemes[name] = scheme
    return tensors, schemes


def _parts(weight: "Tensor | Int8Rows") -> "tuple[dict[str, Tensor], Scheme | None]":
    rounded = isinstance(weight, Int8Rows)
    entries = weight.multiples if isinstance(weight, Int8Rows) else weight
    shape = tuple(entries.shape)
    scales = {"scales": weight.scales.contiguous()} if isinstance(weight, Int8Rows) else {}
    sparse = _without_zeros(entries)
    if sparse is not None:
        return sparse | scales, Scheme("sparse-int8-rows" if rounded else "sparse", shape)
    if rounded:
        return {"multiples": entries.contiguous()} | scales, Scheme("int8-rows", shape)
    return {"": entries.contiguous()}, None


def _without_zeros(entries: "Tensor") -> "dict[str, Tensor] | None":
    """The bitmap and the values of a matrix in float32 or int8, or None where they take no less space."""
    import torch

    bits = {torch.float32: torch.int32, torch.int8: torch.int8}.get(entries.dtype)
    if bits is None or entries.ndim < 2 or not entries.numel():
        return None
    flat = entries.detach().cpu().contiguous().flatten()
    # compared as bits, so that -0.0 is kept
    stored = flat.view(bits) != 0
    size, count = entries.element_size(), int(stored.count_nonzero())
    if len(flat) / 8 + size * count > WORTHWHILE * size * len(flat):
        return None
    import numpy as np

    return {"bitmap": torch.from_numpy(np.packbits(stored.numpy(), bitorder="little")), "values": flat[stored]}


def metadata(schemes: Mapping[str, Scheme]) -> dict[str, str] | None:
    """Return the metadata of a safetensors file with these schemes; None without any."""
    document = {name: {"scheme": scheme.name, "shape": scheme.shape} for name, scheme in schemes.items()}
    return {KEY: json.dumps(document)} if document else None


def header_size(shapes: Mapping[str, tuple[int, ...]], *, rounded: bool, without_zeros: bool) -> int:
    """Return how many bytes of a safetensors file are beside the tensors that some weights are stored as, at most.

    Args:
        shapes: the shape of each weight, by name.
        rounded: whether matrices are stored in int8.
        without_zeros: whether matrices are stored without their zeros.
    """
    scheme = f"sparse{'-int8-rows' if rounded else ''}" if without_zeros else "int8-rows" if rounded else None
    schemes = {name: Scheme(scheme, shape) for name, shape in shapes.items() if scheme and len(shape) >= 2}
    largest = 4 * sum(map(math.prod, shapes.values()))
    tensors: dict[str, tuple[int, ...]] = {name: shape for name, shape in shapes.items() if name not in schemes}
    for name, (_, shape) in schemes.items():
        count = math.prod(shape)
        sizes = {"multiples": shape, "scales": (count // shape[-1],), "bitmap": (count // 8 + 1,), "values": (count,)}
        tensors |= {f"{name}:{part}": sizes[part] for part in SCHEMES[schemes[name].name]}
    header: dict[str, Any] = {"__metadata__": metadata(schemes)} if schemes else {}
    header |= {
        name: {"dtype": "F32", "shape": shape, "data_offsets": (largest, largest)} for name, shape in tensors.items()
    }
    length = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    # 8 bytes with the length of the header, which is padded to a multiple of 8
    return 8 + -(-length // 8) * 8


def schemes_of(metadata: Mapping[str, Any]) -> dict[str, Scheme]:
    """Read the schemes of the weights from the metadata of a safetensors file.

    Raises:
        ValueError: when they are damaged.
    """
    if KEY not in metadata:
        return {}
    document = loads(metadata[KEY]) if isinstance(metadata[KEY], str) else None
    if not isinstance(document, dict):
        raise ValueError(f"its {KEY} are not an object")
    found = {}
    for name, entry in document.items():
        scheme, shape = (entry.get("scheme"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
        sizes = shape if isinstance(shape, list) and 2 <= len(shape) <= MAX_DIMENSIONS else [0]
        if scheme not in SCHEMES or not all(type(size) is int and 0 < size < 2**63 for size in sizes):
            raise ValueError(f"its {KEY} do not describe {name[:100]!r}")
        found[name] = Scheme(scheme, tuple(sizes))
    return found


def _check_once(stored: Mapping[str, Any], schemes: Mapping[str, Scheme]) -> None:
    if twice := stored.keys() & schemes.keys():
        raise ValueError(f"it holds {min(twice)[:100]!r} twice, with a scheme and without")


def shapes_of(shapes: Mapping[str, tuple[int, ...]], schemes: Mapping[str, Scheme]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight, from those of the stored tensors.

    Raises:
        ValueError: when a part of a weight is missing, or a weight is stored twice.
    """
    left = dict(shapes)
    _check_once(left, schemes)
    for name, scheme in schemes.items():
        for part in SCHEMES[scheme.name]:
            if left.pop(f"{name}:{part}", None) is None:
                raise ValueError(f"it holds no {part} of {name[:100]!r}")
    return left | {name: scheme.shape for name, scheme in schemes.items()}


def unpack(tensors: "Mapping[str, Tensor]", schemes: Mapping[str, Scheme]) -> "dict[str, Tensor]":
    """Return the weights that are stored as some tensors; those with a scheme are in float32.

    Args:
        tensors: the tensors of a file.
        schemes: the schemes of its weights.

    Raises:
        ValueError: when a weight is stored twice, a part is missing, or its size or dtype does not fit the shape of the
            weight.
    """
    left = dict(tensors)
    _check_once(left, schemes)
    found = {}
    for name, scheme in schemes.items():
        try:
            found[name] = _unpacked(scheme, {part: left.pop(f"{name}:{part}") for part in SCHEMES[scheme.name]})
        except KeyError as error:
            raise ValueError(f"it holds no {error.args[0][:100]!r}") from None
    return left | found


def _unpacked(scheme: Scheme, parts: "Mapping[str, Tensor]") -> "Tensor":
    import torch

    rounded = scheme.name.endswith("int8-rows")
    expected = {
        "multiples": (torch.int8, scheme.shape),
        "scales": (torch.float32, (math.prod(scheme.shape[:-1]),)),
        "bitmap": (torch.uint8, (-(-math.prod(scheme.shape) // 8),)),
        "values": (torch.int8 if rounded else torch.float32, None),
    }
    for part, tensor in parts.items():
        dtype, shape = expected[part]
        if tensor.dtype != dtype or (tuple(tensor.shape) != shape if shape else tensor.ndim != 1):
            raise ValueError(f"the {part} of a weight of shape {list(scheme.shape)} are {list(tensor.shape)}")
    entries = parts["multiples"] if "multiples" in parts else _with_zeros(scheme, parts["bitmap"], parts["values"])
    if not rounded:
        return entries
    return (entries.flatten(0, -2).float() * parts["scales"][:, None]).view(scheme.shape)


def _with_zeros(scheme: Scheme, bitmap: "Tensor", values: "Tensor") -> "Tensor":
    import numpy as np
    import torch

    count = math.prod(scheme.shape)
    stored = torch.from_numpy(np.unpackbits(bitmap.numpy(), count=count, bitorder="little").astype(bool))
    if int(stored.count_nonzero()) != len(values):
        raise ValueError(f"a bitmap has {int(stored.count_nonzero()):,} entries, but there are {len(values):,} values")
    entries = torch.zeros(count, dtype=values.dtype)
    entries[stored] = values
    return entries.view(scheme.shape)
