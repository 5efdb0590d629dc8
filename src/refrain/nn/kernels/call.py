"""Calling a kernel, and going on without it where it fails."""

import ctypes
import warnings

import torch
from torch import Tensor

from .compile import load

CAUSES = {1: "no memory was left for its buffers"}

_failed: dict[str, str] = {}


def call(file: str, function: str, *arguments: Tensor | int | None) -> bool:
    """Run a kernel on tensors in the memory of the processor; whether it did its work.

    A kernel that fails has written nothing. The cause is said once, and the kernel is not asked again.

    Args:
        file: stem of the C++ file.
        function: in it; returns 0 or a number of `CAUSES`, and takes the threads last.
        arguments: contiguous tensors, whole numbers, None for no tensor; without the threads.
    """
    if has_failed(function):
        return False
    library = load(file)
    if library is None:
        return False
    kernel = getattr(library, function, None)
    if kernel is None:
        note_failure(function, "it is not in the compiled file")
        return False
    assert all(part.is_contiguous() for part in arguments if isinstance(part, Tensor)), function
    words = [
        ctypes.c_int64(part) if isinstance(part, int) else ctypes.c_void_p(None if part is None else part.data_ptr())
        for part in (*arguments, torch.get_num_threads())
    ]
    status = kernel(*words)
    if status:
        note_failure(function, CAUSES.get(status, f"it gave the status {status}"))
    return not status


def has_failed(function: str) -> bool:
    """Whether a kernel has failed in this process, and is not to be asked again.

    Args:
        function: its name.
    """
    return function in _failed


def note_failure(function: str, cause: str) -> None:
    """Remember that a kernel has failed, and say so.

    Args:
        function: its name.
        cause: in words.
    """
    _failed[function] = cause
    warnings.warn(
        f"the fast kernel {function} failed ({cause}), so plain torch operations take over, which are slower",
        stacklevel=3,
    )


def failures() -> dict[str, str]:
    """The kernels that have failed in this process, and why."""
    return dict(_failed)
