"""Builds wheels: one of pure Python, and for each machine one that also has the kernels, compiled for all levels.

    make wheel
    python wheels/build.py [--out DIR] [MACHINE ...]

A machine is x86_64 or aarch64; without one, every machine is built for which a compiler is installed. The compiler of
another machine is MACHINE-linux-gnu-g++. The sources are compiled as at a user's (see nn/kernels/compile.py), but with
the flags of a level, and all of them into one library. The wheel is named after the oldest GNU C library that has the
symbols which the libraries use.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from refrain.nn.kernels.compile import FLAGS, find_compiler
from refrain.nn.kernels.levels import LEVELS, Level, machine
from refrain.nn.kernels.prebuilt import FOLDER, MANIFEST, file_name, manifest_of, source_files

ROOT = Path(__file__).resolve().parents[1]
MACHINES = tuple(dict.fromkeys(level.machine for level in LEVELS))
INSIDE = f"refrain/nn/kernels/{FOLDER}"
# what the libraries may need; OpenMP's functions are those of the library that torch has loaded
SYSTEM_LIBRARIES = {"libc.so.6", "libm.so.6"}
OLDEST_GLIBC = (2, 17)
"""The oldest version of the GNU C library that has a tag."""
# the first date that a file of a zip can have
DATE = (1980, 1, 1, 0, 0, 0)


def compiler_for(name: str) -> list[str] | None:
    """The command of the compiler for a machine, or None if none is installed.

    Args:
        name: of the machine.
    """
    if name == machine():
        return find_compiler()
    found = shutil.which(f"{name}-linux-gnu-g++")
    return [found] if found else None


def build_library(level: Level, sources: Mapping[str, bytes], compiler: Sequence[str], out: Path) -> None:
    """Compile kernels into one shared library.

    Args:
        level: the instructions that it uses.
        sources: name -> content of the sources and headers.
        compiler: its command.
        out: the file to write.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in sources.items():
            Path(scratch, name).write_bytes(content)
        texts = sorted(name for name in sources if name.endswith(".cpp"))
        for text in texts:
            run([*compiler, *FLAGS, *level.flags, "-fopenmp", "-c", text, "-o", f"{text}.o"], scratch)
        # OpenMP is not linked, as a second pool of threads would stall that of torch
        parts = [f"{text}.o" for text in texts]
        run([*compiler, "-shared", "-s", "-static-libgcc", "-Wl,--as-needed", *parts, "-o", "whole.so"], scratch)
        shutil.copyfile(Path(scratch, "whole.so"), out)


def run(words: Sequence[str | Path], folder: str | Path = ROOT) -> str:
    """Run a command in a folder, and return what it prints."""
    return subprocess.run(words, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


def required_glibc(objdump_text: str) -> tuple[int, int]:
    """The oldest version of the GNU C library that has all symbols of a library.

    Args:
        objdump_text: what `objdump -p -T` prints of it.

    Raises:
        ValueError: when it needs a library that not every system has.
    """
    needed = set(re.findall(r"^\s*NEEDED\s+(\S+)", objdump_text, re.MULTILINE))
    if others := needed - SYSTEM_LIBRARIES:
        raise ValueError(f"a library needs {', '.join(sorted(others))}, which not every system has")
    versions = re.findall(r"\(?GLIBC_(\d+)\.(\d+)", objdump_text)
    return max([OLDEST_GLIBC, *((int(major), int(minor)) for major, minor in versions)])


def platform_wheel(pure: Path, libraries: Mapping[str, bytes], name: str, glibc: tuple[int, int], out: Path) -> Path:
    """A wheel for a platform: that of pure Python with libraries in it.

    Args:
        pure: the wheel of pure Python.
        libraries: the name of each level -> its library.
        name: of the machine.
        glibc: the oldest version of the GNU C library that it runs with.
        out: the folder to write it to.

    Returns:
        Its path.
    """
    tag = f"py3-none-manylinux_{glibc[0]}_{glibc[1]}_{name}"
    with zipfile.ZipFile(pure) as archive:
        files = {each: archive.read(each) for each in archive.namelist() if not each.endswith("/")}
    about = next(each.removesuffix("/WHEEL") for each in files if each.endswith(".dist-info/WHEEL"))
    text = files[f"{about}/WHEEL"].decode()
    text = re.sub(r"^Tag: .*$", f"Tag: {tag}", text, flags=re.MULTILINE)
    files[f"{about}/WHEEL"] = text.replace("Root-Is-Purelib: true", "Root-Is-Purelib: false").encode()
    manifest = manifest_of(name, source_files(), dict(libraries))
    files[f"{INSIDE}/{MANIFEST}"] = (json.dumps(manifest, indent=1) + "\n").encode()
    files |= {f"{INSIDE}/{file_name(level)}": content for level, content in libraries.items()}
    files[f"{about}/RECORD"] = record(files, f"{about}/RECORD")
    path = out / pure.name.replace("py3-none-any", tag)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        # the files of .dist-info come last, as the format of wheels recommends
        for each in sorted(files, key=lambda file: (file.startswith(about), file)):
            entry = zipfile.ZipInfo(each, DATE)
            entry.external_attr = (0o755 if each.endswith(".so") else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, files[each])
    return path


def record(files: Mapping[str, bytes], own: str) -> bytes:
    """The list of a wheel's files with their hashes.

    Args:
        files: name -> content.
        own: the name of the list, which has no hash.
    """
    lines = []
    for name in sorted(set(files) - {own}):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(files[name])}\n")
    return "".join([*lines, f"{own},,\n"]).encode()


def pure_wheel(out: Path) -> Path:
    """Build the wheel of pure Python from a copy of the source, in which no earlier build has left files."""
    with tempfile.TemporaryDirectory() as scratch:
        copied = Path(scratch, "source")
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", FOLDER)
        shutil.copytree(ROOT / "src", copied / "src", ignore=ignored)
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copied)
        words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        run([*words, "--wheel-dir", scratch, copied])
        (made,) = Path(scratch).glob("*.whl")
        return Path(shutil.copy(made, out))


def libraries_for(name: str, compiler: Sequence[str], scratch: Path) -> tuple[dict[str, bytes], tuple[int, int]]:
    """Compile the kernels for all levels of a machine.

    Args:
        name: of the machine.
        compiler: its command.
        scratch: a folder for the files.

    Returns:
        The name of each level -> its library, and the oldest version of the GNU C library for all of them.
    """
    levels = [level for level in LEVELS if level.machine == name]
    paths = [scratch / f"{name}-{file_name(level.name)}" for level in levels]
    sources = source_files()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda level, path: build_library(level, sources, compiler, path), levels, paths))
    objdump = "objdump" if name == machine() else f"{name}-linux-gnu-objdump"
    glibc = max(required_glibc(run([objdump, "-p", "-T", path])) for path in paths)
    return {level.name: path.read_bytes() for level, path in zip(levels, paths, strict=True)}, glibc


def main(words: Sequence[str] | None = None) -> None:
    """Build what the words of the command line ask for."""
    parser = argparse.ArgumentParser(description="Build wheels with and without compiled kernels.")
    parser.add_argument("machines", metavar="MACHINE", nargs="*", help=f"of {', '.join(MACHINES)}")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder of the wheels (default: dist)")
    given = parser.parse_args(words)
    if unknown := [name for name in given.machines if name not in MACHINES]:
        parser.error(f"no kernels are built for {', '.join(unknown)}; there are {', '.join(MACHINES)}")
    compilers = dict(_compilers(given.machines or MACHINES, required=bool(given.machines)))
    given.out.mkdir(parents=True, exist_ok=True)
    pure = pure_wheel(given.out)
    made = [pure]
    for name, compiler in compilers.items():
        with tempfile.TemporaryDirectory() as scratch:
            libraries, glibc = libraries_for(name, compiler, Path(scratch))
        made.append(platform_wheel(pure, libraries, name, glibc, given.out))
    for path in made:
        print(f"{path}  {path.stat().st_size:,} bytes")


def _compilers(machines: Iterable[str], *, required: bool) -> Iterable[tuple[str, list[str]]]:
    for name in machines:
        compiler = compiler_for(name)
        if compiler is not None:
            yield name, compiler
        elif required:
            sys.exit(f"no compiler for {name} was found; install {name}-linux-gnu-g++")
        else:
            print(f"no wheel for {name}, as {name}-linux-gnu-g++ is not installed", file=sys.stderr)


if __name__ == "__main__":
    main()
