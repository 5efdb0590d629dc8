"""C++ kernels: from the wheel, or compiled on the user's machine when they are first needed, or not at all.

A kernel is a plain function over pointers, called through ctypes (see call.py). A wheel for a platform has all of them
(see prebuilt.py). Otherwise its file in the folder cpp is compiled with the headers beside it, in a few seconds, into
the cache folder (see cache.py). It uses the OpenMP that torch has loaded, and so shares torch's threads.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import torch  # its OpenMP must be loaded before a kernel is

from . import prebuilt
from .cache import damage, is_intact, kernel_folder, make_folder, put
from .levels import SWITCH, processor, requested, switched_off, tiles_permitted

FLAGS = ("-O3", "-std=c++17", "-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fno-exceptions")
PATIENCE = 300
"""Seconds after which a compiler is killed; a compilation takes a few seconds, and longer on a busy machine."""
LOGGER = logging.getLogger(__name__)


@functools.cache
def load(name: str) -> ctypes.CDLL | None:
    """The compiled kernels of a file, or None if there are none; the cause is reported once as a warning.

    Args:
        name: stem of a C++ file in the folder cpp.

    Raises:
        UserError: when the environment variable requests instructions that this processor does not have.
    """
    if switched_off():
        return None
    # refuses what this processor does not have, with or without a compiler
    requested()
    if (library := _prebuilt()) is not None:
        return library
    try:
        compiler = find_compiler()
    except ValueError as error:
        warnings.warn(
            f"CXX cannot be read ({error}), so plain torch operations are used, which are slower", stacklevel=2
        )
        return None
    if compiler is None:
        # no warning: such a machine works, and where warnings are errors it would not
        LOGGER.info("no C++ compiler was found, so torch's operations are used instead of the kernels '%s'", name)
        return None
    try:
        return _loaded(name, compiler)
    except (OSError, subprocess.SubprocessError) as error:
        warnings.warn(
            f"the fast kernels '{name}' could not be compiled ({_first_line(error)}), so plain torch operations are "
            f"used, which are slower; {SWITCH}=off leaves them out without this line",
            stacklevel=2,
        )
        return None


def _prebuilt() -> ctypes.CDLL | None:
    """The library of the wheel, which has the kernels of all files; None if there is none that can be opened."""
    found = prebuilt.find()
    return None if found is None else _opened_prebuilt(found)


@functools.cache
def _opened_prebuilt(found: prebuilt.Prebuilt) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(found.path))
    except OSError as error:
        warnings.warn(f"the kernels that came with refrain cannot be opened ({_first_line(error)})", stacklevel=4)
        return None


def find_compiler() -> list[str] | None:
    """The command of a C++ compiler: $CXX, or the first of c++, g++, clang++ that is installed; None without one.

    Raises:
        ValueError: when a quotation in $CXX is not closed.
    """
    if chosen := os.environ.get("CXX"):
        return shlex.split(chosen)
    found = next((path for path in map(shutil.which, ("c++", "g++", "clang++")) if path), None)
    return [found] if found else None


def lacks_compiler() -> bool:
    """Whether there are no kernels because no C++ compiler is installed, and not because they are switched off."""
    try:
        return not switched_off() and find_compiler() is None and _prebuilt() is None
    except ValueError:
        return False


def is_compiled(name: str) -> bool:
    """Whether `load` would return at once: kernels are in the wheel or in the cache, or cannot be compiled at all.

    Args:
        name: stem of a C++ file in the folder cpp.
    """
    if switched_off() or _prebuilt() is not None:
        return True
    try:
        compiler = find_compiler()
    except ValueError:
        return True
    if compiler is None:
        return True
    return any(is_intact(_library(name, compiler, flags)) for flags in _attempts())


def describe_kernels() -> str:
    """The instruction level of the kernels and where they are from, in words; empty if there are none."""
    library = load("probe")
    if library is None:
        return ""
    level = library.refrain_level
    level.restype = ctypes.c_char_p
    origin = "compiled on this machine" if _prebuilt() is None else "from the wheel"
    return f"{level().decode() or 'vectors of the compiler'}, {origin}"


def library_key(name: str) -> str:
    """A word that changes with the source of kernels, the compiler, its flags, torch and the processor.

    Args:
        name: stem of a C++ file in the folder cpp.
    """
    if not switched_off() and _prebuilt() is not None and (found := prebuilt.find()) is not None:
        return "\0".join((found.sha256, torch.__version__, *processor()))
    return _library(name, find_compiler() or [], _attempts()[0]).name


def _attempts() -> list[list[str]]:
    """Sets of flags, the best first: without OpenMP, kernels still work on one thread."""
    level = requested()
    # without the permission, instructions for tiles would end the process
    native = ["-march=native", *([] if tiles_permitted() else ["-U__AMX_BF16__"])]
    flags = [*FLAGS, *(level.flags if level else native)]
    return [[*flags, "-fopenmp"], flags]


def _loaded(name: str, compiler: list[str]) -> ctypes.CDLL:
    first: OSError | subprocess.SubprocessError | None = None
    for flags in _attempts():
        try:
            library = _opened(name, compiler, flags)
        except subprocess.TimeoutExpired:
            raise
        except (OSError, subprocess.SubprocessError) as error:
            first = first or error
            continue
        if first is not None:
            warnings.warn(
                f"the fast kernels '{name}' use one thread, as OpenMP failed ({_first_line(first)})", stacklevel=4
            )
        return library
    assert first is not None
    raise first


def _opened(name: str, compiler: list[str], flags: list[str]) -> ctypes.CDLL:
    """The library of a source, from the cache; one that is not intact or cannot be opened is compiled again."""
    library = _library(name, compiler, flags)
    cause = damage(library)
    if cause is None:
        try:
            return ctypes.CDLL(str(library))
        except OSError as error:
            cause = _first_line(error)
    if cause:
        warnings.warn(f"{library} is not loaded but compiled again: {cause}", stacklevel=5)
    _compile(name, compiler, flags, library)
    return ctypes.CDLL(str(library))


def _library(name: str, compiler: list[str], flags: list[str]) -> Path:
    """The path in the cache of a source's shared library for this machine, compiled or not."""
    key = hashlib.sha256()
    for content in _texts(name).values():
        key.update(content + b"\0")
    for word in (*compiler, *_programs(tuple(compiler)), *flags, torch.__version__, *processor()):
        key.update(word.encode() + b"\0")
    return kernel_folder() / f"{name}-{key.hexdigest()[:24]}.so"


def _texts(name: str) -> dict[str, bytes]:
    """Name of a file -> its content: the source and all headers."""
    files = prebuilt.source_files()
    return {file: content for file, content in files.items() if file == f"{name}.cpp" or file.endswith(".h")}


def _compile(name: str, compiler: list[str], flags: list[str], library: Path) -> None:
    """Compile a source into a library, which appears in the cache only when it is complete."""
    make_folder(library.parent)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        for file, content in _texts(name).items():
            (Path(scratch) / file).write_bytes(content)
        text, parts, whole = (str(Path(scratch) / f"{name}{suffix}") for suffix in (".cpp", ".o", ".so"))
        _run([*compiler, *flags, "-c", text, "-o", parts])
        # without linking OpenMP: a second pool of threads would stall that of torch
        _run([*compiler, "-shared", *_unresolved(), parts, "-o", whole])
        put(Path(whole), library)


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, errors="replace", timeout=PATIENCE)


def _first_line(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"the compiler took more than {error.timeout:.0f} seconds"
    message = getattr(error, "stderr", None) or error
    return next((line for line in str(message).splitlines() if line.strip()), type(error).__name__)


def _unresolved() -> list[str]:
    """Flags for the linker so that it accepts symbols that the process provides."""
    return ["-undefined", "dynamic_lookup"] if platform.system() == "Darwin" else []


@functools.cache
def _programs(compiler: tuple[str, ...]) -> list[str]:
    """The size and the age of each program in a command, so that a new version of a compiler compiles anew."""
    paths = [found for word in compiler if (found := shutil.which(word))]
    return [f"{found.st_size} {found.st_mtime_ns}" for found in map(os.stat, paths)]
