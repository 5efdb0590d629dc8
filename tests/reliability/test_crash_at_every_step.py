"""Promise 2: whatever operation on files fails in a save, or is the last one, no checkpoint before it is lost.

Each operation fails once, in a run of a few windows that saves after each; then the run is resumed.
"""

import random
import shutil

import pytest
from faulty_disk import DEATHS, DIED, ERRORS, WRITES, Fault, read_trace, run_command
from short_runs import assert_same_bits, trace
from tiny_runs import EVERY_WINDOW, assert_loadable, leftovers, resume_run

NAME = "word-gru"
# four windows in two epochs
FEW = ("training.epochs=2", "training.window_steps=30", "training.validation=exact", EVERY_WINDOW)
PHASES = ("start", "first", "middle", "pruning", "replacing", "end")
KINDS = (*DEATHS, *ERRORS, *WRITES)


@pytest.fixture(scope="module")
def traced(forks, prepared, tmp_path_factory):
    """A run on a disk that never fails: its folder and its operations."""
    folder = tmp_path_factory.mktemp("traced")
    out, file = folder / "run", folder / "trace.json"
    process, status = forks.status(run_command, prepared.words(NAME, out, *FEW), out, None, file)
    assert status == 0, process.text()
    return out, read_trace(file)


def saves(operations):
    """The operations of each save."""
    count = max(int(one.phase.split("-")[1]) for one in operations)
    return {f"save-{n}": [one for one in operations if one.phase == f"save-{n}"] for n in range(1, count + 1)}


def phases(operations):
    """For each of `PHASES`, that of the disk."""
    found = saves(operations)
    pruning = [phase for phase, done in found.items() if any(one.name == "rmdir" for one in done)]
    replacing = [phase for phase, done in found.items() if any(".tmp-old-" in one.target for one in done)]
    last = operations[-1].phase
    assert last == f"after-{len(found)}" and pruning and replacing
    chosen = ("after-0", "save-1", "save-2", pruning[0], replacing[-1], last)
    return dict(zip(PHASES, chosen, strict=True))


def faults(operations, phase):
    """Every failure of every operation of a phase."""
    mine = [one for one in operations if one.phase == phase]
    return [
        Fault(phase, index, kind)
        for index, one in enumerate(mine)
        for kind in KINDS
        if kind not in WRITES or one.name == "write"
    ]


@pytest.mark.parametrize("name", PHASES)
def test_a_run_survives_a_failure_of_every_operation(name, trials, report, prepared, forks, traced, tmp_path):
    whole, operations = traced
    wanted, every = trace(whole), faults(operations, phases(operations)[name])
    count = trials(2, len(every))
    for fault in random.Random(name).sample(every, min(count, len(every))):
        out = tmp_path / "run"
        words = prepared.words(NAME, out, *FEW)
        process, status = forks.status(run_command, words, out, fault)
        check_failure(fault, status, process, out)
        assert_loadable(out)
        resume_run(forks, words, out)
        assert_same_bits(trace(out), wanted)
        assert leftovers(out) == [], fault
        assert not list(out.rglob("damaged-*")), fault
        shutil.rmtree(out)
    report("crash at every step", f"{name}: {min(count, len(every))} failures of {every[-1].index + 1} operations")


def check_failure(fault, status, process, out):
    if fault.kind in (*DEATHS, "torn"):
        assert status == DIED, (fault, process.text())
    elif fault.kind == "short":
        assert status == 0, (fault, process.text())
    elif status != 0:
        # an operation that only clears up may fail without harm
        assert status == 4, (fault, process.text())
        assert str(out) in process.complaint(), fault
        assert leftovers(out) == [], fault


def test_files_and_folders_are_flushed_before_they_are_renamed(traced):
    _, operations = traced
    for done in saves(operations).values():
        (renamed,) = [one for one in done if one.name == "rename" and "/.tmp-step" in one.path]
        at = done.index(renamed)
        files = {one.path for one in done[:at] if one.name == "write" and one.path.startswith(f"{renamed.path}/")}
        assert len(files) == 6
        for path in (*files, renamed.path):
            last = max(
                index for index, one in enumerate(done[:at]) if one.path == path and one.name in ("write", "mkdir")
            )
            assert ("fsync", path) in [(one.name, one.path) for one in done[last:at]], f"{path} is not flushed"
        folder = renamed.path.rsplit("/", 1)[0]
        assert ("fsync", folder) in [(one.name, one.path) for one in done[at:]]
        # what is pruned goes after the new checkpoint has come
        assert not [one for one in done[:at] if one.name == "unlink" and "/checkpoints/step" in one.path]
