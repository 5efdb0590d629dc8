"""Kernels for GPUs, written in Triton: loaded when they are first wanted, and what to do without them.

Triton comes with the builds of torch for CUDA on Linux; nothing here imports it before a layer trains on a GPU. A
kernel does what stands between two matrix products of a step, in one launch where torch's operations take about ten.
"""

import functools
import importlib
import importlib.util
from types import ModuleType

import torch
from torch import Tensor

from .call import has_failed, note_failure

BLOCK = 256
"""Units that one program of a kernel takes."""


def has_triton() -> bool:
    """Whether Triton is installed; does not import it."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def load(name: str) -> ModuleType | None:
    """The kernels of a file, or None where Triton cannot be imported; the cause is said once and kept.

    Args:
        name: of an architecture, a folder of nn/recurrent with a file triton.py.
    """
    try:
        return importlib.import_module(f"refrain.nn.recurrent.{name}.triton")
    except Exception as error:  # a broken installation of Triton raises anything
        note_failure(f"{name}_triton", _said(error))
        return None


def launch(file: str, function: str, units: int, *arguments: Tensor | int | bool) -> bool:
    """Run a kernel, a program for every `BLOCK` units; whether it was launched.

    A kernel that cannot be compiled or launched has written nothing. The cause is said once, and it is not asked again.

    Args:
        file: an architecture, a folder of nn/recurrent with a file triton.py.
        function: a kernel in it; takes the units and BLOCK last.
        units: how many there are.
        arguments: of the kernel, the first a tensor; without the last two.
    """
    name = f"{file}_{function}_triton"
    if has_failed(name):
        return False
    kernels = load(file)
    if kernels is None:
        return False
    first = arguments[0]
    assert isinstance(first, Tensor)
    try:
        with torch.cuda.device_of(first):
            getattr(kernels, function)[(-(-units // BLOCK),)](*arguments, units, BLOCK=BLOCK)
    except Exception as error:  # compilers and drivers raise anything
        note_failure(name, _said(error))
        return False
    return True


def _said(error: Exception) -> str:
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}".removesuffix(": ")
