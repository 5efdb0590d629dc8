"""A run folder that came from elsewhere: nothing outside it is read or changed, and nothing is waited for."""

import errno
import hashlib
import json
import os
import shutil
import struct
import time
from pathlib import Path

import pytest

from refrain import runs
from refrain.errors import CheckpointError
from refrain.recipes import recipe
from refrain.storage import regular_files
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.run_folder import RunFolder
from refrain.training import PlainProgress

PARTS = [
    "config.json", "recipe.toml", "manifest.json", "metrics.jsonl", "summary.json", "README.md", ".lock",
    "checkpoints", "samples", "tensorboard",
]  # fmt: skip
DOCUMENTS = ["manifest.json", "config.json", "vocabulary.json", "model.safetensors"]


def resume(run):
    runs.resume(run, progress=PlainProgress(quiet=True))


@pytest.fixture
def train(tiny_corpus, tiny_settings):
    """Train a tiny run, in the place of an earlier one."""
    return lambda run: runs.train(
        recipe("zaremba-small", *tiny_settings, data=str(tiny_corpus)),
        run,
        force=True,
        progress=PlainProgress(quiet=True),
    )


def best_of(run):
    return (run / "best").resolve()


def seal(folder, name):
    """Write size and hash of a file into the manifest, as someone would who means the change."""
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / name).read_bytes()
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def move_outside(path, outside):
    """Move a file or folder out of the run, leave a link to it, and return where it is now."""
    outside.mkdir(exist_ok=True)
    target = outside / path.name.lstrip(".")
    if path.exists():
        path.rename(target)
    elif path.name == "tensorboard":
        target.mkdir()
        (target / "thesis.txt").write_text("precious")
    path.symlink_to(target)
    return target


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_a_link_is_refused_and_its_target_left_alone(name, run_copy, tmp_path, tree, train):
    target = move_outside(run_copy / name, tmp_path / "outside")
    before = target.read_bytes() if target.is_file() else tree(target)
    for act in (runs.load, resume, train, lambda run: RunFolder(run).remove()):
        with pytest.raises(CheckpointError, match="is a link to another place") as failure:
            act(run_copy)
        assert str(run_copy / name) in str(failure.value) and "\n" not in str(failure.value)
    assert before == (target.read_bytes() if target.is_file() else tree(target))


@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock"])
def test_a_hard_link_is_refused_where_the_file_would_be_changed(name, run_copy, tmp_path, train):
    os.link(run_copy / name, tmp_path / "mine")
    before = (tmp_path / "mine").read_bytes()
    for act in (resume, train):
        with pytest.raises(CheckpointError, match="hard link"):
            act(run_copy)
    assert (tmp_path / "mine").read_bytes() == before
    # a copy with hard links can be read
    runs.load(run_copy)


def test_a_checkpoint_that_is_a_link_is_refused(run_copy, tmp_path, tree, train):
    newest = sorted((run_copy / "checkpoints").iterdir())[-1]
    target = move_outside(newest, tmp_path / "outside")
    before = tree(target)
    for act in (runs.load, resume, train, lambda run: runs.load(newest)):
        with pytest.raises(CheckpointError, match=f"{newest.name}: is a link to another place"):
            act(run_copy)
    assert tree(target) == before


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_file_of_a_checkpoint_that_is_a_link_is_refused(name, run_copy, tmp_path):
    move_outside(best_of(run_copy) / name, tmp_path / "outside")
    with pytest.raises(CheckpointError, match=r"is a link to another place"):
        runs.load(best_of(run_copy))


@pytest.mark.parametrize("target", ["{outside}", "../outside/step-1", "checkpoints/../../outside", "checkpoints", "."])
@pytest.mark.parametrize("link", [True, False])
def test_best_leads_to_a_checkpoint_of_its_run_only(target, link, run_copy, tmp_path):
    shutil.copytree(best_of(run_copy), tmp_path / "outside" / "step-1")
    (run_copy / "best").unlink()
    words = target.format(outside=tmp_path / "outside" / "step-1")
    if link:
        (run_copy / "best").symlink_to(words)
    else:
        (run_copy / "best").write_text(words)
    for act in (runs.load, resume, lambda run: runs.load(run / "best")):
        with pytest.raises(CheckpointError, match="must lead to a checkpoint of this run"):
            act(run_copy)


def test_the_run_folder_itself_may_be_a_link(run_copy, tmp_path):
    (tmp_path / "link").symlink_to(run_copy)
    assert runs.load(tmp_path / "link").folder == runs.load(run_copy).folder
    resume(tmp_path / "link")


def test_best_is_a_text_file_where_links_do_not_work(tmp_path, train, monkeypatch):
    def refused(self, target, target_is_directory=False):
        raise OSError(errno.EPERM, "Operation not permitted", str(self))

    monkeypatch.setattr(Path, "symlink_to", refused)
    run = tmp_path / "run"
    train(run)
    words = (run / "best").read_text()
    assert words.startswith("checkpoints/step-") and not (run / "best").is_symlink()
    assert runs.load(run).folder == runs.load(run / "best").folder == (run / words.strip()).resolve()
    resume(run)
    # a file system that has links makes one again
    monkeypatch.undo()
    RunFolder(run).point_best_at(int(words.strip().rpartition("-")[2]))
    assert (run / "best").is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
@pytest.mark.parametrize("name", ["metrics.jsonl", ".lock", "config.json", "manifest.json", "best"])
def test_a_pipe_in_a_run_folder_is_refused(name, run_copy):
    (run_copy / name).unlink()
    os.mkfifo(run_copy / name)
    for act in (runs.load, resume):
        with pytest.raises(CheckpointError, match=f"{name}: (cannot be read .)?is a pipe"):
            act(run_copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_pipe_in_a_checkpoint_is_refused(name, run_copy):
    best = best_of(run_copy)
    (best / name).unlink()
    os.mkfifo(best / name)
    with pytest.raises(CheckpointError, match=r"is a pipe, not a file"):
        runs.load(best)


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices in folders")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_device_in_a_checkpoint_is_refused(name, run_copy):
    best = best_of(run_copy)
    (best / name).unlink()
    (best / name).symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match=r"is a link to another place"):
        runs.load(best)


def edited(run, **model):
    """Edit the settings of the model in all copies of config.json, with their hashes."""
    for folder in (run, *(run / "checkpoints").iterdir()):
        document = json.loads((folder / "config.json").read_text())
        document["experiment"]["model"] |= model
        (folder / "config.json").write_text(json.dumps(document))
        if folder != run:
            seal(folder, "config.json")


@pytest.mark.parametrize(
    "model",
    [
        {"hidden_sizes": [8] * 100_000},
        {"hidden_sizes": [1_000_000]},
        {"embedding_size": 1_000_000},
        {"head": {"kind": "mixture", "components": 2**31 - 1}},
        {"embedding": {"kind": "sparse", "blocks": 2**31 - 1, "density": 0.5}},
    ],
)
@pytest.mark.parametrize("act", [runs.load, resume])
def test_settings_that_ask_for_more_than_the_weights_are_refused_at_once(model, act, run_copy):
    edited(run_copy, **model)
    started = time.process_time()
    with pytest.raises(CheckpointError, match=r"step-\d+: weights of another"):
        act(run_copy)
    # a second, on a machine that may be busy
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 2**63),
        struct.pack("<Q", 100),
        struct.pack("<Q", 2**40),
        b"",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{}" + b"more",
        struct.pack("<Q", 10) + b'{"a": {}} ',
    ],
)
def test_the_header_of_the_weights_is_checked(header, run_copy):
    best = best_of(run_copy)
    (best / "model.safetensors").write_bytes(header)
    seal(best, "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged \(its header"):
        Checkpoint(best).tensors("model")


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [1000, 1000], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [10**300] * 10, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1] * 100_000, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1, -1], "data_offsets": [0, 4]},
        {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    ],
)
def test_shapes_that_do_not_fit_the_file_are_damage(entry, run_copy):
    best = best_of(run_copy)
    header = json.dumps({"a": entry}).encode()
    (best / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    seal(best, "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged \("):
        Checkpoint(best).tensors("model")


@pytest.mark.parametrize("shape", [[], [1], [0, 1]])
def test_an_embedding_that_is_no_matrix_of_the_words_is_refused(shape, run_copy):
    best = best_of(run_copy)
    size = 0 if 0 in shape else 4
    header = json.dumps({"embedding.weight": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    (best / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(size))
    seal(best, "model.safetensors")
    with pytest.raises(CheckpointError, match=r"weights (are for 1;|of another model)"):
        runs.load(best)


def test_a_hole_is_not_hashed(run_copy):
    best = best_of(run_copy)
    os.truncate(best / "model.safetensors", 2**40)
    manifest = json.loads((best / "manifest.json").read_text())
    manifest["files"]["model.safetensors"]["bytes"] = 2**40
    (best / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"damaged \(its header describes [\d,]+ bytes of tensors"):
        Checkpoint(best)


def test_a_size_is_compared_before_a_file_is_read(run_copy):
    best = best_of(run_copy)
    # a file with a hole, which takes no space on most disks, and an hour to hash
    os.truncate(best / "model.safetensors", 2**40)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged \(it has 1,099,511,627,776 bytes"):
        Checkpoint(best)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[" * 100_000, "nested more than 100 levels"),
        ('{"a":' * 900 + "1" + "}" * 900, "nested more than 100 levels"),
        ("9" * 1_000_000, "number of 1,000,000 digits"),
        ("{" + ",".join(f'"k{i}": 1' for i in range(1_000_000)) + "}", "larger than 1,048,576 bytes"),
    ],
    ids=["brackets", "objects", "digits", "keys"],
)
def test_monstrous_json_ends_in_one_short_line(text, problem, run_copy):
    (run_copy / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=problem) as failure:
        resume(run_copy)
    assert len(str(failure.value)) < 400 and "\n" not in str(failure.value)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EACCES])
def test_what_the_machine_cannot_read_now_is_no_damage(number, run_copy, monkeypatch, tree):
    """An older checkpoint would lose what was trained, and the newest one would be renamed."""
    newest = RunFolder(run_copy).newest()[0].folder
    before = tree(run_copy / "checkpoints")
    real = os.open

    def failing(path, *more, **others):
        if str(newest / "vocabulary.json") == str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *more, **others)

    monkeypatch.setattr(regular_files.os, "open", failing)
    for act in (resume, runs.load):
        with pytest.raises(
            CheckpointError, match=f"cannot be read .{os.strerror(number)}.; .* then try again"
        ) as found:
            act(run_copy)
        assert "JSON" not in str(found.value)
    monkeypatch.undo()
    assert tree(run_copy / "checkpoints") == before
