"""A run that was stopped, killed or damaged continues to the same bits as one that was not."""

import json
import os
import random
import shutil
import signal
import time
from itertools import pairwise

import pytest
import torch
from processes import started, status_of
from short_runs import Stopping, assert_same_bits, quiet, trace

from refrain import runs
from refrain.data import open_word_corpus
from refrain.data.text.files import whole
from refrain.errors import CheckpointError, DataError
from refrain.runs.continuing import same_text
from refrain.storage.checkpoint import Checkpoint
from refrain.training import Interrupt, Interrupted, PlainProgress
from refrain.training import resume as state_of_runs
from refrain.training.interrupt import SIGNALS


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("unbroken")


@pytest.fixture
def unbroken(experiment, cache):
    folder = cache / experiment.name
    if not folder.exists():
        runs.train(experiment, folder, progress=quiet())
    return trace(folder)


@pytest.mark.parametrize("windows", [1, 5, 7, 12, 13, 23, 24, 31, 50])
def test_a_stopped_run_continues_bit_for_bit(experiment, unbroken, tmp_path, windows):
    """In the first window, on and off a line of metrics, at the end of an epoch, in the last window."""
    out = tmp_path / "run"
    if windows > unbroken[0]["position"]["step"]:
        pytest.skip("the run is shorter")
    with pytest.raises(Interrupted) as stopped:
        runs.train(experiment, out, progress=Stopping(windows))
    assert stopped.value.exit_status == 143
    torch.manual_seed(99)
    summary = runs.resume(out, progress=quiet())
    assert summary["epochs"] == experiment.training.epochs
    assert_same_bits(trace(out), unbroken)


def test_stopping_again_and_again_changes_nothing(experiment, unbroken, tmp_path):
    out, stops = tmp_path / "run", 0
    try:
        runs.train(experiment, out, progress=Stopping(3, signal.SIGINT))
    except Interrupted as stopped:
        assert stopped.exit_status == 130
    while True:
        try:
            runs.resume(out, progress=Stopping(4, SIGNALS[1 + stops % (len(SIGNALS) - 1)]))
            break
        except Interrupted as stopped:
            # SIGUSR1 has the status of SIGTERM
            assert stopped.exit_status == 143
            stops += 1
    assert stops >= 4
    assert_same_bits(trace(out), unbroken)


def test_a_damaged_newest_checkpoint_is_passed_over_and_said(experiment, unbroken, tmp_path, capsys):
    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        runs.train(experiment, out, progress=Stopping(17))
    newest = sorted((out / "checkpoints").iterdir())[-1]
    content = bytearray((newest / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (newest / "model.safetensors").write_bytes(content)
    runs.resume(out, progress=PlainProgress())
    said = capsys.readouterr().err
    assert "skipped a damaged checkpoint" in said and "model.safetensors" in said
    assert_same_bits(trace(out), unbroken)


def run_until_killed(experiment_json, out):
    from refrain.config import Experiment

    torch.set_num_threads(1)
    settings = Experiment.model_validate_json(experiment_json)
    if (out / "checkpoints").is_dir() and any((out / "checkpoints").glob("step-*")):
        runs.resume(out, progress=quiet())
    else:
        runs.train(settings, out, force=True, progress=quiet())


def test_a_killed_run_continues_bit_for_bit(experiment, unbroken, tmp_path):
    """SIGKILL at random times, also while a checkpoint is written; every window saves one."""
    out = tmp_path / "run"
    # the clock decides when checkpoints are written, not what is in them
    settings = experiment.model_copy(
        update={"training": experiment.training.model_copy(update={"checkpoint_minutes": 1e-9, "log_windows": 5})}
    )
    draw, kills = random.Random(3), 0
    for attempt in range(25):
        with started(run_until_killed, settings.model_dump_json(), out) as process:
            # patience grows, so that a slow machine comes to an end as well
            process.join((0.1 + draw.random()) * 1.2**attempt / 2)
            kills += process.is_alive()
        if (out / "summary.json").exists():
            break
    assert (out / "summary.json").exists()
    assert kills >= 1
    assert_same_bits(trace(out), unbroken)


def test_resume_needs_the_same_text_and_settings(experiment, text_folder, tmp_path):
    out, text = tmp_path / "run", tmp_path / "text"
    shutil.copytree(text_folder, text)
    moved = experiment.model_copy(update={"data": experiment.data.model_copy(update={"corpus": str(text)})})
    with pytest.raises(Interrupted):
        runs.train(moved, out, progress=Stopping(2))
    other = moved.model_copy(update={"training": moved.training.model_copy(update={"seed": 7})})
    with pytest.raises(CheckpointError, match=r"other settings \(training.seed: 1 in the run, 7 now\)"):
        runs.resume(out, experiment=other, progress=quiet())
    (text / "valid.txt").write_text("the old cat barks\n" * 40)
    with pytest.raises(DataError, match=r"valid text has changed since"):
        runs.resume(out, progress=quiet())


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="no such run folder"):
        runs.resume(tmp_path / "nowhere", progress=quiet())
    with pytest.raises(CheckpointError, match="not a run folder"):
        runs.resume(tmp_path, progress=quiet())


def test_a_finished_run_resumes_to_its_end(experiment, tmp_path):
    out = tmp_path / "run"
    first = runs.train(experiment, out, progress=quiet())
    again = runs.resume(out, progress=quiet())
    assert first["test"] == again["test"] and first["valid"] == again["valid"]


def test_pack_and_unpack_are_inverse():
    tensors = {}
    tree = {"a": [1, 2.5, None, True, "x"], 3: {"t": torch.arange(3)}, "n": [torch.ones(2), {}]}
    packed = json.loads(json.dumps(state_of_runs.pack(tree, tensors, "root")))
    back = state_of_runs.unpack(packed, tensors)
    assert back["a"] == tree["a"] and torch.equal(back[3]["t"], torch.arange(3)) and back["n"][1] == {}
    assert set(tensors) == {"root.3.t", "root.n.0"}
    with pytest.raises(TypeError, match=r"root.x: set"):
        state_of_runs.pack({"x": {1}}, tensors, "root")


def test_weights_of_another_shape_are_refused_whole(experiment, tmp_path):
    out = tmp_path / "run"
    runs.train(experiment, out, progress=quiet())
    weights = Checkpoint((out / "best").resolve()).tensors("model")
    model = runs.load(out).model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with pytest.raises(CheckpointError, match=r"head.bias is \(3,\) in the checkpoint"):
        state_of_runs.load_weights(model, {**weights, "head.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"missing"):
        state_of_runs.load_weights(model, {"head.bias": torch.zeros(3)})
    for dtype in (torch.int64, torch.bool, torch.complex64):
        bias = weights["head.bias"].to(dtype)
        with pytest.raises(CheckpointError, match=rf"^weights of another dtype: head.bias has {dtype}, which is not"):
            state_of_runs.load_weights(model, {**weights, "head.bias": bias})
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_second_signal_is_not_held_back(tmp_path):
    """The first signal asks; the second ends the process as if nobody listened."""
    for number, again in ((signal.SIGTERM, "send a second signal"), (signal.SIGINT, "press Ctrl-C again")):
        said = tmp_path / number.name
        assert status_of(stop_twice, number, said) == -number
        assert said.read_text().splitlines() == [
            f"the run stops after this window and saves a checkpoint; to stop at once without one, {again}",
            "the run stops at once; the checkpoints that it has saved are whole",
        ]


def stop_twice(number, path):
    def log(line):
        with path.open("a") as file:
            file.write(f"{line}\n")

    with Interrupt(log) as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.signal_number == number
        os.kill(os.getpid(), number)
        time.sleep(1000)


def test_a_signal_that_comes_while_a_line_is_printed_is_heeded():
    def busy(line):
        raise RuntimeError("reentrant call inside")

    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    with Interrupt(busy) as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.signal_number == signal.SIGTERM and not heard
    # nothing was done with it, so it is sent again
    assert heard == [signal.SIGTERM]


def test_averaging_is_part_of_the_run(experiment, unbroken):
    """What the cases above rest on: in the run with averaging, the trigger was pulled and the mean is what is kept."""
    if experiment.name != "awd":
        pytest.skip("no averaging")
    training, tensors, lines, *_ = unbroken
    assert dict(training["stateful"]["averaging"]["$dict"])["started"] is True
    assert not torch.equal(tensors["averaging.weights.0"], tensors["averaging.means.0"])
    assert torch.equal(tensors["embedding.weight"], tensors["averaging.means.0"])
    lengths = [line["step"] for line in lines if line["event"] == "valid"]
    assert len({b - a for a, b in pairwise(lengths)}) > 1


def test_a_text_in_other_files_is_another(tmp_path):
    """Their ends are ends of lines. The manifest of an earlier version says nothing about them."""
    (tmp_path / "1.txt").write_text("one two")
    (tmp_path / "2.txt").write_text("three\n")
    (tmp_path / "one.txt").write_text("one twothree\n")
    several = open_word_corpus("several", {"train": (*whole(tmp_path / "1.txt"), *whole(tmp_path / "2.txt"))})
    one = open_word_corpus("one", {"train": whole(tmp_path / "one.txt")})
    for corpus, other in ((several, one), (one, several)):
        split = corpus.splits["train"]
        recorded = {"sha256": split.sha256, "layout": split.layout}
        same_text(corpus, {"data": {"splits": {"train": recorded}}}, tmp_path)
        with pytest.raises(DataError, match="is divided into other files"):
            same_text(other, {"data": {"splits": {"train": recorded}}}, tmp_path)
        same_text(other, {"data": {"splits": {"train": {"sha256": split.sha256}}}}, tmp_path)


def test_two_tensors_of_a_state_have_two_names():
    with pytest.raises(TypeError, match=r"own\.a\.b: two tensors have this name"):
        state_of_runs.pack({"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}}, {}, "own")
