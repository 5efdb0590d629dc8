"""The backend and the precision that layers and heads train with.

Evaluation always runs by torch's operations in float32, and whatever is chosen for training, parameters, carried state,
cells and sums stay float32.
"""

import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn

Function = TypeVar("Function", bound=Callable[..., Any])


class Backend(NamedTuple):
    """What a layer or a head trains with.

    Attributes:
        native: the library's kernels, in C++ on a CPU and in Triton on a GPU, where they exist and can be compiled;
            otherwise torch's operations.
        bf16: matmul inputs are rounded to bfloat16.
    """

    native: bool = False
    bf16: bool = False

    def matmul_dtype(self, like: Tensor) -> torch.dtype:
        """The dtype of matmul inputs: that of a tensor, or bfloat16 in place of float32."""
        return torch.bfloat16 if self.bf16 and like.dtype == torch.float32 else like.dtype


TORCH = Backend()

BF16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")
"""Names that torch gives to instructions for bfloat16 matrices, the best first."""


class NativeFrom(NamedTuple):
    """Sizes from which native kernels are faster than torch's operations; None where they are at no size.

    The setting `auto` follows it. Figures for a CPU were measured by `refrain bench train` and `bench cells`; those for
    a GPU were not.
    """

    cpu_float32: int | None = None
    cpu_bf16: int | None = None
    cuda_float32: int | None = None
    cuda_bf16: int | None = None

    def includes(self, size: int, device: str, *, bf16: bool) -> bool:
        """Whether a size is large enough on a device (cpu or cuda), with or without bf16."""
        smallest = getattr(self, f"{device}_{'bf16' if bf16 else 'float32'}", None)
        return smallest is not None and size >= smallest


class Part(Protocol):
    """A part of a model, a layer or a head, that can train with several backends."""

    backend: Backend
    """What it trains with."""
    kernels: str
    """Stem of the C++ file of its kernels."""
    native_from: NativeFrom

    @property
    def backends(self) -> Collection[str]:
        """Names of the backends that it implements, of torch, native and scan."""
        ...

    @property
    def native_size(self) -> int:
        """The size that `native_from` refers to."""
        ...


def parts_with_backend(module: nn.Module) -> Iterator[tuple[str, Part]]:
    """The parts of a module that have a backend to choose, each with its name.

    The layers inside a layer, such as the blocks of a `SparseLSTM`, follow its choice and are left out.

    Args:
        module: a model, a layer or a head.
    """
    layers: list[str] = []
    for name, part in module.named_modules():
        if isinstance(getattr(part, "backend", None), Backend) and not name.startswith(tuple(layers)):
            yield name, part
            if "scan" in part.backends:
                layers.append(f"{name}." if name else "")


def use_backend(module: nn.Module, backend: Backend) -> None:
    """Let every part of a module that has a choice train with a backend. Changes them in place.

    Args:
        module: a model, a layer or a head.
        backend: what to train with.
    """
    for _, part in parts_with_backend(module):
        part.backend = backend
    use_native_transforms(module, backend.native)


def use_native_transforms(module: nn.Module, native: bool) -> None:
    """Let transforms of weights use their kernels, or torch's operations, which compute the same. In place.

    Args:
        module: a model or a layer.
        native: whether the kernels are used.
    """
    for _, part in module.named_modules():
        if isinstance(getattr(part, "native", None), bool):
            part.native = native


def outside_compiler(function: Function) -> Function:
    """A function that `torch.compile` does not trace while it compiles what is around it.

    Traced, a recurrent kernel becomes its steps one after another, which take minutes to compile and run slower. So a
    layer cannot be compiled with `fullgraph=True`.

    Args:
        function: such as `torch.lstm`.
    """
    if torch.compiler.is_dynamo_compiling():
        disabled: Function = torch.compiler.disable(function)
        return disabled
    return function


def outside_autocast(function: Function) -> Function:
    """Wrap a function so that autocast does not change the dtype of its matmuls on a CPU.

    Kernels read the results through pointers to float32. A result that autocast rounded to bfloat16 has half the bytes,
    so they would read past its end.

    Args:
        function: such as `torch.mm`; called with positional arguments.
    """

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        if not torch.is_autocast_enabled("cpu"):
            return function(*arguments)
        with torch.autocast("cpu", enabled=False):
            return function(*arguments)

    return cast("Function", run)


def has_fast_bf16(device: str = "cpu") -> bool:
    """Whether a device has instructions that multiply bfloat16 matrices.

    Args:
        device: cpu or cuda.
    """
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and bool(bf16_instructions())


def bf16_instructions() -> str:
    """The instructions with which torch multiplies bfloat16 matrices on this CPU, such as amx_bf16; empty without any.

    oneDNN, which multiplies for torch, uses the best that the processor has.
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return next((name for name in BF16_INSTRUCTIONS if capabilities.get(name, False)), "")
