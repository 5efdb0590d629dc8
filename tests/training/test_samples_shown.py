"""Samples that are drawn while training are shown, and are written to TensorBoard with the settings."""

import pytest
import torch
from short_runs import write_cat_and_dog

import refrain
from refrain.errors import UserError
from refrain.training import PlainProgress

WORDS = ["training.epochs=1", "training.batch_size=4", "training.window_steps=6", "training.validation=exact"]
SIZES = ["model.embedding_size=6", "model.hidden_sizes=[8]", "training.backend=torch", "training.sample_tokens=5"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_cat_and_dog(tmp_path_factory.mktemp("text"))


def test_a_sample_is_a_line(text, tmp_path, capsys):
    experiment = refrain.recipe("zaremba-small", *WORDS, *SIZES, data=text)
    refrain.train(experiment, tmp_path / "run", progress=PlainProgress())
    sample = (tmp_path / "run" / "samples" / "epoch-001.txt").read_text()
    assert f"sample   {' '.join(sample.split())}" in capsys.readouterr().err.splitlines()
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| nats per token | perplexity | bits per byte | bits per character | perplexity per word |\n" in card


def test_tensorboard_has_samples_and_settings(text, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    experiment = refrain.recipe("zaremba-small", *WORDS, *SIZES, "training.tensorboard=true", data=text)
    refrain.train(experiment, tmp_path / "run", progress=PlainProgress(quiet=True))
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"sample/text_summary", "settings/text_summary"} <= set(tags)
    found = events.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "    training.window_steps = 6" in found.splitlines()


class NoKernels(torch.nn.Module):
    """A network whose layers have no kernels, and which fails with a given error."""

    def __init__(self, size):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(size, size))

    def initial_state(self, batch_size):
        return torch.zeros(batch_size, 1)

    def forward(self, inputs, targets, state):
        nats = torch.nn.functional.cross_entropy(self.weight[inputs].flatten(0, 1), targets.flatten(), reduction="sum")
        return nats, None, state

    def detached(self, state):
        return state


class BadPart(NoKernels):
    @property
    def step(self):
        raise KeyError("weights")


def test_a_network_of_your_own_that_fails(text, tmp_path):
    words = [*WORDS, "training.sample_tokens=0"]
    quiet = PlainProgress(quiet=True)
    experiment = refrain.recipe("zaremba-small", *words, data=text)

    def broken(vocabulary):
        raise KeyError("no such word")

    with pytest.raises(
        UserError, match=r"model: .*broken raised for a vocabulary of 8 tokens \(KeyError: 'no such word'\)"
    ):
        refrain.train(experiment, tmp_path / "a", model=broken, progress=quiet)
    with pytest.raises(UserError, match=r"model: step of BadPart raised KeyError: 'weights'"):
        refrain.train(experiment, tmp_path / "b", model=lambda words: BadPart(len(words)), progress=quiet)
    native = refrain.recipe("zaremba-small", *words, "training.backend=native", data=text)
    with pytest.raises(UserError, match="'native' cannot take effect, as no layer or head of NoKernels has kernels"):
        refrain.train(native, tmp_path / "c", model=lambda words: NoKernels(len(words)), progress=quiet)
