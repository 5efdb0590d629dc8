"""Gradient statistics are gathered once for a model and a text, and found in the cache afterwards."""

import copy

import numpy as np
import pytest
import torch

from refrain import runs
from refrain.errors import DataError
from refrain.evaluation import kept_statistics as module
from refrain.evaluation.kept_statistics import FILE, kept_statistics
from refrain.evaluation.measure import statistics_of


class Ids:
    def __init__(self, ids):
        self.ids = np.asarray(ids, np.uint16)

    def __len__(self):
        return len(self.ids)

    def read(self, start, stop):
        return self.ids[start:stop]

    def release(self):
        pass


@pytest.fixture
def gathered(monkeypatch, tmp_path):
    """The numbers of steps with which statistics are gathered, in a cache of its own."""
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "cache"))
    calls = []

    def counted(model, train, steps, *, track):
        calls.append(steps)
        return statistics_of(model, train, steps, track=track)

    monkeypatch.setattr(module, "statistics_of", counted)
    return calls


TEXT = Ids([1, 2, 3, 0, 2, 2, 1, 0] * 9)


def test_they_are_gathered_once_for_a_model_a_text_and_steps(tiny_run, gathered):
    model = runs.load(tiny_run).model
    wanted = statistics_of(model, TEXT, 3)
    for _ in range(2):
        found = kept_statistics(model, TEXT, 3)
        assert found.windows == wanted.windows
        for one, other in zip(found.root_mean_squares, wanted.root_mean_squares, strict=True):
            assert torch.equal(one, other)
    assert gathered == [3]
    kept_statistics(model, TEXT, 4)
    kept_statistics(model, Ids([*TEXT.ids[:-1], 3]), 3)
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1e-3
    kept_statistics(other, TEXT, 3)
    assert gathered == [3, 4, 3, 3]


def test_damage_is_named_and_a_cache_that_cannot_be_written_is_no_error(tiny_run, gathered, tmp_path, monkeypatch):
    model = runs.load(tiny_run).model
    kept_statistics(model, TEXT, 3)
    (file,) = (tmp_path / "cache" / "statistics").rglob(FILE)
    content = file.read_bytes()
    for damaged in (content[:100], b"", content[:-4]):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"are damaged .*; delete this folder and try again"):
            kept_statistics(model, TEXT, 3)
    (tmp_path / "file").touch()
    monkeypatch.setenv("REFRAIN_CACHE", str(tmp_path / "file"))
    assert kept_statistics(model, TEXT, 3).windows and gathered == [3, 3]
