"""Damage to any file of a run is found and named, or harmless; an earlier checkpoint takes the place of a damaged one.

Bits are flipped, files cut, blocks zeroed, files removed, renamed and exchanged. A sealed mutant also has the hash of
the damaged file, as if someone had meant it: it is refused, or used for what it is.
"""

import hashlib
import json
import os
import random
import shutil
import warnings
from collections import Counter
from typing import NamedTuple

import pytest
from bounds import memory_limit, time_limit
from short_runs import Stopping, last_checkpoint, metrics_of
from stopping import train_and_stop
from tagged import write_tsv

from refrain import runs
from refrain.errors import UserError
from refrain.recipes import recipe
from refrain.training import PlainProgress

# of ten mutants: 400 bit flips, 300 truncations, 200 zeroed blocks and 100 moved files in a thousand
DAMAGE = ["flip", "cut", "flip", "zero", "cut", "flip", "move", "cut", "flip", "zero"]
BLOCK = 4096
SECONDS, MEGABYTES = 20, 1000
# what a run writes for its readers, and does not read
RECORDS = ("README.md", "report.html", "recipe.toml", "summary.json", ".lock", "samples", "metrics.jsonl")
SMALL = {
    "zaremba-small": [
        "model.embedding_size=24",
        "model.hidden_sizes=[24]",
        "model.dropout=0.3",
        "training.optimizer=adam",
        "training.learning_rate=0.01",
        "training.epochs=4",
        "training.batch_size=4",
        "training.window_steps=5",
        "training.validation=exact",
        "training.sample_tokens=5",
        "training.log_windows=7",
    ],
    "pos-default": [
        "model.embedding_size=8",
        "model.hidden_sizes=[6]",
        "training.epochs=4",
        "training.stop_window=none",
        "training.learning_rate=0.05",
        "training.batch_size=8",
    ],
}


class Stopped(NamedTuple):
    """A run that was stopped on the way, what it would have become, and the weights of its checkpoints."""

    folder: object
    unbroken: object
    weights: dict


def trace(folder):
    """Every bit of the last checkpoint and every line of metrics, without the clock."""
    training, tensors = last_checkpoint(folder)
    return training, {name: (str(each.dtype), digest(each)) for name, each in tensors.items()}, metrics_of(folder)


def digest(tensor):
    return hashlib.sha256(tensor.detach().contiguous().numpy().tobytes()).hexdigest()


def weights(model):
    return {name: digest(each) for name, each in model.state_dict().items()}


@pytest.fixture(scope="module", params=SMALL)
def stopped(request, tmp_path_factory, tiny_corpus):
    base = tmp_path_factory.mktemp("damage")
    tagger = request.param == "pos-default"
    data = write_tsv(base / "tagged") if tagger else tiny_corpus
    experiment = recipe(request.param, *SMALL[request.param], data=str(data))
    runs.train(experiment, base / "unbroken", progress=PlainProgress(quiet=True))
    # within the third epoch
    folder = train_and_stop(experiment, base / "run", 20 if tagger else 70)
    loaded = {path.name: weights(runs.load(path).model) for path in (folder / "checkpoints").iterdir()}
    return Stopped(folder, trace(base / "unbroken"), loaded)


def damage(draw, kind, path, run):
    """Damage a file; what was done, or None where its content is the same as before."""
    before = path.read_bytes()
    content = bytearray(before)
    match kind:
        case "flip":
            at = draw.randrange(max(len(content), 1))
            content[at : at + 1] = bytes([content[at] ^ 1 << draw.randrange(8)] if content else [0])
        case "cut":
            del content[draw.randrange(max(len(content), 1)) :]
        case "zero":
            at = draw.randrange(0, max(len(content), 1), BLOCK)
            content[at : at + BLOCK] = bytes(len(content[at : at + BLOCK]))
        case "move":
            return move(draw, path, run)
    path.write_bytes(content)
    return None if content == before else kind


def move(draw, path, run):
    """Remove or rename a file, exchange it with another one, or put a folder or nothing in its place."""
    others = [each for each in path.parent.parent.rglob(path.name) if each != path and each.is_file()]
    others += [each for each in path.parent.iterdir() if each != path and each.is_file()]
    match draw.randrange(5):
        case 0:
            path.unlink()
        case 1:
            path.rename(path.with_name(f"{path.name}.old"))
        case 2:
            path.unlink()
            path.mkdir()
        case 3:
            path.write_bytes(b"")
        case 4 if others:
            other = draw.choice(others)
            one, two = path.read_bytes(), other.read_bytes()
            path.write_bytes(two)
            other.write_bytes(one)
            return None if one == two else f"exchanged with {other.relative_to(run)}"
    return "moved"


def seal(path):
    """Give the manifest of a checkpoint the hash of a damaged file."""
    manifest = path.parent / "manifest.json"
    if path.is_file() and path != manifest and path.parent.name.startswith("step-"):
        content = path.read_bytes()
        document = json.loads(manifest.read_text())
        document["files"][path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        manifest.write_text(json.dumps(document))


def attempt(call):
    """What a call returns, and what it reports: an error of ours, or None."""
    with warnings.catch_warnings(record=True) as said, time_limit(SECONDS):
        warnings.simplefilter("always")
        try:
            return call(), [str(each.message) for each in said]
        except UserError as error:
            return None, [str(error)]


def is_named(names, said):
    """Whether a message has the name of one of the files and the folder that it is in."""
    return any(all(part in said for part in name.rsplit("/", 1)) for name in names)


def check_load(stopped, run, name, sealed, done):
    """The model is that of a whole checkpoint, and a warning names the file if it is not the best one."""
    names = [name, *done.split("exchanged with ")[1:]]
    best = (stopped.folder / "best").resolve().name
    model, said = attempt(lambda: runs.load(run))
    if sealed:
        return "refused" if model is None else "used"
    # only one of the two checkpoints is damaged, unless files were exchanged
    assert model is not None or "exchanged" in done or "checkpoints" not in name, said
    if model is None or weights(model.model) != stopped.weights[best]:
        assert is_named(names, " ".join(said)), said
        assert model is None or weights(model.model) in stopped.weights.values()
        return "another checkpoint"
    return "harmless"


def check_resume(stopped, run, name, sealed, done):
    """The run ends with the bits of the unbroken one, or is refused with the name of the file."""
    names = [name, *done.split("exchanged with ")[1:]]
    newest = sorted(stopped.weights)[-1]
    progress = Stopping()
    summary, said = attempt(lambda: runs.resume(run, progress=progress))
    said = " ".join([*said, *progress.lines])
    if "that was the best checkpoint" in said:
        assert is_named(names, said), said
        return "best one lost, and reported"
    if summary is None:
        # what a whole checkpoint is enough for is not refused
        assert sealed or "checkpoints" not in name or "exchanged" in done, said
        assert sealed or any(os.path.basename(each) in said for each in names), said
        return "refused"
    if sealed:
        return "used"
    got = trace(run) if name != "metrics.jsonl" else (*trace_without_figures(run), stopped.unbroken[2])
    assert got == stopped.unbroken
    if any(os.path.basename(each) in said for each in names):
        return "earlier checkpoint"
    # the manifest of a checkpoint has parts that nothing depends on
    assert newest not in name or name.endswith("manifest.json"), said
    return "harmless"


def trace_without_figures(run):
    (run / "metrics.jsonl").write_text("")
    return trace(run)[:2]


def test_damage_is_found_or_harmless(stopped, tmp_path, trials, report, unflushed):
    files = sorted(path.relative_to(stopped.folder).as_posix() for path in stopped.folder.rglob("*") if path.is_file())
    files = [name for name in files if not name.startswith("best/")]
    outcomes = Counter()
    run = tmp_path / "run"
    count = trials(25, 500)
    for trial in range(count):
        draw = random.Random(trial)
        kind, name = DAMAGE[trial % len(DAMAGE)], files[trial * 7 % len(files)]
        sealed = draw.random() < 0.4 and name.startswith("checkpoints") and not name.endswith("manifest.json")
        for check in (check_load, check_resume):
            shutil.rmtree(run, ignore_errors=True)
            shutil.copytree(stopped.folder, run, symlinks=True)
            draw = random.Random(trial)
            done = damage(draw, kind, run / name, run)
            if done is None:
                outcomes["same content"] += 1
                break
            if sealed:
                seal(run / name)
            with memory_limit(MEGABYTES):
                try:
                    outcomes[check(stopped, run, name, sealed, done)] += 1
                except BaseException as error:
                    error.add_note(f"trial {trial}: {done} of {name}{', sealed' if sealed else ''}; {check.__name__}")
                    raise
    report("damage", f"{count} mutants: " + ", ".join(f"{number} {what}" for what, number in outcomes.items()))
