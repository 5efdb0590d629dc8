"""The network before training is the one that training began with."""

import torch

from refrain import runs
from refrain.recipes import recipe
from refrain.storage.checkpoint import Checkpoint
from refrain.studies.probing import untrained
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
