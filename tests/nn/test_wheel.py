"""Wheels with kernels: complete, named after what they need, loaded without a compiler, and refused when damaged."""

import base64
import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from wheel_builder import build

import refrain
from refrain.errors import UserError
from refrain.nn.kernels import cache, levels, prebuilt
from refrain.nn.kernels import compile as native

PACKAGE = Path(refrain.__file__).parent
ABOUT = "refrain_lm-1.0.dist-info"
# what runs on a machine without a compiler: the head's kernel against its reference, and where it came from
PROGRAM = """
import torch
from refrain.nn.heads.softmax_gradient import softmax_gradient_reference_
from refrain.nn.kernels import compile as native
from refrain.nn.kernels.call import call

torch.manual_seed(1)
logits, bias, targets = torch.randn(5, 33), torch.randn(33), torch.arange(5)
expected = logits.clone()
nats = softmax_gradient_reference_(expected, bias, targets)
found = torch.empty(5)
tensors = (logits, bias, targets, found)
assert native.find_compiler() is None and call("softmax", "softmax_gradient_float32", *tensors, None, 5, 33)
torch.testing.assert_close(found, nats)
torch.testing.assert_close(logits, expected)
print(native.describe_kernels(), native.is_compiled("softmax"), native.lacks_compiler())
"""
SMALL = ("probe.cpp", "softmax.cpp")


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """No kernel is loaded yet, the cache is empty, and there is no compiler."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "programs"))
    for name in ("REFRAIN_NATIVE", "CXX"):
        monkeypatch.delenv(name, raising=False)
    cached = (native.load, native._opened_prebuilt, prebuilt._find)
    for each in cached:
        each.cache_clear()
    yield
    for each in cached:
        each.cache_clear()


@pytest.fixture(scope="session")
def lowest():
    found = levels.available()
    if not found:
        pytest.skip("the instructions of this processor are not known")
    return found[-1]


@pytest.fixture(scope="session")
def library(lowest, tmp_path_factory):
    """A library of the lowest level with the two smallest kernels, for the sources of this installation."""
    path = tmp_path_factory.mktemp("library") / "whole.so"
    sources = {name: text for name, text in prebuilt.source_files().items() if name in SMALL or name.endswith(".h")}
    build.build_library(lowest, sources, native.find_compiler(), path)
    return path.read_bytes()


def pure_wheel(folder):
    """A wheel of pure Python with a part of the package."""
    path = folder / "refrain_lm-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("refrain/__init__.py", "")
        archive.writestr(f"{ABOUT}/METADATA", "Metadata-Version: 2.4\nName: refrain-lm\nVersion: 1.0\n")
        archive.writestr(f"{ABOUT}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{ABOUT}/RECORD", "refrain/__init__.py,,0\n")
    return path


def installed(folder, library, level, **changes):
    """The folder of a wheel's libraries, as pip leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / prebuilt.file_name(level)).write_bytes(library)
    manifest = prebuilt.manifest_of(levels.machine(), prebuilt.source_files(), {level: library})
    (folder / prebuilt.MANIFEST).write_text(json.dumps(manifest | changes))
    return folder


def test_a_wheel_lists_every_file_with_its_hash_and_is_for_its_platform(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    libraries = {"avx2": b"one library", "sse2": b"another"}
    path = build.platform_wheel(pure_wheel(tmp_path), libraries, "x86_64", (2, 27), out)
    assert path == out / "refrain_lm-1.0-py3-none-manylinux_2_27_x86_64.whl"
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert "Tag: py3-none-manylinux_2_27_x86_64\n" in files[f"{ABOUT}/WHEEL"].decode()
    assert "Root-Is-Purelib: false\n" in files[f"{ABOUT}/WHEEL"].decode()
    recorded = {
        name: (digest, size) for name, digest, size in csv.reader(files[f"{ABOUT}/RECORD"].decode().splitlines())
    }
    assert recorded.keys() == files.keys() and recorded.pop(f"{ABOUT}/RECORD") == ("", "")
    for name, (digest, size) in recorded.items():
        expected = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).decode().rstrip("=")
        assert (digest, int(size)) == (f"sha256={expected}", len(files[name]))
    inside = "refrain/nn/kernels/prebuilt/"
    assert {
        name.removeprefix(inside): files[name] for name in files if name.startswith(inside) and "json" not in name
    } == {
        "avx2.so": b"one library",
        "sse2.so": b"another",
    }
    manifest = json.loads(files[f"{inside}manifest.json"])
    assert manifest["libraries"] == {level: hashlib.sha256(text).hexdigest() for level, text in libraries.items()}
    assert manifest["machine"] == "x86_64" and len(manifest["sources"]) == 64


def test_two_builds_of_a_wheel_are_equal(tmp_path):
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(build.platform_wheel(pure_wheel(tmp_path), {"sse2": b"x"}, "x86_64", (2, 27), tmp_path / name))
    assert made[0].read_bytes() == made[1].read_bytes()


def test_the_platform_is_that_of_the_newest_symbol():
    needed = "  NEEDED               libm.so.6\n  NEEDED               libc.so.6\n"
    text = f"{needed}0 DF *UND* 0 (GLIBC_2.27) logf\n0 GLIBC_2.2.5 free"
    assert build.required_glibc(text) == (2, 27)
    assert build.required_glibc(text.replace("2.27", "2.4")) == build.OLDEST_GLIBC
    with pytest.raises(ValueError, match=r"needs libgomp.so.1, which not every system has"):
        build.required_glibc(text + "\n  NEEDED               libgomp.so.1")


@pytest.mark.compiler
def test_a_built_library_needs_the_c_library_alone(library, tmp_path):
    if shutil.which("objdump") is None:
        pytest.skip("no objdump")
    (tmp_path / "whole.so").write_bytes(library)
    assert (2, 17) <= build.required_glibc(build.run(["objdump", "-p", "-T", tmp_path / "whole.so"])) <= (2, 28)


@pytest.mark.compiler
def test_a_machine_without_a_compiler_uses_the_kernels_of_its_wheel(library, lowest, tmp_path, own_environment):
    """In a process of its own, in which the package is the installed one, and no compiler is on the path."""
    site = tmp_path / "site"
    shutil.copytree(PACKAGE, site / "refrain", ignore=shutil.ignore_patterns("bundled"))
    installed(site / "refrain" / "nn" / "kernels" / "prebuilt", library, lowest.name)
    cache_folder = tmp_path / "cache"
    environment = {
        **own_environment,
        "PYTHONPATH": str(site),
        "PATH": str(tmp_path),
        "REFRAIN_CACHE": str(cache_folder),
    }
    environment = {name: value for name, value in environment.items() if name not in ("CXX", "REFRAIN_NATIVE")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{lowest.name}, from the wheel True False\n"
    # nothing was compiled
    assert not cache_folder.exists()


DAMAGES = {
    "a changed library": lambda folder, level: (folder / f"{level}.so").write_bytes(b"changed"),
    "a truncated library": lambda folder, level: os.truncate(folder / f"{level}.so", 100),
    "no library": lambda folder, level: (folder / f"{level}.so").unlink(),
    "a folder in the place of the library": lambda folder, level: in_place(folder / f"{level}.so"),
    "no manifest": lambda folder, level: (folder / "manifest.json").unlink(),
    "a manifest that is no JSON": lambda folder, level: (folder / "manifest.json").write_text("{"),
    "a manifest of another form": lambda folder, level: (folder / "manifest.json").write_text("[1]"),
    "an empty manifest": lambda folder, level: (folder / "manifest.json").write_text("{}"),
}
CAUSES = {
    "a changed library": r"{level}.so does not have its recorded sha256",
    "a truncated library": r"{level}.so does not have its recorded sha256",
    "no library": r"{level}.so: No such file or directory",
    "a folder in the place of the library": r"{level}.so: is a folder, not a file",
    "no manifest": r"manifest.json: No such file or directory",
}


def in_place(path):
    path.unlink()
    path.mkdir()


@pytest.mark.compiler
@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_kernels_are_not_loaded_and_the_user_reads_why(how, library, lowest, tmp_path, monkeypatch, fresh):
    folder = installed(tmp_path / "prebuilt", library, lowest.name)
    monkeypatch.setattr(prebuilt, "folder", lambda: folder)
    DAMAGES[how](folder, lowest.name)
    monkeypatch.setattr(native.ctypes, "CDLL", lambda path: pytest.fail(f"{path} was opened"))
    cause = CAUSES.get(how, "manifest.json is damaged").format(level=lowest.name)
    with pytest.warns(
        UserWarning, match=rf"came with refrain are not used \({cause}\); install refrain-lm again: "
    ) as told:
        assert native.load("probe") is None
    assert len(told) == 1
    # without them it is as without a wheel
    assert native.lacks_compiler() and native.is_compiled("probe")


@pytest.mark.compiler
@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"sources": "0" * 64}, "they were compiled from other sources than those of this installation"),
        ({"machine": "s390x"}, f"they are for s390x, and this machine is {levels.machine()}"),
        ({"libraries": None}, "manifest.json is damaged"),
    ],
)
def test_kernels_of_others_are_not_loaded(changes, cause, library, lowest, tmp_path, monkeypatch, fresh):
    folder = installed(tmp_path / "prebuilt", library, lowest.name, **changes)
    monkeypatch.setattr(prebuilt, "folder", lambda: folder)
    with pytest.warns(UserWarning, match=cause):
        assert native.load("probe") is None


@pytest.mark.compiler
def test_kernels_for_instructions_that_the_processor_lacks_are_not_loaded(
    library, lowest, tmp_path, monkeypatch, fresh
):
    folder = installed(tmp_path / "prebuilt", library, "avx512_bf16")
    installed(folder, library, lowest.name)
    manifest = prebuilt.manifest_of(
        levels.machine(), prebuilt.source_files(), {"avx512_bf16": b"", lowest.name: library}
    )
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(prebuilt, "folder", lambda: folder)
    monkeypatch.setattr(prebuilt, "available", lambda: (lowest,))
    assert prebuilt.find() == prebuilt.Prebuilt(
        folder / f"{lowest.name}.so", lowest.name, hashlib.sha256(library).hexdigest()
    )
    # a wheel without a level of this processor is like one without kernels
    monkeypatch.setattr(prebuilt, "available", lambda: ())
    assert prebuilt.find() is None and native.load("probe") is None
    monkeypatch.setenv("REFRAIN_NATIVE", "nonsense")
    with pytest.raises(UserError, match="no set of instructions has this name"):
        prebuilt.find()


@pytest.mark.compiler
def test_kernels_that_the_system_cannot_open_are_compiled(lowest, tmp_path, monkeypatch, fresh):
    monkeypatch.setenv("PATH", os.defpath)
    if (compiler := native.find_compiler()) is None:
        pytest.skip("the compiler is in no usual folder")
    monkeypatch.setenv("CXX", " ".join(compiler))
    folder = installed(tmp_path / "prebuilt", b"no library", lowest.name)
    monkeypatch.setattr(prebuilt, "folder", lambda: folder)
    with pytest.warns(UserWarning, match="the kernels that came with refrain cannot be opened"):
        assert native.load("probe") is not None
    assert native.describe_kernels().endswith("compiled on this machine")


@pytest.mark.compiler
def test_kernels_of_the_wheel_come_before_the_compiler_and_have_times_of_their_own(
    library, lowest, tmp_path, monkeypatch, fresh
):
    monkeypatch.setenv("CXX", "false")
    compiled = native.library_key("softmax")
    folder = installed(tmp_path / "prebuilt", library, lowest.name)
    monkeypatch.setattr(prebuilt, "folder", lambda: folder)
    assert native.load("softmax") is native.load("probe") is not None
    assert native.library_key("softmax") != compiled and not cache.kernel_folder().exists()
    monkeypatch.setenv("REFRAIN_NATIVE", "off")
    native.load.cache_clear()
    assert native.load("softmax") is None


def test_a_tree_of_sources_has_no_kernels_of_a_wheel():
    assert prebuilt.find() is None


@pytest.mark.parametrize("words", [["pdp11"], ["x86_64", "pdp11"]])
def test_a_machine_that_is_not_known_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        build.main(words)
    assert "no kernels are built for pdp11; there are x86_64, aarch64" in capsys.readouterr().err


def test_a_machine_without_a_compiler_is_left_out_or_refused_if_asked_for(monkeypatch, capsys):
    monkeypatch.setattr(build, "compiler_for", lambda name: ["c++"] if name == "x86_64" else None)
    assert dict(build._compilers(build.MACHINES, required=False)) == {"x86_64": ["c++"]}
    assert "no wheel for aarch64, as aarch64-linux-gnu-g++ is not installed" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"no compiler for aarch64 was found; install aarch64-linux-gnu-g\+\+"):
        list(build._compilers(["aarch64"], required=True))
