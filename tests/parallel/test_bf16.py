"""Law: two ranks with the bf16 kernels take the steps of one process, but for rounding, in the first windows."""

import json
import os
import socket

import pytest
import torch
from processes import rank_environment, run_ranks
from safetensors.torch import load_file
from short_runs import quiet, write_splits

from refrain import parallel, recipe, runs
from refrain.nn.kernels.backend import has_fast_bf16

pytestmark = [pytest.mark.compiler, pytest.mark.skipif(not has_fast_bf16(), reason="no bf16 instructions")]

SETTINGS = (
    "model.embedding_size=16",
    "model.hidden_sizes=[16,16]",
    "model.dropout=0.2",
    "training.backend=native",
    "training.precision=bf16",
    "training.device=cpu",
    "training.batch_size=5",
    "training.window_steps=6",
    "training.log_windows=1",
    "training.epochs=1",
    "training.sample_tokens=0",
    "training.validation=exact",
)


# rounding to bf16 is to 2 ** -8; what is left of it in a sum over a window is compared with how far weights have moved
MOVED, NATS = 2**-5, 1e-4


def experiment_of(folder):
    return recipe("zaremba-medium", *SETTINGS, data=str(folder / "text"))


def train(rank, folder, port):
    """Train a run as one of two ranks."""
    os.environ.update(rank_environment(rank, 2, port))
    torch.set_num_threads(1)
    with parallel.joined():
        runs.train(experiment_of(folder), folder / "two", progress=quiet())


def weights(run, place):
    return load_file(sorted((run / "checkpoints").glob("step-*"))[place] / "model.safetensors")


def windows(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["nats_per_token"] for line in lines if line["event"] == "train"]


def test_two_ranks_take_the_steps_of_one_process_but_for_rounding(tmp_path):
    write_splits(tmp_path / "text", "a b c d\nb c <unk>\nd a b\n", (20, 4, 4))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run_ranks(train, 2, tmp_path, port)
    summary = runs.train(experiment_of(tmp_path), tmp_path / "one", progress=quiet())
    one, two = tmp_path / "one", tmp_path / "two"
    assert set(summary["backend"].values()) == {"native, bf16"}
    assert json.loads((two / "summary.json").read_text())["backend"] == summary["backend"]
    assert len(windows(one)) == 8 and windows(two) == pytest.approx(windows(one), rel=NATS)
    # the checkpoint before the first step is kept, since an epoch is short
    before, after, found = weights(one, 0), weights(one, -1), weights(two, -1)
    for name, start in before.items():
        moved = (after[name] - start).abs().max()
        assert moved > 0 and (found[name] - after[name]).abs().max() < MOVED * moved, name
