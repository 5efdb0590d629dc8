"""What a run trains with: chosen by rule or setting, refused where it cannot be, recorded, the same after a restart."""

import json

import pytest
import torch

from refrain import runs
from refrain.assembly.backend import choose_backends, describe_backends, kernels_used
from refrain.assembly.model import build_device, build_model
from refrain.config import Data, Experiment, Model, Training
from refrain.errors import UserError
from refrain.nn import GRU, LSTM, MultiplicativeLSTM, SoftmaxHead, SparseLSTM, plan_blocks
from refrain.nn.kernels import compile as native
from refrain.nn.kernels.backend import TORCH, Backend, bf16_instructions, has_fast_bf16
from refrain.nn.recurrent.gated import in_one_buffer
from refrain.training import Interrupted, PlainProgress

BF16 = pytest.mark.skipif(not has_fast_bf16(), reason="no bf16 instructions")


def model(width=810, vocabulary=1000, **shape):
    return build_model(Model(embedding_size=8, hidden_sizes=(8, width), **shape), vocabulary)


def test_instructions_that_do_not_exist_are_refused_before_training(monkeypatch):
    """Also where no part uses a kernel: a sample or an evaluation of this run would."""
    monkeypatch.setenv("REFRAIN_NATIVE", "avx3")
    with pytest.raises(UserError, match=r"REFRAIN_NATIVE=avx3: no set of instructions has this name; use .*off"):
        choose_backends(Training(backend="torch"), model())


@pytest.mark.compiler
def test_auto_takes_kernels_where_they_pay():
    net = model()
    chosen = choose_backends(Training(), net)
    assert chosen == {
        "stack.layers.0": "torch, float32",
        "stack.layers.1": "native, float32",
        "head": "native, float32",
    }
    assert net.head.backend == Backend(native=True) and net.stack.layers[0].backend == TORCH
    assert describe_backends(chosen) == (
        f"backend torch, float32 (1 of 3 parts); native, float32 (2 of 3 parts); kernels {native.describe_kernels()}"
    )
    assert native.describe_kernels().endswith("compiled on this machine")
    assert kernels_used({"head": "torch, float32"}) == "" == kernels_used({"head": "Triton, bf16"})


@pytest.mark.compiler
@BF16
def test_bf16_and_scan_are_for_every_part(monkeypatch):
    monkeypatch.setattr("refrain.assembly.precision.bf16_speedup", lambda: 2.0)
    chosen = choose_backends(Training(backend="native", precision="bf16"), model(width=9))
    assert set(chosen.values()) == {"native, bf16"}
    assert choose_backends(Training(backend="native", precision="auto"), model(width=9)) == chosen


def test_plain_means_no_kernel_and_no_sparse_gradient():
    net = model(vocabulary=200_000)
    assert set(choose_backends(Training(backend="torch"), net).values()) == {"torch, float32"}
    assert not net.embedding.sparse_gradient


@pytest.mark.parametrize(
    ("training", "shape", "sparse"),
    [
        ({}, {}, True),
        ({"weight_decay": 0.1}, {}, False),
        ({"optimizer": "adam"}, {}, False),
        ({}, {"tied": True}, False),
        ({}, {"tied": True, "head": {"kind": "mixture", "components": 2}}, False),
    ],
)
def test_a_sparse_gradient_where_it_is_exact(training, shape, sparse):
    net = model(width=8, vocabulary=200_000, **shape)
    choose_backends(Training(**training), net)
    assert net.embedding.sparse_gradient == sparse


def test_what_a_device_cannot_do_is_refused(monkeypatch):
    monkeypatch.setattr("refrain.assembly.precision.has_fast_bf16", lambda device: False)
    with pytest.raises(UserError, match="this CPU does not; use 'float32'"):
        choose_backends(Training(precision="bf16"), model())
    assert "bf16" not in str(choose_backends(Training(precision="auto"), model()))
    meta = model().to("meta")
    with pytest.raises(UserError, match="'native' is for CPUs and GPUs, not for meta; use 'torch' or 'auto'"):
        choose_backends(Training(backend="native"), meta)
    with pytest.raises(UserError, match="the device meta does not; use 'float32'"):
        choose_backends(Training(precision="bf16"), meta)


class OnGPU:
    """A model that claims to be on a GPU."""

    def __init__(self, parts):
        self.parts = parts

    def parameters(self):
        return iter([type("Parameter", (), {"device": torch.device("cuda")})])

    def named_modules(self):
        return self.parts.items()


def gpu_parts():
    return {
        "lstm": LSTM(2, 3),
        "gru": GRU(2, 3),
        "mlstm": MultiplicativeLSTM(2, 3),
        "sparse": SparseLSTM(plan_blocks(4, 4, blocks=2, density=1.0)),
        "head": SoftmaxHead(3, 5),
    }


FLOAT32, BF16_ALONE, TRITON, BOTH = Backend(), Backend(bf16=True), Backend(native=True), Backend(True, True)


@pytest.mark.parametrize(
    ("backend", "precision", "triton", "lstm", "mlstm", "said"),
    [
        ("auto", "float32", True, FLOAT32, TRITON, ("cuDNN, float32", "Triton, float32")),
        ("auto", "float32", False, FLOAT32, FLOAT32, ("cuDNN, float32", "torch, float32")),
        ("auto", "bf16", True, BOTH, BOTH, ("Triton, bf16", "Triton, bf16")),
        ("auto", "auto", False, BF16_ALONE, BF16_ALONE, ("torch, bf16", "torch, bf16")),
        ("native", "float32", True, TRITON, TRITON, ("Triton, float32", "Triton, float32")),
        ("native", "bf16", True, BOTH, BOTH, ("Triton, bf16", "Triton, bf16")),
        ("torch", "float32", True, FLOAT32, FLOAT32, ("cuDNN, float32", "torch, float32")),
        ("torch", "bf16", True, BF16_ALONE, BF16_ALONE, ("torch, bf16", "torch, bf16")),
    ],
)
def test_what_each_part_trains_with_on_a_gpu(backend, precision, triton, lstm, mlstm, said, monkeypatch):
    monkeypatch.setattr("refrain.assembly.precision.has_fast_bf16", lambda device: device == "cuda")
    monkeypatch.setattr("refrain.assembly.backend.has_triton", lambda: triton)
    parts = gpu_parts()
    chosen = choose_backends(Training(backend=backend, precision=precision), OnGPU(parts))
    assert {parts[name].backend for name in ("lstm", "gru", "sparse")} == {lstm}
    assert parts["mlstm"].backend == mlstm and parts["head"].backend == Backend(bf16=lstm.bf16)
    assert {chosen[name] for name in ("lstm", "gru", "sparse")} == {said[0]}
    assert chosen["mlstm"] == said[1] and chosen["head"] == f"torch, {'bf16' if lstm.bf16 else 'float32'}"


def test_what_a_gpu_cannot_do_is_refused(monkeypatch):
    monkeypatch.setattr("refrain.assembly.precision.has_fast_bf16", lambda device: False)
    monkeypatch.setattr("refrain.assembly.backend.has_triton", lambda: False)
    with pytest.raises(UserError, match="this GPU does not; use 'float32'"):
        choose_backends(Training(precision="bf16"), OnGPU(gpu_parts()))
    with pytest.raises(UserError, match="'native' on a GPU needs Triton; pip install triton, or use 'torch' or 'auto'"):
        choose_backends(Training(backend="native"), OnGPU(gpu_parts()))
    assert set(choose_backends(Training(precision="auto"), OnGPU(gpu_parts())).values()) == {
        "cuDNN, float32",
        "torch, float32",
    }


def test_on_a_gpu_float32_and_sums_are_exact(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    flags = [(torch.backends.cudnn, "allow_tf32"), (torch.backends.cuda.matmul, FLAG)]
    before = [getattr(place, name) for place, name in flags]
    try:
        assert build_device("auto") == torch.device("cuda")
        assert not any(getattr(place, name) for place, name in flags)
    finally:
        for (place, name), value in zip(flags, before, strict=True):
            setattr(place, name, value)


FLAG = "allow_bf16_reduced_precision_reduction"


def test_without_a_compiler_everything_is_plain(monkeypatch):
    monkeypatch.setattr("refrain.assembly.backend.load", lambda name: None)
    assert set(choose_backends(Training(backend="native"), model()).values()) == {"torch, float32"}


@pytest.fixture
def experiment(tmp_path):
    corpus = tmp_path / "text"
    corpus.mkdir()
    for split, lines in (("train", 40), ("valid", 6), ("test", 6)):
        (corpus / f"{split}.txt").write_text("a b c d e\nb d <unk>\nc a e e\n" * lines)

    def make(**training):
        settings = {"epochs": 2, "batch_size": 4, "window_steps": 6, "backend": "native", "max_norm": 0.1, **training}
        return Experiment(
            data=Data(corpus=str(corpus)),
            model=Model(embedding_size=6, hidden_sizes=(8, 5), dropout=0.2, weight_drop=0.3),
            training=Training(**settings),
        )

    return make


def train(experiment, out):
    return runs.train(experiment, out, progress=PlainProgress(quiet=True))


@pytest.mark.compiler
@pytest.mark.parametrize("precision", ["float32", pytest.param("bf16", marks=BF16)])
def test_a_run_says_what_it_trained_with_and_resumes_bit_for_bit(experiment, precision, tmp_path):
    wanted = train(experiment(precision=precision), tmp_path / "whole")
    assert set(wanted["backend"].values()) == {f"native, {precision}"} and "failed_kernels" not in wanted
    manifest = json.loads((tmp_path / "whole" / "manifest.json").read_text())
    assert manifest["backend"] == wanted["backend"]
    assert (
        manifest["kernels"] == native.describe_kernels() != "" and manifest["bf16_instructions"] == bf16_instructions()
    )

    class Stopping(PlainProgress):
        windows = 0

        def window(self, *arguments):
            Stopping.windows += 1
            if Stopping.windows == 17:
                raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Interrupted)):
        runs.train(
            experiment(precision=precision, checkpoint_minutes=1e-9), tmp_path / "cut", progress=Stopping(quiet=True)
        )
    got = runs.resume(tmp_path / "cut", progress=PlainProgress(quiet=True))
    assert got["valid"] == wanted["valid"] and got["test"] == wanted["test"]


@pytest.mark.compiler
def test_kernels_and_plain_learn_the_same(experiment, tmp_path):
    one, other = (train(experiment(backend=backend), tmp_path / backend) for backend in ("torch", "native"))
    assert one["valid"]["nats_per_token"] == pytest.approx(other["valid"]["nats_per_token"], rel=1e-4)
    assert set(one["backend"].values()) == {"torch, float32"}


@pytest.mark.compiler
def test_a_kernel_that_failed_stands_in_the_summary(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("refrain.nn.kernels.call._failed", {"softmax_gradient_float32": "no memory"})
    summary = train(experiment(epochs=1), tmp_path / "run")
    assert summary["failed_kernels"] == {"softmax_gradient_float32": "no memory"}


def test_weights_in_one_buffer_are_those_weights_with_their_gradients():
    weights = [torch.randn(shape, requires_grad=True) for shape in ((8, 3), (8, 2), (8,), (8,))]
    packed = in_one_buffer(weights)
    places = [part.storage_offset() for part in packed]
    assert places == [0, 24, 40, 48]
    assert len({part.untyped_storage().data_ptr() for part in packed}) == 1
    assert packed[0].untyped_storage().nbytes() == 4 * 56
    factors = [torch.randn_like(weight) for weight in weights]
    total = sum((part * factor).sum() for part, factor in zip(packed, factors, strict=True))
    for got, wanted in zip(torch.autograd.grad(total, weights), factors, strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.compiler
def test_compiling_is_announced_once(tmp_path, monkeypatch):
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path))
    native.load.cache_clear()
    said = []
    try:
        for _ in range(2):
            choose_backends(Training(backend="native"), model(), said.append)
        choose_backends(Training(backend="torch"), model(), said.append)
    finally:
        native.load.cache_clear()
    assert said == ["compiling kernels for this processor, some seconds, once: lstm, softmax, update"]


def test_a_missing_compiler_is_reported_in_one_line(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("REFRAIN_NATIVE", raising=False)
    native.load.cache_clear()
    said = []
    try:
        chosen = choose_backends(Training(backend="native"), model(), said.append)
        choose_backends(Training(backend="torch"), model(), said.append)
    finally:
        native.load.cache_clear()
    (line,) = said
    assert line.startswith("no C++ compiler was found, so torch's own operations are used; install g++")
    assert set(chosen.values()) == {"torch, float32"}


def test_native_names_the_layers_without_kernels():
    class Mine(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.GRU(8, 8), torch.nn.GRU(8, 8), LSTM(8, 8)])

    said = []
    choose_backends(Training(backend="native"), Mine(), said.append)
    (line,) = [line for line in said if "no kernels" in line]
    assert line == "training.backend=native: GRU has no kernels, and trains by torch's own operations"
    said.clear()
    choose_backends(Training(backend="auto"), Mine(), said.append)
    choose_backends(Training(backend="native"), model(), said.append)
    assert not any("no kernels" in line for line in said)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "no CUDA device 'cuda' is available; use 'cpu' or 'auto'"),
        ("cuda:0", "no CUDA device 'cuda:0' is available"),
        ("meta", "'meta' is unknown; use 'cpu', 'cuda' or 'auto'"),
        ("gpu", "'gpu' is unknown"),
    ],
)
def test_a_device_that_cannot_be_used(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match=message):
        build_device(name)
    assert build_device("cpu") == torch.device("cpu")
