"""Kernels that were compiled when a wheel was built, for machines without a compiler.

A wheel for a platform has a folder with one library for each instruction level, which contains all kernels, and a
manifest with the sha256 of each library and of the sources. A library is used only if it and the sources of this
installation have these sha256 and the processor has the level. Whoever can write this folder can also write the Python
files beside it, so the sha256 is a guard against damage and mixed versions, and not against other users.
"""

import functools
import hashlib
import warnings
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from refrain.storage.plain_json import loads
from refrain.storage.regular_files import read_regular

from .levels import available, requested
from .levels import machine as this_machine

FOLDER = "prebuilt"
MANIFEST = "manifest.json"
LARGEST_MANIFEST = 1 << 16
LARGEST_LIBRARY = 1 << 26


class Prebuilt(NamedTuple):
    """A library of the wheel that may be loaded.

    Attributes:
        path: the file.
        level: the name of its instruction level.
        sha256: of the file.
    """

    path: Path
    level: str
    sha256: str


def source_files() -> dict[str, bytes]:
    """The name of each source and header of the kernels -> its content."""
    files = sorted((resources.files(__package__) / "cpp").iterdir(), key=lambda file: file.name)
    return {file.name: file.read_bytes() for file in files if file.name.endswith((".cpp", ".h"))}


def hash_of_sources(files: dict[str, bytes]) -> str:
    """A sha256 of all sources, their names included.

    Args:
        files: name -> content.
    """
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def folder() -> Path:
    """The folder of the libraries, which exists in a wheel for a platform only."""
    return Path(str(resources.files(__package__) / FOLDER))


def find() -> Prebuilt | None:
    """The library for the requested level, or for the best one of this processor; None if there is none to use.

    A library that is damaged or belongs to other sources is not used, which is reported once as a warning.

    Raises:
        UserError: when the environment variable requests a level that this processor does not have.
    """
    level = requested()
    return _find(folder(), tuple(each.name for each in ([level] if level else available())))


@functools.cache
def _find(folder: Path, levels: tuple[str, ...]) -> Prebuilt | None:
    """The library in a folder for the first of some levels that it has."""
    if not folder.is_dir():
        return None
    try:
        libraries = _libraries(folder)
        level = next((level for level in levels if level in libraries), None)
        if level is None:
            return None
        path = folder / file_name(level)
        sha256 = hashlib.sha256(read_regular(path, limit=LARGEST_LIBRARY)).hexdigest()
        if sha256 != libraries[level]:
            raise ValueError(f"{path.name} does not have its recorded sha256")
    except (OSError, ValueError) as error:
        cause = f"{Path(error.filename).name}: {error.strerror}" if isinstance(error, OSError) else error
        warnings.warn(
            f"the kernels that came with refrain are not used ({cause}); install refrain-lm again: {folder}",
            stacklevel=2,
        )
        return None
    return Prebuilt(path, level, sha256)


def file_name(level: str) -> str:
    """The name of the library of a level.

    Args:
        level: its name.
    """
    return f"{level}.so"


def manifest_of(machine: str, sources: dict[str, bytes], libraries: dict[str, bytes]) -> dict[str, Any]:
    """The manifest of a folder of libraries, as plain data.

    Args:
        machine: for which they were compiled.
        sources: name -> content.
        libraries: the name of each level -> its library.
    """
    hashes = {level: hashlib.sha256(content).hexdigest() for level, content in libraries.items()}
    return {"machine": machine, "sources": hash_of_sources(sources), "libraries": hashes}


def _libraries(folder: Path) -> dict[str, str]:
    """The name of each level -> the sha256 of its library, if the libraries are for this machine and these sources."""
    try:
        manifest = loads(read_regular(folder / MANIFEST, limit=LARGEST_MANIFEST))
        made_for, sources, libraries = (manifest[name] for name in ("machine", "sources", "libraries"))
        found = {str(level): str(sha256) for level, sha256 in libraries.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{MANIFEST} is damaged") from None
    if made_for != this_machine():
        raise ValueError(f"they are for {made_for}, and this machine is {this_machine()}")
    if sources != hash_of_sources(source_files()):
        raise ValueError("they were compiled from other sources than those of this installation")
    return found
