"""Law: a run that was stopped goes on with as many ranks bit for bit, and with other numbers but for rounding."""

import pathlib
import shutil

import pytest
import torch
from processes import ended_ranks
from safetensors.torch import load_file

SCRIPT = pathlib.Path(__file__).parents[1] / "reliability" / "mishaps.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text, a run of two ranks, and one that a signal has stopped."""
    place = tmp_path_factory.mktemp("going-on")
    (place / "text").mkdir()
    for split, lines in (("train", 30), ("valid", 12), ("test", 6)):
        (place / "text" / f"{split}.txt").write_text("a b c d\nb c <unk>\nd a b\n" * lines)
    assert trained(2, place, "whole", "none") == [0, 0]
    assert trained(2, place, "stopped", "terminate") != [0, 0]
    return place


def trained(size, place, name, mishap):
    """Train or resume a run; the statuses of its ranks."""
    words = [SCRIPT, place / "text", place / name, mishap, "1", "20", "1", "float64"]
    return [status for status, _, _ in ended_ranks(size, words)]


@pytest.mark.parametrize("size", [2, 3, 1])
def test_a_stopped_run_goes_on(size, folder):
    shutil.copytree(folder / "stopped", folder / str(size), symlinks=True)
    assert trained(size, folder, str(size), "none") == [0] * size
    alone, others = (sorted((folder / name / "checkpoints").glob("step-*"))[-1] for name in ("whole", str(size)))
    assert alone.name == others.name
    for file in ("model.safetensors", "training.safetensors"):
        expected, found = load_file(alone / file), load_file(others / file)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            if size == 2 or not tensor.is_floating_point():
                assert torch.equal(tensor, found[key]), key
            else:
                torch.testing.assert_close(found[key], tensor, rtol=1e-6, atol=1e-9)
