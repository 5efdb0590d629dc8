"""The instruction levels that kernels are compiled for, and those that this processor has.

A level is a set of instructions with a name. What a processor has is what Linux lists in /proc/cpuinfo, from which
instructions are missing that the system does not support. The environment variable REFRAIN_NATIVE chooses a level.
"""

import ctypes
import functools
import os
import platform
from pathlib import Path
from typing import NamedTuple

from refrain.errors import MachineError

SWITCH = "REFRAIN_NATIVE"
OFF = "off"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Names of machines on other systems -> their names on Linux."""
_V3 = ("avx2", "fma", "f16c", "bmi1", "bmi2", "abm", "movbe")
_V4 = (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
_WIDE = ("-march=x86-64-v4", "-mprefer-vector-width=512")
_V4_BF16 = (*_V4, "avx512_vnni", "avx512_bf16")
_WIDE_BF16 = (*_WIDE, "-mavx512vnni", "-mavx512bf16")


class Level(NamedTuple):
    """A set of instructions.

    Attributes:
        name: as it is recorded and chosen.
        machine: as `platform.machine` names it on Linux.
        needs: the words of /proc/cpuinfo that a processor with these instructions has.
        flags: of the compiler, which GCC and clang share.
    """

    name: str
    machine: str
    needs: tuple[str, ...]
    flags: tuple[str, ...]


LEVELS = (
    Level(
        "amx_bf16",
        "x86_64",
        (*_V4_BF16, "amx_tile", "amx_bf16", "amx_int8"),
        (*_WIDE_BF16, "-mamx-tile", "-mamx-bf16", "-mamx-int8"),
    ),
    Level("avx512_bf16", "x86_64", _V4_BF16, _WIDE_BF16),
    Level("avx512_vnni", "x86_64", (*_V4, "avx512_vnni"), (*_WIDE, "-mavx512vnni")),
    Level("avx512", "x86_64", _V4, _WIDE),
    Level("avx2_vnni", "x86_64", (*_V3, "avx_vnni"), ("-march=x86-64-v3", "-mavxvnni")),
    Level("avx2", "x86_64", _V3, ("-march=x86-64-v3",)),
    Level("sse2", "x86_64", ("sse2",), ("-march=x86-64",)),
    Level(
        "neon_bf16",
        "aarch64",
        ("asimd", "asimdrdm", "atomics", "bf16", "i8mm"),
        ("-march=armv8.2-a+bf16+i8mm",),
    ),
    Level("neon", "aarch64", ("asimd",), ("-march=armv8-a",)),
)
"""All levels, of each machine the best first. The flags of x86-64-v3 and x86-64-v4 are in the ABI of x86-64."""


@functools.cache
def processor() -> tuple[str, ...]:
    """The lines of /proc/cpuinfo that describe the processor; without this file, its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return (f"{platform.machine()} {platform.processor()}",)
    return tuple(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def processor_name() -> str:
    """The name of the processor, as the system gives it."""
    names = [line.partition(":")[2].strip() for line in processor() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def machine() -> str:
    """The machine of this process, as Linux names it."""
    name = platform.machine().lower()
    return MACHINES.get(name, name)


def available() -> tuple[Level, ...]:
    """The levels that this process can use, the best first; none where there is no /proc/cpuinfo."""
    words = _instructions() if tiles_permitted() else _instructions() - {"amx_tile"}
    return tuple(level for level in LEVELS if level.machine == machine() and words.issuperset(level.needs))


def _instructions() -> set[str]:
    return set().union(*(line.partition(":")[2].split() for line in processor() if not line.startswith("model")))


@functools.cache
def tiles_permitted() -> bool:
    """Whether Linux lets this process use the tile registers of AMX, for which it has to ask; threads inherit it."""
    if machine() != "x86_64" or "amx_tile" not in _instructions():
        return False
    # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    status: int = ctypes.CDLL(None).syscall(*map(ctypes.c_long, (158, 0x1023, 18)))
    return status == 0


def switched_off() -> bool:
    """Whether kernels are switched off by the environment variable."""
    return os.environ.get(SWITCH, "") == OFF


def requested() -> Level | None:
    """The level that the environment variable names; None where it is not set or switches kernels off.

    Raises:
        MachineError: when this processor does not have the level, or no level has this name.
    """
    name = os.environ.get(SWITCH, "")
    if name in ("", OFF):
        return None
    levels = available()
    found = next((level for level in levels if level.name == name), None)
    if found is None:
        known = any(level.name == name for level in LEVELS)
        cause = "this processor does not have these instructions" if known else "no set of instructions has this name"
        raise MachineError(f"{SWITCH}={name}: {cause}; use {', '.join([*(level.name for level in levels), OFF])}")
    return found
