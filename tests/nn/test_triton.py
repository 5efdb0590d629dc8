"""The kernels for GPUs against torch's operations, on a processor by Triton's interpreter.

Triton decides when it is imported whether it interprets, so all but the first test run in a process of their own.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys
import warnings

import pytest
import torch
import windows
from windows import results

from refrain.nn import GRU, LSTM, MultiplicativeLSTM, SparseLSTM, WeightDropout, plan_blocks
from refrain.nn.kernels import launch as gpu
from refrain.nn.kernels.backend import TORCH, Backend
from refrain.nn.kernels.call import failures

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in the process of the first test")

T, I = 4, 5  # noqa: E741
KERNELS = Backend(native=True)
LAYERS = {
    "LSTM": lambda: LSTM(I, 37),
    "LSTM, one unit": lambda: LSTM(I, 1),
    "LSTM, whole blocks": lambda: LSTM(I, 256),
    "LSTM, weight drop": lambda: LSTM(I, 90, recurrent_transform=WeightDropout(0.5)),
    "GRU": lambda: GRU(I, 37),
    "GRU, two biases": lambda: GRU(I, 37, recurrent_bias=True),
    "GRU, many blocks": lambda: GRU(I, 131),
    "MultiplicativeLSTM": lambda: MultiplicativeLSTM(I, 33, intermediate_size=50),
    "SparseLSTM": lambda: SparseLSTM(plan_blocks(I, 31, blocks=3, density=0.5)),
}


@pytest.mark.skipif(INTERPRETED, reason="this is that process")
def test_all_by_the_interpreter(own_environment):
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", __file__]
    done = subprocess.run(
        words,
        env={**own_environment, "TRITON_INTERPRET": "1", "REFRAIN_NATIVE": "off"},
        cwd=pathlib.Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


COMPILING = """
import sys

import refrain.runs

assert "refrain.nn.recurrent.lstm.triton" not in sys.modules

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from refrain.nn.recurrent.gru import triton as gru
from refrain.nn.recurrent.lstm import triton as lstm

ROUNDED = {"product", "operands", "d_product", "d_gates", "d_projected", "d_recurrent"}
for kernel in (lstm.forward, lstm.backward, gru.forward, gru.backward):
    for rounded in ("fp32", "bf16"):
        for one in ((), ("width",), ("width", "units")):  # a 1 becomes a constant
            constants = {"BLOCK": 256, **{name: 1 for name in one}}
            types = {name: "*" + (rounded if name in ROUNDED else "fp32") for name in kernel.arg_names}
            types |= {"step": "i32", "width": "i32", "units": "i32", **{name: "constexpr" for name in constants}}
            source = ASTSource(fn=kernel, signature=types, constexprs=constants)
            for capability in (80, 90):
                assert compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
print("compiled")
"""


@pytest.mark.skipif(INTERPRETED, reason="this process interprets")
def test_kernels_compile_for_gpus(own_environment, tmp_path):
    environment = {**own_environment, "TRITON_CACHE_DIR": str(tmp_path)}
    # Triton reads the source of a kernel from its file
    words = [sys.executable, "-c", COMPILING]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout == "compiled\n", done.stderr


@pytest.fixture
def launches(monkeypatch):
    """Kernels run on this device; a list of those that were launched."""
    monkeypatch.setattr("refrain.nn.recurrent.protocol.SCAN_DEVICES", ("cuda", "cpu"))
    monkeypatch.setattr("refrain.nn.kernels.call._failed", {})
    launched = []

    def counted(file, function, *arguments):
        done = gpu.launch(file, function, *arguments)
        launched.extend([f"{file}_{function}"] * done)
        return done

    for module in ("lstm.gates", "gru.scan"):
        monkeypatch.setattr(f"refrain.nn.recurrent.{module}.launch", counted)
    return launched


def case(name, batch=3):
    return windows.case(LAYERS, name, T, batch, I)


@interpreted
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_kernels_equal_plain_operations(name, batch, launches):
    layer, inputs, state = case(name, batch)
    wanted = results(layer, inputs, state, TORCH)
    assert not launches
    for got, expected in zip(results(layer, inputs, state, KERNELS), wanted, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    family = "gru" if "GRU" in name else "lstm"
    assert launches == [f"{family}_forward"] * T + [f"{family}_backward"] * T


@interpreted
@pytest.mark.parametrize("name", LAYERS)
def test_in_bf16_kernels_do_what_torch_does(name, launches):
    layer, inputs, state = case(name)
    by_torch = results(layer, inputs, state, Backend(bf16=True))
    assert not launches
    by_kernels = results(layer, inputs, state, Backend(native=True, bf16=True))
    assert len(launches) == 2 * T
    for got, expected in zip(by_kernels, by_torch, strict=True):
        assert got.dtype == torch.float32
        # the interpreter cuts bits off where a GPU rounds to nearest, so this is wider than it has to be there
        assert (got - expected).norm() <= 0.02 * expected.norm()


@interpreted
@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
def test_gates_at_their_limits(launches):
    layer, inputs, state = case("LSTM")
    inputs = (1000 * inputs.detach()).requires_grad_()
    wanted, got = (results(layer, inputs, state, engine) for engine in (TORCH, KERNELS))
    for one, other in zip(got, wanted, strict=True):
        assert one.isfinite().all()
        # a weight's gradient sums a thousand times what float32 rounds
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def broken(*arguments, **settings):
    raise RuntimeError("out of resource: shared memory\nand much more")


class Broken:
    def __getitem__(self, grid):
        return broken


@interpreted
@pytest.mark.parametrize("function", ["forward", "backward"])
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_a_kernel_that_fails_leaves_the_window_to_torch(name, function, launches, monkeypatch):
    layer, inputs, state = case(name)
    wanted = results(layer, inputs, state, TORCH)
    file = name.lower()
    monkeypatch.setattr(gpu.load(file), function, Broken())
    with pytest.warns(UserWarning, match=f"{file}_{function}_triton failed .RuntimeError: out of resource.*slower"):
        found = results(layer, inputs, state, KERNELS)
    other = "backward" if function == "forward" else "forward"
    assert launches == [f"{file}_{other}"] * T
    assert failures() == {f"{file}_{function}_triton": "RuntimeError: out of resource: shared memory"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = results(layer, inputs, state, KERNELS)
    for got, expected in (*zip(found, wanted, strict=True), *zip(again, wanted, strict=True)):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


@interpreted
def test_a_triton_that_cannot_be_imported_is_reported_once(launches, monkeypatch):
    def missing(name):
        raise ImportError("libtriton.so: no such file")

    gpu.load.cache_clear()
    monkeypatch.setattr("refrain.nn.kernels.launch.importlib.import_module", missing)
    layer, inputs, state = case("LSTM")
    wanted = results(layer, inputs, state, TORCH)
    try:
        with pytest.warns(UserWarning, match="lstm_triton failed .ImportError: libtriton.so") as caught:
            found = results(layer, inputs, state, KERNELS)
        assert len(caught) == 1 and not launches
        assert failures() == {"lstm_triton": "ImportError: libtriton.so: no such file"}
    finally:
        monkeypatch.undo()
        gpu.load.cache_clear()
    for got, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


@interpreted
def test_the_same_bits_again(launches):
    layer, inputs, state = case("LSTM")
    one, other = (results(layer, inputs, state, KERNELS) for _ in range(2))
    assert all(map(torch.equal, one, other))
