"""The network before training is the one that training began with."""

import pytest
import torch

from refrain import runs
from refrain.data import Labelled
from refrain.errors import DataError
from refrain.recipes import recipe
from refrain.storage.checkpoint import Checkpoint
from refrain.studies.probing import probe, untrained
from refrain.training import PlainProgress


def test_the_untrained_network_is_the_one_that_training_began_with(tmp_path, tiny_corpus, tiny_settings):
    settings = [*tiny_settings, "training.epochs=1", "training.seed=11"]
    runs.train(recipe("zaremba-small", *settings, data=str(tiny_corpus)), tmp_path, progress=PlainProgress(quiet=True))
    lm = runs.load(tmp_path)
    before = torch.get_rng_state()
    found = untrained(lm)
    assert torch.equal(before, torch.get_rng_state())
    first = Checkpoint(tmp_path / "checkpoints" / "step-000000000").tensors("model")
    for name, tensor in found.model.state_dict().items():
        torch.testing.assert_close(tensor, first[name], rtol=0, atol=0)
        assert not torch.equal(tensor, lm.model.state_dict()[name])
    assert found.vocabulary is lm.vocabulary and not found.model.training


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"train": ["1", "2", "3"]}, "two labels are needed, the training table has 3"),
        ({"valid": ["1", "x", "2"]}, "the valid table has a label 'x' that the training table lacks"),
        ({"test": ["1", "1", "1"]}, "the test table has no row labelled '2'"),
    ],
)
def test_tables_need_the_same_two_labels(labels, message):
    tables = {
        split: Labelled(["a", "b", "c"], labels.get(split, ["1", "2", "1"])) for split in ("train", "valid", "test")
    }
    with pytest.raises(DataError, match=message):
        probe(None, tables)
