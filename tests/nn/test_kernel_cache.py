"""Only what this user compiled is loaded: the owner, the permissions and the sha256 of each file decide."""

import contextlib
import os
import stat
import warnings

import pytest
import torch

from refrain.nn.kernels import cache
from refrain.nn.kernels import compile as native

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="no numbers of users here")


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A file in the place of a library, as `put` leaves it."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path))
    folder = cache.kernel_folder()
    assert folder == tmp_path / "native"
    cache.make_folder(folder)
    made = folder / "made.so"
    made.write_bytes(b"compiled")
    cache.put(made, folder / "probe.so")
    assert sorted(path.name for path in folder.iterdir()) == ["probe.so", "probe.so.sha256"]
    return folder / "probe.so"


def moved_behind_a_link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


ANOTHER = "it does not have its recorded sha256"
BY_OTHERS = "others can write this file"
# how a library is tampered with -> the change, and the cause that the user reads
TAMPERED = {
    "other bytes": (lambda library: library.write_bytes(b"Compiled"), ANOTHER),
    "more bytes": (lambda library: library.write_bytes(b"compiled\n"), ANOTHER),
    "fewer bytes": (lambda library: library.write_bytes(b"compile"), ANOTHER),
    "no bytes": (lambda library: library.write_bytes(b""), ANOTHER),
    "another record": (lambda library: cache.record(library).write_text("0" * 64), ANOTHER),
    "a record of no bytes": (lambda library: cache.record(library).write_text(""), ANOTHER),
    "no record": (lambda library: cache.record(library).unlink(), "its recorded sha256 cannot be read"),
    "no library": (lambda library: library.unlink(), ""),
    "a library that others can write": (lambda library: library.chmod(0o766), BY_OTHERS),
    "a library that the group can write": (lambda library: library.chmod(0o770), BY_OTHERS),
    "a record that others can write": (lambda library: cache.record(library).chmod(0o666), BY_OTHERS),
    "a folder that others can write": (lambda library: library.parent.chmod(0o777), "others can write its folder"),
    "a folder that the group can write": (lambda library: library.parent.chmod(0o770), "others can write its folder"),
    "a link to a library": (moved_behind_a_link, "is a link to another place"),
    "a link to a record": (lambda library: moved_behind_a_link(cache.record(library)), "is a link to another place"),
    "a link to a folder": (lambda library: moved_behind_a_link(library.parent), "its folder is a link"),
    "a pipe": (pipe, "is a pipe, not a file"),
    "a pipe in the place of the record": (lambda library: pipe(cache.record(library)), "is a pipe, not a file"),
}


def test_what_this_user_made_is_intact(library):
    assert cache.is_intact(library)
    assert not any(path.stat().st_mode & 0o077 for path in (library, cache.record(library), library.parent))


@pytest.mark.parametrize("how", TAMPERED)
def test_what_others_could_have_written_is_not(library, how):
    change, cause = TAMPERED[how]
    change(library)
    assert not cache.is_intact(library)
    assert cause in cache.damage(library) and bool(cause) == bool(cache.damage(library))


@pytest.mark.parametrize("how", TAMPERED)
def test_it_is_compiled_anew_and_the_user_reads_why(library, monkeypatch, how):
    loaded = []

    def compiled(name, compiler, flags, target):
        assert not loaded
        cache.make_folder(target.parent)
        made = target.with_name("made.so")
        made.write_bytes(b"compiled again")
        cache.put(made, target)

    monkeypatch.setattr(native, "_library", lambda *arguments: library)
    monkeypatch.setattr(native, "_compile", compiled)
    monkeypatch.setattr(native.ctypes, "CDLL", lambda path: loaded.append(library.read_bytes()))
    change, cause = TAMPERED[how]
    change(library)
    # where there was no library, there is nothing to report
    reported = pytest.warns(UserWarning, match="is not loaded but compiled again: .*" + cause) if cause else silence()
    if how == "a link to a folder":
        # nothing is written through it
        with reported, pytest.raises(OSError):
            native._opened("probe", ["c++"], [])
        assert loaded == []
        return
    with reported:
        native._opened("probe", ["c++"], [])
    assert loaded == [b"compiled again"] and cache.is_intact(library)
    native._opened("probe", ["c++"], [])
    assert loaded == [b"compiled again"] * 2


@contextlib.contextmanager
def silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_a_folder_that_others_could_write_is_this_user_s_again(library):
    library.parent.chmod(0o777)
    cache.make_folder(library.parent)
    assert stat.S_IMODE(library.parent.stat().st_mode) == 0o700


def test_another_user_has_another_folder_and_trusts_nothing_of_the_first(library, monkeypatch):
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    assert not cache.is_intact(library)
    assert cache.kernel_folder() == library.parent.with_name(f"native-{other}")
    with pytest.raises(PermissionError, match="belongs to another user; set REFRAIN_CACHE"):
        cache.make_folder(library.parent)


def test_a_compiler_of_another_version_compiles_anew(write, monkeypatch):
    compiler = write("c++", "one version")
    compiler.chmod(0o700)
    first = native._library("probe", [str(compiler)], [])
    assert native._library("probe", [str(compiler)], []) == first
    compiler.write_text("another version")
    native._programs.cache_clear()
    assert native._library("probe", [str(compiler)], []) != first


def test_what_was_compiled_of_another_source_or_for_another_torch_or_processor_is_not_found(monkeypatch):
    first = native._library("probe", [], [])
    assert native._library("probe", [], []) == first != native._library("probe", [], ["-O2"])
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "2.0")
        assert native._library("probe", [], []) != first
    with monkeypatch.context() as patch:
        patch.setattr(native, "processor", lambda: ("another processor",))
        assert native._library("probe", [], []) != first
    with monkeypatch.context() as patch:
        patch.setattr(native.prebuilt, "source_files", lambda: {"probe.cpp": b"another source"})
        assert native._library("probe", [], []) != first
    assert native._library("probe", [], []) == first


@pytest.mark.compiler
def test_a_planted_library_is_not_run(tmp_path, monkeypatch):
    """It is a valid library with a valid record, in a folder that everybody can write."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    compiler, flags = native.find_compiler(), native._attempts()[0]
    library = native._library("probe", compiler, flags)
    cache.make_folder(library.parent)
    source = tmp_path / "planted.cpp"
    trace = tmp_path / "it-ran"
    source.write_text(
        f'#include <cstdio>\n__attribute__((constructor)) void run() {{ std::fclose(std::fopen("{trace}", "w")); }}\n'
    )
    made = library.parent / "planted.so"
    native._run([*compiler, "-shared", "-fPIC", str(source), "-o", str(made)])
    cache.put(made, library)
    library.parent.chmod(0o777)
    native.load.cache_clear()
    try:
        with pytest.warns(UserWarning, match="not loaded but compiled again: others can write its folder"):
            assert native.load("probe").refrain_threads() >= 1
        assert not trace.exists()
    finally:
        native.load.cache_clear()
