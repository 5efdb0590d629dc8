"""How layers and heads compute while they train: by which means, and in which precision.

Whatever is chosen, parameters, carried state, cells and sums are float32, and evaluation takes the plain float32 way.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .compile import load


class Engine(NamedTuple):
    """What a layer or a head trains with.

    Attributes:
        kernels: the library's own kernels for the device, where there are some and they can be compiled; otherwise
            torch's operations.
        bf16: operands of matrix products are rounded to bfloat16.
    """

    kernels: bool = False
    bf16: bool = False


PLAIN = Engine()

SCANNED = ("cuda",)
"""Kinds of devices on which layers run `window_scan` where their engine asks for kernels or for bf16."""


def use_engine(module: nn.Module, engine: Engine) -> None:
    """Let every part of a module that has a choice train with an engine. Changes them in place.

    Args:
        module: a model, a layer or a head.
        engine: what to train with.
    """
    for part in module.modules():
        if isinstance(getattr(part, "engine", None), Engine):
            setattr(part, "engine", engine)  # noqa: B010


def kernels_for(layer: nn.Module, *tensors: Tensor) -> bool:
    """Whether a layer runs a window by kernels: it trains, its engine wants them, they are there and take its tensors.

    Args:
        layer: with an engine, and in `kernels` the stem of its C++ file.
        tensors: what the kernels are given; they take float32 in the memory of the processor.
    """
    return bool(
        layer.training
        and torch.is_grad_enabled()
        and layer.engine.kernels  # type: ignore[union-attr]
        and all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
        and _are_there(str(layer.kernels))
    )


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _are_there(name: str) -> bool:
    """Whether a file's kernels can be had; a compiler that traces it would lose their cache."""
    return load(name) is not None


def scans(layer: nn.Module, *tensors: Tensor) -> bool:
    """Whether a layer runs a window by a scan with its engine, on a GPU: it trains, and by more than torch's kernel.

    torch's kernels there are cuDNN's, which in bfloat16 would hold the cells in bfloat16, too.

    Args:
        layer: with an engine.
        tensors: of the window.
    """
    engine: Any = layer.engine
    return bool(
        layer.training
        and torch.is_grad_enabled()
        and (engine.kernels or engine.bf16)
        and all(tensor.dtype == torch.float32 and tensor.device.type in SCANNED for tensor in tensors)
    )


def has_fast_bf16(device: str = "cpu") -> bool:
    """Whether a device multiplies matrices of bfloat16 by instructions of its own.

    Args:
        device: its kind, cpu or cuda.
    """
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "sve_bf16", "bf16"))
