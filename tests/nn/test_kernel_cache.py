"""Only what this user compiled is loaded: the owner, the permissions and the sha256 of each file decide."""

import os
import stat

import pytest

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


TAMPERED = {
    "other bytes": lambda library: library.write_bytes(b"Compiled"),
    "more bytes": lambda library: library.write_bytes(b"compiled\n"),
    "no bytes": lambda library: library.write_bytes(b""),
    "another record": lambda library: cache.record(library).write_text("0" * 64),
    "a record of no bytes": lambda library: cache.record(library).write_text(""),
    "no record": lambda library: cache.record(library).unlink(),
    "no library": lambda library: library.unlink(),
    "a library that others can write": lambda library: library.chmod(0o766),
    "a library that the group can write": lambda library: library.chmod(0o770),
    "a record that others can write": lambda library: cache.record(library).chmod(0o666),
    "a folder that others can write": lambda library: library.parent.chmod(0o777),
    "a folder that the group can write": lambda library: library.parent.chmod(0o770),
    "a link to a library": moved_behind_a_link,
    "a link to a record": lambda library: moved_behind_a_link(cache.record(library)),
    "a link to a folder": lambda library: moved_behind_a_link(library.parent),
    "a pipe": pipe,
    "a pipe in the place of the record": lambda library: pipe(cache.record(library)),
}


def test_what_this_user_made_is_intact(library):
    assert cache.is_intact(library)
    assert not any(path.stat().st_mode & 0o077 for path in (library, cache.record(library), library.parent))


@pytest.mark.parametrize("how", TAMPERED)
def test_what_others_could_have_written_is_not(library, how):
    TAMPERED[how](library)
    assert not cache.is_intact(library)


@pytest.mark.parametrize("how", TAMPERED)
def test_it_is_compiled_anew_in_silence(library, monkeypatch, how):
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
    TAMPERED[how](library)
    if how == "a link to a folder":
        # nothing is written through it
        with pytest.raises(OSError):
            native._opened("probe", ["c++"], [])
        assert loaded == []
        return
    native._opened("probe", ["c++"], [])
    assert loaded == [b"compiled again"] and cache.is_intact(library)
    native._opened("probe", ["c++"], [])
    assert loaded == [b"compiled again"] * 2


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
        assert native.load("probe").refrain_threads() >= 1
        assert not trace.exists()
    finally:
        native.load.cache_clear()
