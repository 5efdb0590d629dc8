"""Loading and launching GPU kernels, which are written in Triton, and what happens without Triton.

Triton comes with the builds of torch for CUDA on Linux. It is not imported before a layer trains on a GPU. A kernel
does everything between two matmuls of a step in one launch, for which torch would need about ten.
"""

import functools
import importlib
import importlib.util
from types import ModuleType

import torch
from torch import Tensor

from .call import has_failed, note_failure

BLOCK = 256
"""Units that one program of a kernel computes."""


def has_triton() -> bool:
    """Whether Triton is installed; does not import it."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def load(architecture: str) -> ModuleType | None:
    """The kernels of an architecture, or None if Triton cannot be imported; the cause is reported once.

    Args:
        architecture: a folder of nn/recurrent with a file triton.py.
    """
    try:
        return importlib.import_module(f"refrain.nn.recurrent.{architecture}.triton")
    except Exception as error:  # a broken installation of Triton raises anything
        note_failure(f"{architecture}_triton", _first_line(error))
        return None


def launch(architecture: str, function: str, units: int, *arguments: Tensor | int | bool) -> bool:
    """Run a kernel, one program for every `BLOCK` units; returns whether it was launched.

    A kernel that cannot be compiled or launched has written nothing. The cause is reported once as a warning, and the
    kernel is not launched again.

    Args:
        architecture: a folder of nn/recurrent with a file triton.py.
        function: a kernel in that file; its last two parameters are the units and BLOCK.
        units: how many there are.
        arguments: of the kernel, the first a tensor; without the last two.
    """
    name = f"{architecture}_{function}_triton"
    if has_failed(name):
        return False
    kernels = load(architecture)
    if kernels is None:
        return False
    first = arguments[0]
    assert isinstance(first, Tensor)
    try:
        with torch.cuda.device_of(first):
            getattr(kernels, function)[(-(-units // BLOCK),)](*arguments, units, BLOCK=BLOCK)
    except Exception as error:  # compilers and drivers raise anything
        note_failure(name, _first_line(error))
        return False
    return True


def _first_line(error: Exception) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line}".removesuffix(": ")
