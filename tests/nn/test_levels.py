"""Levels of instructions: those of the processor are found, each can be chosen, and any other is refused by name."""

import pytest
import torch

from refrain.errors import UserError
from refrain.nn import LSTM
from refrain.nn.kernels import call, levels
from refrain.nn.kernels import compile as native
from refrain.nn.kernels.backend import TORCH, Backend, bf16_instructions, has_fast_bf16, use_backend

ZEN = "flags\t\t: fpu sse2 fma avx f16c abm bmi1 avx2 bmi2 movbe"
WIDE = " avx512f avx512dq avx512cd avx512bw avx512vl"
GRAVITON = "Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm"


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path))
    monkeypatch.delenv("REFRAIN_NATIVE", raising=False)
    cached = (native.load, call.kernel)
    for each in cached:
        each.cache_clear()
    yield
    for each in cached:
        each.cache_clear()


def on(monkeypatch, machine, *lines):
    """As on another machine."""
    monkeypatch.setattr(levels, "machine", lambda: machine)
    monkeypatch.setattr(levels, "processor", lambda: lines)
    monkeypatch.setattr(levels, "tiles_permitted", lambda: "amx_tile" in lines[-1])


@pytest.mark.parametrize(
    ("machine", "flags", "expected"),
    [
        ("x86_64", "flags : fpu sse2", ["sse2"]),
        ("x86_64", ZEN, ["avx2", "sse2"]),
        ("x86_64", ZEN + " avx_vnni", ["avx2_vnni", "avx2", "sse2"]),
        # wider registers without one of the instructions that belong to them
        ("x86_64", ZEN + WIDE.replace(" avx512vl", ""), ["avx2", "sse2"]),
        ("x86_64", ZEN + WIDE, ["avx512", "avx2", "sse2"]),
        ("x86_64", ZEN + WIDE + " avx512_vnni", ["avx512_vnni", "avx512", "avx2", "sse2"]),
        ("x86_64", ZEN + WIDE + " avx512_bf16", ["avx512", "avx2", "sse2"]),
        (
            "x86_64",
            ZEN + WIDE + " avx512_vnni avx512_bf16 amx_bf16",
            ["avx512_bf16", "avx512_vnni", "avx512", "avx2", "sse2"],
        ),
        (
            "x86_64",
            ZEN + WIDE + " avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8",
            ["amx_bf16", "avx512_bf16", "avx512_vnni", "avx512", "avx2", "sse2"],
        ),
        ("aarch64", GRAVITON, ["neon"]),
        ("aarch64", GRAVITON + " i8mm bf16", ["neon_bf16", "neon"]),
        ("aarch64", "no /proc/cpuinfo here", []),
        ("riscv64", "flags : sse2 asimd", []),
    ],
)
def test_the_levels_of_a_processor(monkeypatch, machine, flags, expected):
    on(monkeypatch, machine, "model name : avx512f asimd", flags)
    assert [level.name for level in levels.available()] == expected


def test_a_level_that_the_processor_lacks_is_refused_with_those_that_it_has(monkeypatch, fresh):
    on(monkeypatch, "x86_64", ZEN)
    for name, cause in (
        ("avx512", "this processor does not have these instructions"),
        ("neon", "this processor does not have these instructions"),
        ("avx3", "no set of instructions has this name"),
        ("OFF", "no set of instructions has this name"),
    ):
        monkeypatch.setenv("REFRAIN_NATIVE", name)
        with pytest.raises(UserError) as refused:
            native.load("probe")
        assert str(refused.value) == f"REFRAIN_NATIVE={name}: {cause}; use avx2, sse2, off"
    on(monkeypatch, "riscv64", "nothing known")
    with pytest.raises(UserError, match=r"use off$"):
        native.load("probe")


def test_a_level_sets_the_flags_of_the_compiler(monkeypatch, fresh):
    on(monkeypatch, "x86_64", ZEN)
    assert all("-march=native" in flags for flags in native._attempts())
    key = native.library_key("probe")
    monkeypatch.setenv("REFRAIN_NATIVE", "avx2")
    assert all("-march=x86-64-v3" in flags and "-march=native" not in flags for flags in native._attempts())
    # another level is another library, and other times of the backends
    assert native.library_key("probe") != key


class System:
    """Answers system calls with a status, and remembers them."""

    def __init__(self, status):
        self.status, self.calls = status, []

    def syscall(self, *words):
        self.calls.append(tuple(word.value for word in words))
        return self.status


@pytest.mark.parametrize(("status", "permitted"), [(0, True), (-1, False)])
def test_tiles_are_used_only_with_the_permission_of_the_system(monkeypatch, fresh, status, permitted):
    """A process without it would be ended at the first of their instructions."""
    system = System(status)
    monkeypatch.setattr(levels.ctypes, "CDLL", lambda name: system)
    monkeypatch.setattr(levels, "machine", lambda: "x86_64")
    monkeypatch.setattr(
        levels, "processor", lambda: (ZEN + WIDE + " avx512_vnni avx512_bf16 amx_bf16 amx_tile amx_int8",)
    )
    ask = levels.tiles_permitted.__wrapped__
    for module in (levels, native):
        monkeypatch.setattr(module, "tiles_permitted", ask)
    assert (levels.available()[0].name == "amx_bf16") is permitted
    assert all(("-U__AMX_BF16__" in flags) is not permitted for flags in native._attempts())
    assert set(system.calls) == {(158, 0x1023, 18)}
    monkeypatch.setenv("REFRAIN_NATIVE", "amx_bf16")
    if permitted:
        assert all({"-mamx-tile", "-mamx-bf16"} <= set(flags) for flags in native._attempts())
    else:
        with pytest.raises(UserError, match="use avx512_bf16, "):
            native.load("probe")
    # elsewhere nothing is asked
    system.calls.clear()
    monkeypatch.setattr(levels, "processor", lambda: (ZEN,))
    assert not ask() and not system.calls


@pytest.mark.compiler
def test_what_is_chosen_is_what_is_compiled_and_reported(monkeypatch, fresh):
    lowest = levels.available()[-1:]
    if not lowest:
        pytest.skip("the instructions of this processor are not known")
    monkeypatch.setenv("REFRAIN_NATIVE", lowest[0].name)
    assert native.describe_kernels() == f"{lowest[0].name}, compiled on this machine"
    monkeypatch.setenv("REFRAIN_NATIVE", "off")
    native.load.cache_clear()
    assert native.describe_kernels() == ""


@pytest.mark.compiler
def test_the_lowest_level_computes_what_torch_computes(monkeypatch, fresh):
    """Without wide registers and without instructions for bfloat16; on this processor, others are tested in laws."""
    lowest = levels.available()[-1:]
    if not lowest:
        pytest.skip("the instructions of this processor are not known")
    monkeypatch.setenv("REFRAIN_NATIVE", lowest[0].name)
    torch.manual_seed(1)
    layer = LSTM(5, 33)
    inputs = torch.randn(7, 3, 5, requires_grad=True)
    cotangent = torch.randn(7, 3, 33)

    def results(backend):
        use_backend(layer, backend)
        outputs, state = layer(inputs, layer.initial_state(3))
        leaves = [inputs, *layer.parameters()]
        found = [outputs, *state, *torch.autograd.grad((outputs * cotangent).sum(), leaves)]
        return [tensor.detach() for tensor in found]

    expected = results(TORCH)
    torch.testing.assert_close(results(Backend(native=True)), expected, atol=1e-5, rtol=1e-5)
    for found, each in zip(results(Backend(native=True, bf16=True)), expected, strict=True):
        assert 0 < float((found - each).norm() / each.norm()) < 0.02


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, "amx_bf16"),
        ({"avx512_bf16": True, "amx_bf16": False}, "avx512_bf16"),
        ({"bf16": True}, "bf16"),
        ({"avx2": True}, ""),
    ],
)
def test_the_instructions_for_bf16_of_torch(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert bf16_instructions() == expected and has_fast_bf16() == bool(expected)
