"""Kernels are compiled once, share torch's threads, and are done without where they cannot be had."""

import subprocess

import pytest
import torch

from refrain.nn.kernels import call as calls
from refrain.nn.kernels import compile as native
from refrain.nn.kernels.cache import record


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path))
    monkeypatch.delenv("REFRAIN_NATIVE", raising=False)
    native.load.cache_clear()
    yield
    native.load.cache_clear()


@pytest.mark.compiler
def test_a_kernel_shares_the_threads_of_torch():
    library = native.load("probe")
    assert library.refrain_threads() in (1, torch.get_num_threads())


@pytest.mark.compiler
def test_a_kernel_is_compiled_once(tmp_path):
    assert not native.is_compiled("probe")
    native.load("probe")
    assert native.is_compiled("probe")
    (library,) = (tmp_path / "native").glob("*.so")
    made = library.stat().st_mtime_ns
    native.load.cache_clear()
    assert native.load("probe") is not None
    assert library.stat().st_mtime_ns == made
    assert sorted((tmp_path / "native").iterdir()) == [library, record(library)]


def test_without_a_compiler_it_says_so_once_and_raises_no_warning(monkeypatch, caplog):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert native.is_compiled("probe") and native.lacks_compiler()
    with caplog.at_level("INFO", logger="refrain"):
        assert native.load("probe") is None
        assert native.load("probe") is None
    (message,) = caplog.messages
    assert message == "no C++ compiler was found, so torch's operations are used instead of the kernels 'probe'"


@pytest.mark.parametrize(("variable", "value"), [("REFRAIN_NATIVE", "off"), ("CXX", "g++"), ("CXX", "'g++")])
def test_a_compiler_that_is_not_asked_for_or_is_named_is_not_missed(monkeypatch, variable, value):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv(variable, value)
    assert not native.lacks_compiler()


def test_a_compiler_that_fails_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "false")
    with pytest.warns(UserWarning, match="could not be compiled"):
        assert native.load("probe") is None


def test_a_compiler_that_hangs_is_not_called_again_with_other_flags(monkeypatch):
    started = []

    def hang(words, *, timeout, **options):
        started.append(words)
        raise subprocess.TimeoutExpired(words, timeout)

    monkeypatch.setenv("CXX", "g++")
    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.warns(UserWarning, match=r"could not be compiled \(the compiler took more than 300 seconds\)"):
        assert native.load("probe") is None
    assert len(started) == 1


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("REFRAIN_NATIVE", "off")
    assert native.load("probe") is None


@pytest.mark.compiler
@pytest.mark.parametrize("content", [b"", b"no library"])
def test_a_damaged_library_is_compiled_anew(tmp_path, content):
    library = native._library("probe", native.find_compiler(), native._attempts()[0])
    library.parent.mkdir()
    library.write_bytes(content)
    with pytest.warns(UserWarning, match="not loaded but compiled again: its recorded sha256 cannot be read"):
        assert native.load("probe").refrain_threads() >= 1
    assert library.stat().st_size > 100
    assert sorted((tmp_path / "native").iterdir()) == [library, record(library)]


def test_a_compiler_that_cannot_be_read_is_said(monkeypatch):
    monkeypatch.setenv("CXX", "'g++")
    with pytest.warns(UserWarning, match="CXX cannot be read .No closing quotation"):
        assert native.load("probe") is None
    assert native.is_compiled("probe")


@pytest.mark.compiler
def test_a_kernel_that_a_library_lacks_has_failed(monkeypatch):
    monkeypatch.setattr(calls, "_failed", {})
    with pytest.warns(UserWarning, match="it is not in the compiled file"):
        assert not calls.call("probe", "nothing_of_the_sort")
    assert "nothing_of_the_sort" in calls.failures()


@pytest.mark.compiler
def test_a_library_that_another_process_has_just_made_stays(monkeypatch):
    compiler, flags = native.find_compiler(), native._attempts()[0]
    library = native._library("probe", compiler, flags)
    native._compile("probe", compiler, flags, library)
    # it was not there yet when this process looked; the other one still has to open it
    monkeypatch.setattr(native, "is_intact", lambda path: False)
    monkeypatch.setattr(native, "_compile", lambda *arguments: None)
    assert native._opened("probe", compiler, flags).refrain_threads() >= 1
