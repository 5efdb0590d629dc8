"""Benches put all that they measure on the device, and wait for it; no speed is tested."""

import contextlib

import pytest
import torch

from refrain import bench
from refrain.bench import limits, timing, train
from refrain.recipes import recipe

META = torch.device("meta")
SMALL = ("model.embedding_size=6", "model.hidden_sizes=[5]", "training.batch_size=2", "training.window_steps=3")


@pytest.fixture
def on_meta(monkeypatch):
    """Tensors without memory, which refuse others beside them; numbers read from them are zeros."""
    monkeypatch.setitem(limits.SHAPES, "meta", (2, 3, 4))
    monkeypatch.setitem(limits.COPIED, "meta", 16)
    monkeypatch.setattr("refrain.nn.kernels.backend.SCANNED", ("meta",))
    monkeypatch.setattr("refrain.nn.recurrent.lstm.gates.launch", lambda *arguments: False)
    monkeypatch.setattr("refrain.nn.recurrent.gru.scan.launch", lambda *arguments: False)
    monkeypatch.setattr("torch.autocast", lambda *arguments, **settings: contextlib.nullcontext())
    # fused updates do not know the device
    plain = lambda settings, model: torch.optim.SGD(model.parameters(), lr=0.1)  # noqa: E731
    monkeypatch.setattr("refrain.bench.train.build_optimizer", plain)
    monkeypatch.setattr(torch.Tensor, "item", lambda tensor: 0.0)
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: True)
    monkeypatch.setattr(torch.Tensor, "__float__", lambda tensor: 0.0)


@pytest.mark.parametrize("cell", ["lstm", "gru", "mlstm"])
def test_cells(cell, on_meta, monkeypatch):
    monkeypatch.setattr("refrain.bench.cells.STEPS", 3)
    rows = bench.bench_cells(recipe("mlstm-bytes", f"model.cell={cell}"), repeats=1, widths=(5, 7), device=META)
    assert [row["name"] for row in rows[:2]] == ["5 wide, step by step", f"5 wide, {cell}, plain"]
    assert rows[4]["name"].startswith("7 wide")


def test_sparse(on_meta, monkeypatch):
    monkeypatch.setattr("refrain.bench.sparse.LAYERS", ((20, 0.5),))
    monkeypatch.setattr("refrain.bench.sparse.STEPS", 3)
    assert len(bench.bench_sparse(repeats=1, device=META)) == 9


def test_train(on_meta):
    rows = bench.bench_train(recipe("zaremba-small", *SMALL), windows=1, repeats=1, device=META)
    assert [row["name"] for row in rows] == ["plain", "refrain, float32", "limit: float32 products", "limit: copy"]


def test_weight_drop(on_meta):
    experiment = recipe("zaremba-small", *SMALL, "model.weight_drop=0.5")
    assert len(bench.bench_weight_drop(experiment, windows=1, repeats=1, device=META)) == 4


def test_the_lstm_alone_trains():
    lstm, inputs = torch.nn.LSTM(4, 5), torch.randn(3, 2, 4)
    train._lstm_alone(lstm, inputs, 2)()
    assert inputs.grad is not None and all(parameter.grad is not None for parameter in lstm.parameters())


def test_a_gpu_is_waited_for_before_and_after_each_call(monkeypatch):
    said = []
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.synchronize", lambda: said.append("wait"))
    timing.interleaved({"a": lambda: said.append("a"), "b": lambda: said.append("b")}, repeats=1)
    assert said == ["wait", "a", "wait", "wait", "b", "wait"] * 2
