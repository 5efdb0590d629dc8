"""The header of a safetensors file: the name and shape of each tensor, checked against the size of the file.

The file begins with the length of the header in eight bytes, then comes the header as JSON, then the data without gaps.
"""

import math
from typing import Any, BinaryIO

from .plain_json import loads

MAX_HEADER_BYTES = 16 * 2**20
"""A tensor takes about 100 bytes of the header, and a model has a few hundred at most."""
MAX_TENSORS = 50_000
"""Far more than the thousands of tensors that a model of many small layers has with its training state."""
MAX_DIMENSIONS = 16
"""A product of more sizes could take long to compute; weights have three dimensions at most."""
_BYTES = {
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 2),
    **dict.fromkeys(("I32", "U32", "F32"), 4),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 8),
}


def read_shapes(file: BinaryIO, size: int) -> dict[str, tuple[int, ...]]:
    """Read the shape of each tensor by name from the header of a safetensors file; see `read_header`."""
    return read_header(file, size)[0]


def read_header(file: BinaryIO, size: int) -> tuple[dict[str, tuple[int, ...]], dict[str, Any]]:
    """Read the header of a safetensors file.

    Args:
        file: the file, at its beginning.
        size: its size in bytes.

    Returns:
        The shape of each tensor by name, and the metadata.

    Raises:
        ValueError: when the header is damaged, or does not describe all bytes of the file and no others.
    """
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > size - 8:
        raise ValueError("its header is longer than the file")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
    header = loads(file.read(length))
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise ValueError(f"its header is not an object with at most {MAX_TENSORS:,} tensors")
    metadata = header.pop("__metadata__", {})
    shapes = {}
    spans = []
    for name, entry in header.items():
        try:
            shape = tuple(entry["shape"])
            start, stop = entry["data_offsets"]
            sound = all(type(count) is int and 0 <= count < 2**63 for count in (*shape, start, stop))
            if not sound or len(shape) > MAX_DIMENSIONS or stop - start != math.prod(shape) * _BYTES[entry["dtype"]]:
                raise ValueError(f"the sizes of {name[:100]!r} in its header contradict each other")
        except (KeyError, TypeError):
            raise ValueError(f"its header does not describe {name[:100]!r}") from None
        shapes[name] = shape
        spans.append((start, stop))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ValueError("its header leaves a gap between tensors")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"its header describes {end:,} bytes of tensors, the file has {size - 8 - length:,}")
    return shapes, metadata if isinstance(metadata, dict) else {}
