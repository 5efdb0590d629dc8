"""Kernels are compiled once, share torch's threads, and are done without where they cannot be had."""

import pytest
import torch

from refrain.nn import native


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path))
    monkeypatch.delenv("REFRAIN_NATIVE", raising=False)
    native.load.cache_clear()
    yield
    native.load.cache_clear()


compiler = pytest.mark.skipif(native.find_compiler() is None, reason="no C++ compiler")


@compiler
def test_a_kernel_shares_the_threads_of_torch():
    library = native.load("probe")
    assert library.refrain_threads() in (1, torch.get_num_threads())


@compiler
def test_a_kernel_is_compiled_once(tmp_path):
    assert not native.is_compiled("probe")
    native.load("probe")
    assert native.is_compiled("probe")
    (library,) = (tmp_path / "native").glob("*.so")
    made = library.stat().st_mtime_ns
    native.load.cache_clear()
    assert native.load("probe") is not None
    assert library.stat().st_mtime_ns == made and len(list((tmp_path / "native").iterdir())) == 1


def test_without_a_compiler_it_says_so_once(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert native.is_compiled("probe")
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler was found") as caught:
        assert native.load("probe") is None
        assert native.load("probe") is None
    assert len(caught) == 1


def test_a_compiler_that_fails_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "false")
    with pytest.warns(UserWarning, match="could not be compiled"):
        assert native.load("probe") is None


def test_it_can_be_switched_off(monkeypatch):
    monkeypatch.setenv("REFRAIN_NATIVE", "off")
    assert native.load("probe") is None
