"""Calls of C++ kernels, and what happens when one fails.

A kernel is an `extern "C"` function that takes pointers to contiguous tensors, then sizes, then the number of threads,
and returns a status: 0, or a key of `CAUSES`. A kernel that needs scratch memory has a second function beside it, of
the same name with `_workspace` behind it, that returns how many 32-bit words it needs for the same sizes and threads.
"""

import ctypes
import functools
import warnings
from collections.abc import Callable, Sequence
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
    """Run a kernel that has a fallback; returns whether it succeeded.

    A kernel that fails has written nothing. Its cause is reported once as a warning, and it is not called again.

    Args:
        file: stem of the C++ file.
        function: name of the kernel.
        arguments: contiguous tensors in CPU memory, or None for no tensor; then sizes. The number of threads is
            appended.
    """
    library = load(file)
    if library is None or function in _failed:
        return False
    compiled = getattr(library, function, None)
    if compiled is None:
        note_failure(function, "it is not in the compiled file")
        return False
    assert all(part.is_contiguous() for part in arguments if isinstance(part, Tensor)), function
    status = _status(compiled, arguments)
    if status:
        note_failure(function, _cause(status))
    return not status


@functools.cache
def kernel(file: str, function: str) -> Callable[..., None]:
    """A kernel that has no fallback, as a function of the arguments that `call` passes on.

    It is looked up once, as kernels run several times for each token that is generated. The function raises
    RuntimeError when the kernel fails.

    Args:
        file: stem of the C++ file.
        function: name of the kernel.

    Raises:
        RuntimeError: when the file is not compiled.
    """
    compiled = getattr(_loaded(file), function)
    count_threads = torch.get_num_threads

    def run(*arguments: Addressed | int | None) -> None:
        # as `_status`, without another call
        if compiled.argtypes is None:
            compiled.argtypes = _types(arguments)
        words = [part if part is None or part.__class__ is int else part.data_ptr() for part in arguments]  # type: ignore[union-attr]
        if status := compiled(*words, count_threads()):
            raise RuntimeError(f"the kernel {function} failed: {_cause(status)}")

    return run


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
    assert all(tensor.is_contiguous() for tensor in (*inputs, *outputs)), function
    scratch = workspace.allocate((workspace_words(file, function, sizes),))
    kernel(file, function)(*inputs, *outputs, scratch, *sizes)


def workspace_words(file: str, function: str, sizes: Sequence[int]) -> int:
    """How many 32-bit words of scratch memory a kernel needs, as C++ computes it.

    Args:
        file: stem of the C++ file.
        function: name of the kernel.
        sizes: as the kernel takes them.

    Raises:
        RuntimeError: when the file is not compiled.
    """
    return _words(file, function, tuple(sizes), torch.get_num_threads())


@functools.lru_cache(maxsize=1024)
def _words(file: str, function: str, sizes: tuple[int, ...], threads: int) -> int:
    count = getattr(_loaded(file), f"{function}_workspace")
    count.restype = ctypes.c_int64
    count.argtypes = [ctypes.c_int64] * (len(sizes) + 1)
    words: int = count(*sizes, threads)
    return words


def _status(compiled: Any, arguments: Sequence[Addressed | int | None]) -> int:
    """What a compiled function returns."""
    if compiled.argtypes is None:
        compiled.argtypes = _types(arguments)
    words = [part if part is None or part.__class__ is int else part.data_ptr() for part in arguments]  # type: ignore[union-attr]
    status: int = compiled(*words, torch.get_num_threads())
    return status


def _types(arguments: Sequence[Addressed | int | None]) -> list[type]:
    """The types of a function's parameters, from the first arguments that it gets; the number of threads comes last."""
    types = [ctypes.c_int64 if isinstance(part, int) else ctypes.c_void_p for part in arguments]
    return [*types, ctypes.c_int64]


def _loaded(file: str) -> ctypes.CDLL:
    library = load(file)
    if library is None:
        raise RuntimeError(f"the kernels '{file}' are not compiled; install g++ or clang++")
    return library


def _cause(status: int) -> str:
    return CAUSES.get(status, f"it returned the status {status}")


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
