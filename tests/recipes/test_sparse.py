"""The recipes of predefined sparseness have the sizes of the paper's code."""

import pytest
import torch

from refrain import assembly, recipe

# with one bias a layer; the code's count has 4 * H more for each layer of H, and 400 for a prior that nothing reads
SIZES = {
    "sparse-awd-ptb": (23_807_500, 23_823_300),
    "sparse-awd-ptb-finetune": (23_807_500, 23_823_300),
    "recite-dense": (24_210_800, 24_222_000),
    "recite-dense-reduced": (7_062_900, 7_068_500),
    "recite-sparse1": (7_058_304, 7_068_504),
    "recite-sparse2": (7_059_360, 7_070_560),
}
PRIOR = {"recite-dense-reduced": 200, "recite-sparse1": 200}


@pytest.mark.parametrize("name", SIZES)
def test_the_sizes_of_the_paper(name):
    settings = recipe(name).model
    with torch.device("meta"):
        model = assembly.build_model(settings, 10_000)
    ours, theirs = SIZES[name]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == ours == theirs - 4 * sum(settings.hidden_sizes) - PRIOR.get(name, 400)


def test_reciting_has_no_regulariser():
    for name in ("recite-dense", "recite-dense-reduced", "recite-sparse1", "recite-sparse2"):
        experiment = recipe(name)
        model, training = experiment.model, experiment.training
        assert not any((model.dropout, model.word_dropout, model.weight_drop, training.weight_decay))
        assert (training.learning_rate, training.optimizer.momentum, training.max_norm, training.epochs) == (
            5.0,
            0.9,
            0.25,
            150,
        )
        assert (training.schedule.decay, training.schedule.hold_epochs) == (0.97, 1)
        assert experiment.data.order == "ascending"


def test_the_wide_model_is_awd_lstm_otherwise():
    wide, narrow = recipe("sparse-awd-ptb"), recipe("awd-lstm-ptb")
    changed = {"hidden_sizes", "cell"}
    assert wide.model.model_dump(exclude=changed) == narrow.model.model_dump(exclude=changed)
