"""Reads `.npy` files of numbers; one that holds pickled objects is refused."""

import io
import math
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from refrain.errors import CheckpointError, shortened
from refrain.storage.regular_files import read_regular

MAX_BYTES = 2**34
MAX_DIMENSIONS = 4
MAX_HEADER = 2000
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_array(path: Path) -> Tensor:
    """Read an array of floating-point numbers as a float32 tensor.

    Args:
        path: the file.

    Raises:
        CheckpointError: when it is missing or damaged, or holds anything else.
    """
    try:
        content = read_regular(path, limit=MAX_BYTES)
        return _parsed(content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        reason = shortened(" ".join(str(error).split()), 200)
        raise CheckpointError(f"{path}: is not an array of numbers as numpy.save writes it ({reason})") from None


def _parsed(content: bytes) -> Tensor:
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    if version not in _READERS:
        raise ValueError(f"format {version}")
    shape, by_columns, dtype = _READERS[version](file, max_header_size=MAX_HEADER)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects, which are not read")
    if dtype.kind != "f" or len(shape) > MAX_DIMENSIONS:
        raise ValueError(f"{len(shape)} dimensions of {dtype}")
    start = file.tell()
    if math.prod(shape) * dtype.itemsize != len(content) - start:
        raise ValueError(f"shape {list(shape)} does not fit its {len(content) - start:,} bytes")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if by_columns else "C")
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32).copy())
    if not torch.isfinite(tensor).all():
        raise ValueError("values that are not finite")
    return tensor
