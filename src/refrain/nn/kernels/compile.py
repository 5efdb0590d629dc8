"""C++ kernels that are compiled on the user's machine when they are first wanted, and what to do without a compiler.

A kernel is a plain function over pointers, called through ctypes; the file in the folder cpp that has its name as stem
is all that is compiled, with the headers beside it, in some seconds, into the cache folder. It finds the OpenMP of
torch in the process and so shares torch's threads.
"""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import warnings
from importlib import resources
from pathlib import Path

import torch  # its OpenMP has to be in the process before a kernel is loaded

from refrain.storage.folders import cache_folder

FLAGS = ("-O3", "-std=c++17", "-fPIC", "-march=native", "-fno-math-errno", "-fno-trapping-math")
SWITCH = "REFRAIN_NATIVE"


@functools.cache
def load(name: str) -> ctypes.CDLL | None:
    """The compiled kernels of a file, or None where there are none; the cause is said once.

    Args:
        name: stem of a C++ file in the folder cpp.
    """
    if os.environ.get(SWITCH, "") == "off":
        return None
    try:
        compiler = find_compiler()
    except ValueError as error:
        warnings.warn(
            f"CXX cannot be read ({error}), so plain torch operations are used, which are slower", stacklevel=2
        )
        return None
    if compiler is None:
        warnings.warn(
            "no C++ compiler was found, so plain torch operations are used, which are slower; install g++ or clang++",
            stacklevel=2,
        )
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


def find_compiler() -> list[str] | None:
    """The words that call a C++ compiler: $CXX, or the first of c++, g++, clang++ that is installed.

    Raises:
        ValueError: when a quotation in $CXX is not closed.
    """
    if chosen := os.environ.get("CXX"):
        return shlex.split(chosen)
    found = next((path for path in map(shutil.which, ("c++", "g++", "clang++")) if path), None)
    return [found] if found else None


def is_compiled(name: str) -> bool:
    """Whether `load` takes the kernels of a file from the cache, or leaves them out, in no time.

    Args:
        name: stem of a C++ file in the folder cpp.
    """
    try:
        compiler = find_compiler()
    except ValueError:
        return True
    if os.environ.get(SWITCH, "") == "off" or compiler is None:
        return True
    return any(_library(name, compiler, flags).is_file() for flags in _attempts())


def _attempts() -> list[list[str]]:
    """Flags, the best first: a compiler or a torch without OpenMP still has one thread's kernels."""
    return [[*FLAGS, "-fopenmp"], [*FLAGS]]


def _loaded(name: str, compiler: list[str]) -> ctypes.CDLL:
    first: OSError | subprocess.SubprocessError | None = None
    for flags in _attempts():
        try:
            library = _opened(name, compiler, flags)
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
    """The library of a source; one in the cache that cannot be opened is compiled anew."""
    library = _library(name, compiler, flags)
    if library.is_file() and library.stat().st_size:
        try:
            return ctypes.CDLL(str(library))
        except OSError:
            pass
    library.unlink(missing_ok=True)
    _compile(name, compiler, flags, library)
    return ctypes.CDLL(str(library))


def _library(name: str, compiler: list[str], flags: list[str]) -> Path:
    """Where the shared library of a source stands once it is compiled, for this machine."""
    key = hashlib.sha256()
    for content in _texts(name).values():
        key.update(content + b"\0")
    for word in (*compiler, *flags, torch.__version__, _processor()):
        key.update(word.encode() + b"\0")
    return cache_folder() / "native" / f"{name}-{key.hexdigest()[:24]}.so"


def _texts(name: str) -> dict[str, bytes]:
    """Name of a file -> its content: the source and all headers."""
    files = sorted((resources.files(__package__) / "cpp").iterdir(), key=lambda file: file.name)
    return {file.name: file.read_bytes() for file in files if file.name == f"{name}.cpp" or file.name.endswith(".h")}


def _compile(name: str, compiler: list[str], flags: list[str], library: Path) -> None:
    """Compile a source into a library, which is whole or not there."""
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
        for file, content in _texts(name).items():
            (Path(scratch) / file).write_bytes(content)
        text, parts, whole = (str(Path(scratch) / f"{name}{suffix}") for suffix in (".cpp", ".o", ".so"))
        _run([*compiler, *flags, "-c", text, "-o", parts])
        # linked without an OpenMP of its own: a second pool of threads would stall the first
        _run([*compiler, "-shared", *_unresolved(), parts, "-o", whole])
        with open(whole, "rb") as made:
            os.fsync(made.fileno())
        os.replace(whole, library)


def _run(words: list[str]) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, errors="replace", timeout=60)


def _first_line(error: Exception) -> str:
    said = getattr(error, "stderr", None) or error
    return next((line for line in str(said).splitlines() if line.strip()), type(error).__name__)


def _unresolved() -> list[str]:
    """What a linker has to hear before it leaves symbols to be found in the process."""
    return ["-undefined", "dynamic_lookup"] if platform.system() == "Darwin" else []


def _processor() -> str:
    """What tells one kind of processor from another, as code for one may not run on the other."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
