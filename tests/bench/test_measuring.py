"""Benches measure what they report: a clock of our own for the times, counted multiplications for the shares."""

import signal

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from refrain import bench
from refrain.assembly import choosing, measured_backend
from refrain.assembly.window_times import Times
from refrain.bench import limits, load, parallel, timing, train
from refrain.errors import UserError
from refrain.nn.kernels.backend import parts_with_backend
from refrain.parallel import ALONE, Ranks
from refrain.parallel.ranks import columns_of
from refrain.recipes import recipe

META = torch.device("meta")
SMALL = ("model.embedding_size=6", "model.hidden_sizes=[5,5]", "training.batch_size=2", "training.window_steps=10")


@pytest.fixture
def clock(monkeypatch):
    """Moves time, by as many seconds as it is called with; nothing else does."""
    now = [0.0]
    monkeypatch.setattr("refrain.bench.timing.time.perf_counter", lambda: now[0])

    def pass_time(seconds):
        now[0] += seconds

    return pass_time


def test_candidates_take_turns_and_their_first_call_does_not_count(clock):
    order, times = [], {"one": iter([9, 1, 2, 3]), "other": iter([9, 4, 4, 5])}

    def call(name):
        order.append(name)
        clock(next(times[name]))

    seconds = timing.interleaved({name: lambda name=name: call(name) for name in times}, repeats=3)
    assert order == ["one", "other"] * 4
    assert seconds == {"one": [1, 2, 3], "other": [4, 4, 5]}


def test_what_a_gpu_has_left_to_do_is_counted_for_the_call_that_left_it(clock, monkeypatch):
    """A call returns after 1 s and leaves work for 10 s; what was left from before is waited for first."""
    left = [100.0]

    def synchronize():
        clock(left[0])
        left[0] = 0.0

    def call():
        clock(1.0)
        left[0] += 10.0

    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.synchronize", synchronize)
    assert timing.interleaved({"a": call, "b": call}, repeats=2) == {"a": [11, 11], "b": [11, 11]}


def test_a_row_is_median_spread_and_the_median_of_ratios_pair_by_pair():
    rows = timing.rows_against("one", {"one": [1, 2, 4], "other": [2, 1, 1]}, 8, "tokens/s", prefix="5 wide, ")
    assert rows == [
        {"name": "5 wide, one", "median": 4, "low": 2, "high": 8, "unit": "tokens/s", "ratio": 1},
        # 1 / 2, 2 / 1, 4 / 1
        {"name": "5 wide, other", "median": 8, "low": 4, "high": 8, "unit": "tokens/s", "ratio": 2},
    ]


def test_shares_are_of_the_rate_in_the_same_round(monkeypatch):
    monkeypatch.setitem(limits.SHAPES, "cpu", (2, 3, 5))
    monkeypatch.setitem(limits.COPIED, "cpu", 80)
    # the limit's call has 2 * 2 * 3 * 5 = 60 operations: 60, 30 and 20 a second
    seconds = {"a": [4, 4, 4], "limit: float32 products": [1, 2, 3], "limit: copy": [1, 2, 4]}
    cpu = torch.device("cpu")
    # 15 a second: a quarter, a half, three quarters
    assert limits.share_of_limit(seconds, "a", 60, "float32", cpu) == pytest.approx(1 / 2)
    # 20 bytes a second of 80, 40 and 20
    assert limits.share_of_copy(seconds, "a", 80, cpu) == pytest.approx(1 / 2)
    products, copy = limits.limit_rows(seconds, cpu)
    assert (products["median"], products["unit"]) == (pytest.approx(30e-9), "GFLOP/s")
    assert (copy["median"], copy["unit"]) == (pytest.approx(40e-9), "GB/s")


@pytest.fixture
def counted(monkeypatch):
    """In the place of seconds, the operations of all matrix products that a call makes; so each share must be 1."""

    def operations(candidates, *, repeats):
        found = {}
        for name, call in candidates.items():
            with FlopCounterMode(display=False) as counter:
                call()
            found[name] = [counter.get_total_flops() or 1] * repeats
        return found

    for module in ("cells", "sparse", "train"):
        monkeypatch.setattr(f"refrain.bench.{module}.interleaved", operations)
    for device in ("cpu", "meta"):
        monkeypatch.setitem(limits.SHAPES, device, (2, 3, 4))
        monkeypatch.setitem(limits.COPIED, device, 16)


STEPS = 10
# the first step has no gradient of a hidden state before it, a third of what it costs
ALMOST = {"rel": 0.4 / STEPS}


@pytest.mark.parametrize("cell", ["lstm", "gru", "multiplicative-lstm"])
def test_the_operations_of_a_cell_are_those_it_makes_on_the_device(cell, counted, monkeypatch):
    """Tensors of the device `meta` refuse others beside them, so all that is timed is there."""
    monkeypatch.setattr("refrain.bench.cells.STEPS", STEPS)
    rows = bench.bench_cells(recipe("mlstm-bytes-reference", f"model.cell={cell}"), repeats=1, widths=(5,), device=META)
    shares = {row["name"]: row["of_limit"] for row in rows if "of_limit" in row}
    assert "5 wide, step by step" in shares and len(shares) == 4
    assert shares == {name: pytest.approx(1, **ALMOST) for name in shares}


def test_the_operations_of_a_sparse_layer_are_those_it_makes_on_the_device(counted, monkeypatch):
    monkeypatch.setattr("refrain.bench.sparse.LAYERS", ((20, 0.5),))
    monkeypatch.setattr("refrain.bench.sparse.STEPS", STEPS)
    monkeypatch.setattr("refrain.bench.sparse.TOKENS", 2)
    rows = bench.bench_sparse(repeats=1, device=META)
    shares = {row["name"]: row["of_limit"] for row in rows if "of_limit" in row}
    assert len(shares) == 3
    assert shares == {name: pytest.approx(1, **ALMOST) for name in shares}


# torch's own: oneDNN's LSTM, whose products are not seen, is switched off and on again
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_the_operations_of_a_training_step_are_those_it_makes(counted, monkeypatch):
    monkeypatch.setattr("refrain.nn.kernels.matmul._one_dnn", None)
    monkeypatch.setattr("refrain.bench.limits.has_fast_bf16", lambda device: False)
    with torch.backends.mkldnn.flags(enabled=False):
        experiment = recipe("zaremba-small", *SMALL, "training.backend=torch")
        rows = bench.bench_train(experiment, windows=1, repeats=1, device=torch.device("cpu"))
    shares = {row["name"]: row["of_limit"] for row in rows if "of_limit" in row}
    assert shares == {name: pytest.approx(1, **ALMOST) for name in ("plain", "refrain, float32")}


@pytest.mark.parametrize("name", ["train", "weight-drop", "group-lasso", "load"])
def test_a_bench_trains_with_the_backends_that_a_run_measures(name, monkeypatch):
    class MeasuredError(Exception):
        pass

    def measure(model, settings, shape, log):
        assert (shape.steps, shape.batch) == (settings.window_steps, settings.batch_size)
        assert measured_backend.budget(dict(parts_with_backend(model)), shape) == measured_backend.MOST_SECONDS
        raise MeasuredError

    monkeypatch.setattr(choosing, "measure_backends", measure)
    benches = {
        "train": bench.bench_train,
        "weight-drop": bench.bench_weight_drop,
        "group-lasso": bench.bench_group_lasso,
        "load": bench.bench_load,
    }
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    drop = ["model.weight_drop=0.5"] * (name == "weight-drop")
    device = {} if name == "load" else {"device": torch.device("cpu")}
    with pytest.raises(MeasuredError):
        benches[name](recipe("zaremba-small", *SMALL, *drop), windows=1, repeats=1, **device)


def test_one_thread_is_timed_with_the_backends_of_one_thread(monkeypatch):
    measured = []
    monkeypatch.setattr(choosing, "measure_backends", lambda *given: measured.append(torch.get_num_threads()) or {})
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        bench.bench_load(recipe("zaremba-small", *SMALL), windows=1, repeats=1)
    finally:
        torch.set_num_threads(threads)
    assert measured[:4] == [1, 2, 1, 2]


def test_ranks_are_timed_with_the_backends_of_their_share_and_one_process_with_its_own(monkeypatch):
    batches, used = [], []

    def measure(model, settings, shape, log):
        batches.append(shape.batch)
        return {"head": Times(1.0, 2.0) if shape.batch == 2 else Times(2.0, 1.0)}

    def train_round(model, text, state, *more, **options):
        used.append(model.head.backend.native)

    class Pair(Ranks):
        size = 2

        def columns(self, total):
            return columns_of(0, 2, total)

    monkeypatch.setattr(choosing, "measure_backends", measure)
    monkeypatch.setattr(parallel, "train_round", train_round)
    pair = Pair()
    trainer = parallel._Trainer(recipe("zaremba-small", *SMALL), "float32", [], pair)
    assert sorted(batches) == [1, 2]
    trainer(ALONE)
    trainer(ALONE, pair.columns(2))
    trainer(pair)
    assert used == [False, True, True]


def test_the_lstm_alone_trains():
    lstm, inputs = torch.nn.LSTM(4, 5), torch.randn(3, 2, 4)
    train._lstm_alone(lstm, inputs, 2)()
    assert inputs.grad is not None and all(parameter.grad is not None for parameter in lstm.parameters())


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="a program cannot be stopped here")
def test_a_busy_program_runs_in_its_turns_only(monkeypatch):
    """Each candidate has its threads, and the other program runs while those beside it train."""
    states, before, kill = [], torch.get_num_threads(), load.os.kill

    def noted(process, number):
        if number == signal.SIGKILL:
            return kill(process, number)
        running.append(number == signal.SIGCONT)

    def training(*_):
        return lambda: states.append((torch.get_num_threads(), running[-1]))

    running = []
    monkeypatch.setattr(load, "trainer", training)
    monkeypatch.setattr(load.os, "kill", noted)
    monkeypatch.setattr(load, "free_threads", lambda count: (1, {}))
    with pytest.raises(UserError, match="OMP_NUM_THREADS"):
        torch.set_num_threads(1)
        bench.bench_load(recipe("zaremba-small", *SMALL), windows=1, repeats=1)
    torch.set_num_threads(3)
    rows = bench.bench_load(recipe("zaremba-small", *SMALL), windows=1, repeats=1)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(before)
    turns = [(1, False), (3, False), (1, True), (3, True), (1, True)]
    assert states == turns * 2
    assert [row["name"] for row in rows][-1] == "as a run chooses, 1 thread, beside a busy program"
    assert rows[0]["ratio"] == 1.0
