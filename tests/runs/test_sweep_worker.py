"""A worker of a sweep when a cell or the machine fails, a run is damaged or locked, or a signal comes."""

import contextlib
import errno
import json
import os
import signal
import sys

import pytest
from blocked_modules import lacks
from short_runs import Stopping, quiet

from refrain.errors import DataError, MachineError, UnwritableError, UserError
from refrain.recipes import RECIPES
from refrain.runs.sweeps import cell_run
from refrain.runs.sweeps.cell_run import Options, Pruned
from refrain.runs.sweeps.folder import SweepFolder
from refrain.runs.sweeps.plan import Sweep
from refrain.runs.sweeps.worker import MOST_DOUBTFUL, work, work_on
from refrain.storage.checkpoint_manifest import UnreadableError
from refrain.storage.run_folder import RunFolder
from refrain.training import Interrupted

TEXT = """extends = "zaremba-small"
data.corpus = "{corpus}"
model.embedding_size = 4
training.epochs = 2
training.batch_size = 4
training.window_steps = 20
training.sample_tokens = 0
training.validation = "exact"
training.device = "{device}"
training.checkpoint_minutes = 100
{more}

[sweep.space]
model.hidden_sizes = {widths}
"""
BROKEN = (
    RuntimeError("CUDA error: an illegal memory access"),
    UnwritableError("cells: cannot be written (No space left on device)"),
    OSError(errno.EIO, "Input/output error"),
    DataError("words: no such file"),
    MachineError("device: no CUDA device 'cuda' is available"),
    UnreadableError("model.safetensors: cannot be read (Input/output error)"),
)
BROKEN_TEXT = f"RuntimeError: {BROKEN[0]}"


@pytest.fixture
def opened(tiny_corpus, write, tmp_path):
    """A sweep that is opened and not trained, with a number of cells."""

    def make(cells, more="", device="cpu"):
        widths = [[4 + each] for each in range(cells)]
        file = write("small.toml", TEXT.format(corpus=tiny_corpus, widths=widths, more=more, device=device))
        folder = SweepFolder(tmp_path / "out", Sweep(file, RECIPES))
        folder.open()
        return folder

    return make


@pytest.fixture
def trained(monkeypatch):
    """The numbers of the cells that were trained; those in `failing` raise their error, and the others do nothing."""

    class Trained(list):
        """The numbers, and the errors by number."""

    found = Trained()
    found.failing = {}

    def train(experiment, path, **more):
        number = int(path.name)
        found.append(number)
        if number in found.failing:
            raise found.failing[number]

    monkeypatch.setattr(cell_run, "train", train)
    return found


def options(**more):
    return Options(**{"progress": quiet, "log": lambda line: None, **more})


def states(folder):
    found = [folder.result(number) for number in range(1, folder.sweep.number + 1)]
    return [result and result.state for result in found]


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
def test_a_worker_on_a_broken_machine_stops_and_leaves_its_cells(opened, trained, error, capsys):
    folder = opened(6)
    trained.failing = dict.fromkeys(range(1, 7), error)
    with pytest.raises(UserError, match="so this worker stops, and cells 1, 2, 3 are left to others; repair") as found:
        work(folder, options())
    assert str(error) in str(found.value) and found.value.exit_status == getattr(error, "exit_status", 4)
    assert trained == [1, 2, 3] and states(folder) == [None] * 6
    assert ("Traceback" in capsys.readouterr().err) == isinstance(error, RuntimeError)
    # a sound machine trains all of them
    trained.failing = {}
    assert work(folder, options()) == 6 and states(folder) == ["done"] * 6


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        ('training.precision = "bf16"', "'bf16' needs a device that computes in it"),
        ("training.threads = 10_000_000", "training.threads: 10,000,000 are too many"),
        ("training.tensorboard = true", "training.tensorboard needs TensorBoard"),
        ('training.backend = "native"', "REFRAIN_NATIVE=bogus: no set of instructions has this name"),
        ("", "device: no CUDA device 'cuda' is available"),
        ("data.workers = 2", "the environment variable RANK must be a whole number"),
    ],
)
def test_what_the_machine_lacks_uses_up_no_cell(opened, monkeypatch, more, cause):
    if not more:
        monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    if "bf16" in more:
        monkeypatch.setattr("refrain.assembly.precision.has_fast_bf16", lambda device: False)
    if "tensorboard" in more:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    if "native" in more:
        monkeypatch.setenv("REFRAIN_NATIVE", "bogus")
    if "workers" in more:
        monkeypatch.setenv("RANK", "first")
    folder = opened(3, more, "cpu" if more else "cuda")
    with pytest.raises(UserError, match="so this worker stops, and cells 1, 2, 3 are left to others") as found:
        work(folder, options())
    assert cause in str(found.value) and states(folder) == [None] * 3
    assert not list((folder.path / "results").iterdir())


def test_a_cell_is_not_tried_for_ever_on_a_machine_that_has_trained_others(opened, trained):
    folder = opened(2)
    trained.failing = {2: MachineError("more threads than there are cores")}
    assert work_on(folder, 1, options())
    assert work(folder, options()) == 1 and states(folder) == ["done", "failed"]


def test_an_error_is_of_the_cell_where_another_cell_goes_well(opened, trained):
    folder = opened(6)
    trained.failing = dict.fromkeys((1, 2, 4, 6), BROKEN[0])
    lines = []
    assert work(folder, options(log=lines.append)) == 6
    assert states(folder) == ["failed", "failed", "done", "failed", "done", "failed"]
    assert folder.result(1).error == "RuntimeError: CUDA error: an illegal memory access"
    # the doubtful cells were kept, and nobody has trained them again
    assert trained == [1, 2, 3, 4, 5, 6] and lines.index("cell 3: done") < lines.index(f"cell 1: failed: {BROKEN_TEXT}")


@pytest.mark.parametrize(
    "error",
    [
        UserError("training.batch_size: is too large"),
        FloatingPointError("the loss is nan"),
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_cells_that_fail_on_their_own_do_not_stop_a_worker(opened, trained, error):
    folder = opened(MOST_DOUBTFUL + 1)
    trained.failing = dict.fromkeys(range(1, 10), error)
    assert work(folder, options()) == MOST_DOUBTFUL + 1
    assert set(states(folder)) == {"failed"}


def test_a_single_cell_of_which_nobody_can_tell_is_left(opened, trained):
    folder = opened(2)
    trained.failing = {1: BROKEN[0]}
    with pytest.raises(UserError, match="so this worker stops, and cell 1 is left to others"):
        work_on(folder, 1, options())
    assert states(folder) == [None, None]


def test_a_damaged_run_is_a_failed_cell_and_can_be_trained_anew(opened, tree):
    # no other cell tells that the machine is sound
    folder = opened(1)
    folder.run(1).mkdir()
    (folder.run(1) / "config.json").write_text("{")
    before = tree(folder.run(1))
    assert work(folder, options()) == 1
    assert states(folder) == ["failed"] and tree(folder.run(1)) == before
    error = folder.result(1).error
    assert "config.json: cannot be read" in error
    assert error.endswith(f"; to train the cell anew, remove {folder.run(1)} and {folder.result_path(1)}")
    (folder.run(1) / "config.json").unlink()
    folder.run(1).rmdir()
    folder.result_path(1).unlink()
    assert work(folder, options()) == 1 and states(folder) == ["done"]


@pytest.mark.skipif(lacks("fcntl"), reason="no module that locks files")
def test_a_run_that_a_frozen_worker_still_holds_is_waited_for_within_one_claim(opened, monkeypatch):
    folder = opened(1)
    run = RunFolder(folder.run(1))
    run.create()
    lines = []
    monkeypatch.setattr(cell_run, "IN_USE_SECONDS", 0.001)
    with contextlib.ExitStack() as frozen:
        frozen.enter_context(run.locked())
        train, tries = cell_run.train, []

        def counted(*given, **more):
            tries.append(len(list(folder.claims.iterdir())))
            if len(tries) == 4:
                frozen.close()
            return train(*given, **more)

        monkeypatch.setattr(cell_run, "train", counted)
        assert work(folder, options(log=lines.append)) == 1
    assert tries == [1, 1, 1, 1] and states(folder) == ["done"]
    assert sum(f"cell 1: {run.path}: in use by process {os.getpid()} on " in line for line in lines) == 1


class PrunesAll:
    """A search that prunes every cell, and does something as it decides."""

    def __init__(self, act):
        self.act, self.told = act, []

    def prunes(self, number, record):
        self.act()
        return True

    def tell(self, number, state, valid):
        self.told.append((number, state))


def send():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def heeded():
    """SIGTERM raises SystemExit outside training, as in the command."""

    def stop(number, frame):
        raise SystemExit(143)

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_stopped_sweep_continues_with_the_command_that_started_it(opened):
    with pytest.raises(Interrupted, match=r"continue with: refrain sweep small\.toml$"):
        work(opened(2), options(progress=lambda: Stopping(1), command="refrain sweep small.toml"))


def test_a_signal_before_a_cell_is_pruned_wins(opened, heeded):
    folder, search = opened(2), PrunesAll(send)
    with pytest.raises(Interrupted) as found:
        work(folder, options(search=search))
    assert found.value.exit_status == 143
    check_resumable(folder, search)


def test_a_signal_while_a_cell_is_pruned_wins(opened, heeded, monkeypatch):
    folder, search = opened(2), PrunesAll(lambda: None)

    class Late(Pruned):
        def __init__(self):
            send()

    with monkeypatch.context() as patched, pytest.raises(SystemExit) as found:
        patched.setattr(cell_run, "Pruned", Late)
        work(folder, options(search=search))
    assert found.value.code == 143
    check_resumable(folder, search)


def check_resumable(folder, search):
    """Check that a signal has stopped the first cell after a checkpoint, and that the cell is free to be pruned."""
    assert states(folder) == [None, None] and search.told == []
    beat = json.loads((folder.claims / "0001.1" / "heartbeat.json").read_text())
    assert beat["ended"]
    position = RunFolder(folder.run(1)).newest()[0].document("training")["position"]
    assert (position["epoch"], position["window"]) == (1, 0)
    search.act = lambda: None
    assert work(folder, options(search=search)) == 2


def test_a_cell_that_is_pruned_has_a_checkpoint(opened):
    folder, search = opened(1), PrunesAll(lambda: None)
    assert work(folder, options(search=search)) == 1
    assert states(folder) == ["pruned"] and search.told == [(1, "pruned")]
    assert RunFolder(folder.run(1)).newest()[0].document("training")["position"]["epoch"] == 1
