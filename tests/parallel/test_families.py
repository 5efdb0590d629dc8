"""Law: several ranks take the steps that one process takes, for every recipe."""

import json
import os
import pathlib
import time

import pytest
import torch
from processes import ended_ranks
from safetensors.torch import load_file
from tagged import write_tsv

SCRIPT = pathlib.Path(__file__).with_name("families.py")
# of the largest weight; what is left is rounding
TOLERANCE = 1e-6
# one recipe for each thing that acts on training; `families.py` without names trains all
FAMILIES = (
    "zaremba-medium",
    "awd-lstm-ptb",
    "awd-lstm-mos-ptb",
    "zaremba-small-iss",
    "zaremba-large-l1",
    "awd-lstm-ptb-iss",
    "sparse-awd-ptb",
    "recite-sparse2",
    "mlstm-bytes",
    "mlstm-enwik8",
    "mlstm-reviews",
    "pos-default",
    "pos-sparse",
    "own network",
)
# seconds
LONGEST_WAIT = 300
THREE = ("zaremba-medium", "awd-lstm-ptb", "pos-default", "own network")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text and a treebank, and the runs of every recipe by 1, 2 and 3 ranks.

    It is made by the first process of a session that needs it, for which the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "families"
    outcome = place / "outcome"
    try:
        place.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + LONGEST_WAIT
        while not outcome.exists():
            assert time.monotonic() < deadline, "another process has not trained the families"
            time.sleep(0.2)
    else:
        (place / "begun").write_text("the families were not trained")
        try:
            train_families(place)
            (place / "begun").write_text("")
        finally:
            (place / "begun").replace(outcome)
    assert outcome.read_text() == ""
    return place


def train_families(place):
    write_tsv(place / "tags")
    (place / "text").mkdir()
    for split, lines in (("train", 46), ("valid", 12), ("test", 6)):
        (place / "text" / f"{split}.txt").write_text("a b c d\nb c <unk>\nd a b\n" * lines)
    for size, names in ((1, FAMILIES), (2, FAMILIES), (3, THREE)):
        for status, _, error in ended_ranks(size, [SCRIPT, place, place / str(size), *names]):
            assert status == 0, error


def newest(folder):
    return sorted((folder / "checkpoints").glob("step-*"))[-1]


@pytest.mark.parametrize(("size", "name"), [*((2, name) for name in FAMILIES), *((3, name) for name in THREE)])
def test_ranks_take_the_steps_of_one_process(size, name, folder):
    alone, together = newest(folder / "1" / name), newest(folder / str(size) / name)
    assert alone.name == together.name
    for file in ("model.safetensors", "training.safetensors"):
        expected, found = load_file(alone / file), load_file(together / file)
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            assert tensor.shape == found[key].shape
            if tensor.is_floating_point() and tensor.numel():
                assert tensor.dtype == torch.float64 or not tensor.ndim
                error = (tensor - found[key]).abs().max() / tensor.abs().max().clamp(min=1e-3)
                assert error < TOLERANCE, f"{key}: {error}"
            else:
                assert torch.equal(tensor, found[key]), key
    first, second = (
        [json.loads(line) for line in (folder / which / name / "metrics.jsonl").read_text().splitlines()]
        for which in ("1", str(size))
    )
    for one, many in zip(first, second, strict=True):
        assert many["nats_per_token"] == pytest.approx(one["nats_per_token"], rel=1e-6)
        assert many.get("accuracy") == one.get("accuracy")
