"""Checkpoints are whole or not there, and damage is found."""

import errno
import hashlib
import json
import os
import random
import shutil

import pytest
import torch
from processes import status_of

from refrain.errors import CheckpointError
from refrain.storage import checkpoint
from refrain.storage.checkpoint import Checkpoint, atomic_folder, newest, save, write_atomically

TENSORS = {"model": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}, "training": {"c": torch.ones(4)}}
DOCUMENTS = {"config": {"x": [1, 2.5, None]}, "training": {"step": 3}}


def test_what_is_saved_is_read(tmp_path):
    save(tmp_path / "step-1", TENSORS, DOCUMENTS)
    read = Checkpoint(tmp_path / "step-1")
    for stem, group in TENSORS.items():
        assert all(torch.equal(tensor, group[name]) for name, tensor in read.tensors(stem).items())
    assert {stem: read.document(stem) for stem in DOCUMENTS} == DOCUMENTS
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    with pytest.raises(CheckpointError, match=r"holds no optimizer\.json; it holds config\.json"):
        read.document("optimizer")


def test_saving_replaces(tmp_path):
    save(tmp_path / "step-1", TENSORS, DOCUMENTS)
    save(tmp_path / "step-1", TENSORS, {"config": "new"})
    assert Checkpoint(tmp_path / "step-1").document("config") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def test_every_kind_of_damage_is_found_and_names_the_file(tmp_path):
    """Flipped bits, cut and zeroed ends, files gone, swapped and renamed, spread over every file."""
    whole = tmp_path / "whole"
    save(whole, TENSORS, DOCUMENTS)
    files = sorted(path.name for path in whole.iterdir())
    draw = random.Random(1)
    for number in range(300):
        broken = tmp_path / f"broken-{number}"
        shutil.copytree(whole, broken)
        victim = broken / draw.choice(files)
        content = bytearray(victim.read_bytes())
        match number % 5:
            case 0 | 1:
                content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
                victim.write_bytes(content)
            case 2:
                victim.write_bytes(content[: draw.randrange(len(content))])
            case 3:
                victim.unlink()
            case 4:
                other = broken / draw.choice([name for name in files if name != victim.name])
                other.write_bytes(content)
                victim = other
        try:
            read = Checkpoint(broken)
        except CheckpointError as error:
            assert victim.name in str(error) or "manifest.json" in str(error) or str(broken) in str(error)
        else:
            # a bit of the manifest that says nothing, such as a blank
            assert victim.name == "manifest.json"
            assert read.document("config") == DOCUMENTS["config"]
        shutil.rmtree(broken)


def test_what_changes_after_it_was_verified_is_not_used(tmp_path):
    save(tmp_path / "step-1", TENSORS, DOCUMENTS)
    read = Checkpoint(tmp_path / "step-1")
    for name in ("model.safetensors", "config.json"):
        content = bytearray((tmp_path / "step-1" / name).read_bytes())
        content[-1] ^= 1
        (tmp_path / "step-1" / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        read.tensors("model")
    with pytest.raises(CheckpointError, match=r"config\.json: damaged"):
        read.document("config")
    (tmp_path / "step-1" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: No such file"):
        read.document("config")


def test_a_newer_format_says_so(tmp_path):
    save(tmp_path / "step-1", TENSORS, DOCUMENTS)
    manifest = json.loads((tmp_path / "step-1" / "manifest.json").read_text())
    (tmp_path / "step-1" / "manifest.json").write_text(json.dumps({**manifest, "format": 3}))
    with pytest.raises(CheckpointError, match="format 3, but this version reads formats 1 and 2; update"):
        Checkpoint(tmp_path / "step-1")


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "link.json"])
def test_a_manifest_cannot_point_outside(tmp_path, name):
    folder = tmp_path / "step-1"
    save(folder, TENSORS, DOCUMENTS)
    (tmp_path / "outside.json").write_text("{}")
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint(folder)


def test_a_file_behind_a_right_hash_can_still_be_no_json(tmp_path):
    folder = tmp_path / "step-1"
    save(folder, TENSORS, DOCUMENTS)
    (folder / "config.json").write_text("not json")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["config.json"] = {"bytes": 8, "sha256": hashlib.sha256(b"not json").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"config\.json: is not JSON"):
        Checkpoint(folder).document("config")


@pytest.mark.parametrize("files", ['{"a": 3}', "[[1, {}]]", '{"a": {}}', "7"])
def test_a_manifest_of_another_shape_is_damage(tmp_path, files):
    (tmp_path / "a").write_text("")
    (tmp_path / "manifest.json").write_text(f'{{"format": 1, "files": {files}}}')
    with pytest.raises(CheckpointError, match="damaged"):
        Checkpoint(tmp_path)


def test_newest_passes_over_damage_and_leftovers(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path / f"step-{step}", TENSORS, {"n": step})
    (tmp_path / "step-3" / "n.json").write_text("[]")
    (tmp_path / "step-4").mkdir()
    (tmp_path / ".tmp-step-5-1").mkdir()
    found, problems = newest(tmp_path)
    assert found.document("n") == 2
    assert len(problems) == 2 and "step-4" in problems[0] and "step-3" in problems[1]
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        newest(tmp_path / "nowhere")


class Dying:
    """Ends the process, without a word, before its operation number `after` on files."""

    def __init__(self, after):
        self.left = after

    def __call__(self, act):
        def wrapped(*args, **kwargs):
            if self.left == 0:
                os._exit(9)
            self.left -= 1
            return act(*args, **kwargs)

        return wrapped


def save_and_die(folder, after):
    from pathlib import Path

    dying = Dying(after)
    operations = {Path: ("mkdir", "write_bytes", "write_text", "rename"), os: ("fsync",), shutil: ("rmtree",)}
    for owner, names in operations.items():
        for name in names:
            setattr(owner, name, dying(getattr(owner, name)))
    save(folder / "step-2", TENSORS, {"n": 2})
    save(folder / "step-2", TENSORS, {"n": 3})
    os._exit(0)


def test_a_crash_before_any_operation_leaves_a_whole_checkpoint(tmp_path):
    save(tmp_path / "first", TENSORS, {"n": 1})
    seen = set()
    for after in range(100):
        folder = tmp_path / str(after)
        folder.mkdir()
        shutil.copytree(tmp_path / "first", folder / "step-1")
        status = status_of(save_and_die, folder, after)
        found, problems = newest(folder)
        assert not problems
        seen.add(found.document("n"))
        if status == 0:
            break
        assert status == 9
    # dying early leaves the first, later the second, at last the third
    assert seen == {1, 2, 3}


def test_a_full_disk_leaves_nothing_behind_and_the_old_as_it_was(tmp_path, monkeypatch):
    save(tmp_path / "step-1", TENSORS, DOCUMENTS)
    real = checkpoint.Path.write_bytes

    def full(self, content):
        if self.name == "training.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return real(self, content)

    monkeypatch.setattr(checkpoint.Path, "write_bytes", full)
    for name in ("step-1", "step-2"):
        with pytest.raises(OSError, match="No space left"):
            save(tmp_path / name, TENSORS, DOCUMENTS)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert Checkpoint(tmp_path / "step-1").document("config") == DOCUMENTS["config"]


def test_flush_comes_before_rename(tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(checkpoint, "flush", lambda path: order.append(("flush", path.name)))
    real = checkpoint.Path.rename
    monkeypatch.setattr(
        checkpoint.Path, "rename", lambda self, to: (order.append(("rename", to.name)), real(self, to))[1]
    )
    with atomic_folder(tmp_path / "x") as fresh:
        (fresh / "file").write_text("content")
    names = [f"{act} {name}" for act, name in order]
    assert names[0] == "flush file" and names[1].startswith("flush .tmp-x")
    assert names[2:] == ["rename x", f"flush {tmp_path.name}"]


def test_a_text_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a.json", "old")

    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint, "flush", broken)
    with pytest.raises(OSError):
        write_atomically(tmp_path / "a.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "old"


def test_what_is_to_be_replaced_stays_if_the_new_folder_cannot_get_its_name(tmp_path, monkeypatch):
    save(tmp_path / "step-1", TENSORS, DOCUMENTS)
    real = checkpoint.Path.rename
    failed = []

    def rename(self, to):
        if to.name == "step-1" and not failed:
            failed.append(to)
            raise OSError(errno.EIO, "Input/output error")
        return real(self, to)

    monkeypatch.setattr(checkpoint.Path, "rename", rename)
    with pytest.raises(OSError, match="Input/output error"):
        save(tmp_path / "step-1", TENSORS, {"config": "new"})
    assert failed and [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert Checkpoint(tmp_path / "step-1").document("config") == DOCUMENTS["config"]


def test_files_in_nested_folders_are_flushed(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(checkpoint, "flush", lambda path: flushed.append(path.name))
    with atomic_folder(tmp_path / "x") as fresh:
        (fresh / "inner" / "most").mkdir(parents=True)
        (fresh / "inner" / "most" / "file").write_text("content")
    assert {"inner", "most", "file"} <= set(flushed)
