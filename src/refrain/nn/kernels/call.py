"""Calls of C++ kernels, and what happens when one fails.

A kernel is an `extern "C"` function that takes pointers to contiguous tensors, then sizes, then the number of threads,
and returns a status: 0, or a key of `CAUSES`. A kernel that needs scratch memory has a second function beside it, of
the same name with `_workspace` behind it, that returns how many 32-bit words it needs for the same sizes and threads.
"""

import ctypes
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from .compile import load
from .workspace import Workspace

CAUSES = {1: "no memory was left for its buffers"}

DTYPE_NAMES = {torch.float32: "float32", torch.bfloat16: "bf16"}
"""How the type of matmul inputs is written in the name of a kernel."""

_failed: dict[str, str] = {}


class Addressed(Protocol):
    """Whatever has an address that a kernel reads or writes, such as a tensor."""

    def data_ptr(self) -> int:
        """The address."""
        ...


def call(file: str, function: str, *arguments: Addressed | int | None) -> bool:
    """Run a kernel on tensors in CPU memory; returns whether it succeeded.

    A kernel that fails has written nothing. Its cause is reported once as a warning, and it is not called again.

    Args:
        file: stem of the C++ file.
        function: name of the kernel.
        arguments: contiguous tensors, or None for no tensor; then sizes. The number of threads is appended.
    """
    if function in _failed:
        return False
    library = load(file)
    if library is None:
        return False
    kernel = getattr(library, function, None)
    if kernel is None:
        note_failure(function, "it is not in the compiled file")
        return False
    assert all(part.is_contiguous() for part in arguments if isinstance(part, Tensor)), function
    status = _invoke(kernel, arguments)
    if status:
        note_failure(function, CAUSES.get(status, f"it returned the status {status}"))
    return not status


def run(file: str, function: str, *arguments: Addressed | int | None) -> None:
    """Run a kernel that has no fallback; arguments are those of `call`.

    Args:
        file: stem of the C++ file.
        function: name of the kernel.
        arguments: contiguous tensors, or None for no tensor; then sizes.

    Raises:
        RuntimeError: when the kernel fails.
    """
    if not call(file, function, *arguments):
        raise RuntimeError(f"the kernel {function} failed: {_failed.get(function, f'{file} is not compiled')}")


def run_window(
    file: str,
    direction: str,
    dtype: torch.dtype,
    *,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    workspace: Workspace,
    sizes: Sequence[int],
) -> None:
    """Run the kernel of a recurrent layer over a window.

    Args:
        file: stem of the C++ file, which is also how the name of the kernel begins.
        direction: forward or backward.
        dtype: type of the matmul inputs.
        inputs: tensors that the kernel reads, contiguous.
        outputs: tensors that the kernel writes, contiguous.
        workspace: where its scratch memory is allocated.
        sizes: as the kernel takes them, such as T, B and H.

    Raises:
        RuntimeError: when the kernel fails.
    """
    function = f"{file}_{direction}_{DTYPE_NAMES[dtype]}"
    scratch = workspace.allocate((workspace_words(file, function, sizes),))
    run(file, function, *inputs, *outputs, scratch, *sizes)


def workspace_words(file: str, function: str, sizes: Sequence[int]) -> int:
    """How many 32-bit words of scratch memory a kernel needs, as C++ computes it.

    Args:
        file: stem of the C++ file.
        function: name of the kernel.
        sizes: as the kernel takes them.

    Raises:
        RuntimeError: when the file is not compiled.
    """
    library = load(file)
    if library is None:
        raise RuntimeError(f"the kernel {function} failed: {file} is not compiled")
    count = getattr(library, f"{function}_workspace")
    count.restype = ctypes.c_int64
    return int(_invoke(count, sizes))


def _invoke(function: Any, arguments: Sequence[Addressed | int | None]) -> int:
    """Call a compiled function; the types of its parameters are those of the first arguments that it gets."""
    if function.argtypes is None:
        types = [ctypes.c_int64 if isinstance(part, int) else ctypes.c_void_p for part in arguments]
        function.argtypes = [*types, ctypes.c_int64]
    words = [part if part is None or isinstance(part, int) else part.data_ptr() for part in arguments]
    status: int = function(*words, torch.get_num_threads())
    return status


def has_failed(function: str) -> bool:
    """Whether a kernel has failed in this process, after which it is not called again.

    Args:
        function: its name.
    """
    return function in _failed


def note_failure(function: str, cause: str) -> None:
    """Remember that a kernel has failed, and warn.

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
