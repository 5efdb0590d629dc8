"""Runs that are missing, damaged, in use or of another making: status 4, and nothing in them is changed or executed."""

import hashlib
import json
import pathlib
import pickle
import shlex
import shutil
import subprocess
import sys
import warnings

import pytest
from blocked_modules import lacks
from processes import Command

USERS = [["evaluate"], ["generate"], ["score"], ["train", "--resume", "--out"]]


@pytest.fixture
def each_user(mistake, write):
    """Every command that reads a run fails with status 4 and the same cause."""
    text = write("text.txt", "ant\n")

    def check(run, *parts):
        for words in USERS:
            mistake(4, [*words, run, *([text] if words == ["score"] else [])], *parts)

    return check


def test_a_run_that_is_not_there(mistake, tmp_path):
    for words in USERS[:3]:
        line = mistake(4, [*words, tmp_path / "gone"], "gone: no such run folder")
        assert line.endswith(f"; train one with: refrain train RECIPE --out {tmp_path}/gone")
    mistake(4, [*USERS[3], tmp_path / "gone"], "gone: no such run folder; leave out --resume")
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_nearly_that_name_is_named(mistake, run_copy):
    place = run_copy.parent / "rnu"
    mistake(4, ["evaluate", place], f"{place}: no such run folder; did you mean {run_copy}? train one with: refrain")


def test_a_copy_of_a_link_to_a_checkpoint(refrain, mistake, tiny_run, tmp_path):
    (tmp_path / "copy").symlink_to((tiny_run / "best").readlink())
    mistake(4, ["evaluate", tmp_path / "copy"], "copy: is a link to checkpoints/step-", "not exist", "with cp -rL")
    # the command that the card of a run has for that
    (line,) = [line for line in (tiny_run / "README.md").read_text().splitlines() if "cp -rL" in line]
    words = shlex.split(line.split("`")[1])
    shutil.copytree(words[2], tmp_path / "whole")
    assert words[:2] == ["cp", "-rL"] and refrain("evaluate", tmp_path / "whole", "--split", "valid").status == 0


def test_a_folder_that_is_no_run(mistake, each_user, write):
    folder = write("photos/cat.jpg", b"\xff\xd8").parent
    each_user(folder, "photos: is not a run folder")
    mistake(4, ["evaluate", folder], "give a folder that refrain train has made")
    mistake(4, ["evaluate", folder / "cat.jpg"], "cat.jpg: is a file, but a run folder is needed")
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == ["cat.jpg"]


def test_a_run_without_a_checkpoint(each_user, run_copy):
    shutil.rmtree(run_copy / "checkpoints")
    (run_copy / "checkpoints").mkdir()
    each_user(
        run_copy, "holds no checkpoint", f"start the run again with: refrain train RECIPE --out {run_copy} --force"
    )


def resealed(folder, name, content):
    """Replace a file of a checkpoint and its hash: whole to the eye, and yet of another making."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("model.safetensors", None, ["model.safetensors", "No such file"]),
        ("model.safetensors", b"", ["model.safetensors", "damaged"]),
        ("vocabulary.json", b"[]", ["vocabulary.json", "damaged"]),
        ("manifest.json", b"{", ["manifest.json", "damaged"]),
        ("manifest.json", b"[1]", ["manifest.json", "damaged"]),
        (
            "manifest.json",
            b'{"format": 99, "files": {}}',
            ["format 99, but this version reads formats 1 and 2; update refrain-lm"],
        ),
    ],
)
def test_damaged_checkpoints(each_user, run_copy, name, content, parts, checkpoints):
    for folder in checkpoints(run_copy):
        if content is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(content)
    each_user(run_copy, *parts)


def test_a_damaged_best_checkpoint_is_passed_over_with_a_word(refrain, run_copy, checkpoints):
    best = (run_copy / "best").resolve()
    content = bytearray((best / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (best / "model.safetensors").write_bytes(content)
    (other,) = [folder for folder in checkpoints(run_copy) if folder != best]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        outcome = refrain("evaluate", run_copy, "--json")
    assert outcome.json["tokens"] > 0
    (line,) = outcome.complaints
    assert f"{best}/model.safetensors: damaged" in line
    assert f"using {other}" in line


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"hidden_sizes": [9]}, ["weights of another shape"]),
        ({"hidden_sizes": [8, 8]}, ["weights of another model: missing"]),
        ({"cell": "quantum"}, ["config.json was written by another version (model.cell"]),
        ({"new_setting": 1}, ["config.json was written by another version (model.new_setting"]),
    ],
)
def test_a_checkpoint_of_another_shape(mistake, run_copy, change, parts, checkpoints):
    for folder in checkpoints(run_copy):
        document = json.loads((folder / "config.json").read_text())
        document["experiment"]["model"] |= change
        resealed(folder, "config.json", json.dumps(document).encode())
    for words in (["evaluate", run_copy], ["generate", run_copy]):
        mistake(4, words, *parts)


def test_a_checkpoint_of_a_newer_format(each_user, run_copy, checkpoints):
    for place in [run_copy, *checkpoints(run_copy)]:
        document = json.loads((place / "config.json").read_text()) | {"format": 3}
        if place == run_copy:
            (place / "config.json").write_text(json.dumps(document))
        else:
            resealed(place, "config.json", json.dumps(document).encode())
    each_user(run_copy, "has format 3, but this version reads format 2; update refrain-lm")


def test_a_run_with_other_settings_is_not_resumed(mistake, run_copy, tiny_settings, tiny_corpus, tree):
    before = tree(run_copy)
    words = ["train", "zaremba-small", *tiny_settings, "training.seed=5", "--data", tiny_corpus]
    mistake(4, [*words, "--resume", "--out", run_copy], "training.seed: 1 in the run, 5 now")
    words += ["training.seed=1", "training.optimizer=adam", "sparsity.l1.strength=1"]
    said = ["training.optimizer: sgd in the run, adam now", "sparsity.l1.strength: none in the run, 1.0 now"]
    mistake(4, [*words, "--resume", "--out", run_copy], *said)
    assert tree(run_copy) == before


def test_a_folder_that_is_taken(mistake, train, tiny_corpus, write, tmp_path, tree):
    precious = write("run/precious.txt", "keep")
    said = mistake(4, train(tiny_corpus), "run: exists already and holds other files than those of a run")
    assert "--force" not in said and "--resume" not in said
    # before the text is read, however long that takes
    mistake(4, train(write("no-text.txt", b"\xff\xfe\x00")), "run: exists already")
    assert tree(tmp_path / "run") == {"precious.txt": hashlib.sha256(b"keep").hexdigest()}
    shutil.rmtree(tmp_path / "run")
    write("run", "a file")
    for more in ([], ["--force"]):
        mistake(4, train(tiny_corpus, *more), "run: exists already")
    assert precious.parent.read_text() == "a file"


def test_force_replaces_the_run_alone(refrain, mistake, train, tiny_corpus, run_copy):
    remedies = "run: exists already; choose another --out, continue it with --resume, or replace it with --force"
    mistake(4, train(tiny_corpus), remedies)
    (run_copy / "notes.txt").write_text("mine")
    assert refrain(*train(tiny_corpus, "training.seed=9", "--force", "--quiet")).status == 0
    assert json.loads((run_copy / "manifest.json").read_text())["seed"] == 9
    assert (run_copy / "notes.txt").read_text() == "mine"


HOLDER = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
os.truncate(handle, 0)
os.write(handle, b"process 12345 on elsewhere\\n")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(lacks("fcntl"), reason="files are locked in another way here")
def test_a_run_in_use_by_another_process(mistake, train, tiny_corpus, run_copy, tree):
    before = tree(run_copy)
    command = [sys.executable, "-c", HOLDER, str(run_copy / ".lock")]
    with Command(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        for words in (["train", "--resume", "--out", run_copy], train(tiny_corpus, "--force")):
            mistake(4, words, f"{run_copy}: in use by process 12345 on elsewhere; wait for it or choose another --out")
        holder.stdin.close()
    assert tree(run_copy) == before


def test_a_lock_left_by_a_dead_process_is_no_hindrance(refrain, run_copy):
    (run_copy / ".lock").write_text("process 12345 on elsewhere\n")
    assert refrain("train", "--resume", "--out", run_copy, "--quiet").status == 0


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (pathlib.Path.write_text, (self.path, "executed"))


PLANTED = ["model.safetensors", "training.safetensors", "vocabulary.json", "config.json", "training.json"]
SURPLUS = ["model.pt", "model.pkl", "pytorch_model.bin", "training.pth", "best.npy"]


def test_the_canary_would_sing(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "canary")))
    assert (tmp_path / "canary").read_text() == "executed"


# a file that is no JSON behind a hash that is right
CASES = [(name, sealed) for name in (*PLANTED, *SURPLUS) for sealed in (False, True)]


@pytest.mark.parametrize(("name", "sealed"), CASES)
def test_pickled_content_is_never_executed(refrain, run_copy, write, tmp_path, name, sealed, checkpoints):
    content = pickle.dumps(Canary(tmp_path / "canary"), protocol=0)
    for folder in [run_copy, *checkpoints(run_copy)]:
        if sealed and folder != run_copy:
            resealed(folder, name, content)
        else:
            (folder / name).write_bytes(content)
    text = write("text.txt", "ant\n")
    for words in USERS:
        outcome = refrain(*words, run_copy, *([text] if words == ["score"] else []))
        # the state of the training matters to those alone who continue it, but a broken hash to all
        unread = name.startswith("training.") and sealed and words[0] != "train"
        assert outcome.status == (0 if unread or name in SURPLUS else 4), words
        assert bool(outcome.complaints) == (outcome.status == 4)
    assert not (tmp_path / "canary").exists()
