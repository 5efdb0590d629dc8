"""A network of the user's own is trained, stopped, resumed, loaded and measured as one that is built from settings."""

import json
import shutil
from typing import NamedTuple

import pytest
import torch
from short_runs import Stopping, quiet, write_cat_and_dog
from torch import nn

import refrain
from refrain import assembly, runs
from refrain.axes import Axis
from refrain.cli.app import main
from refrain.config import Experiment, TaggerExperiment
from refrain.errors import CheckpointError, UserError
from refrain.evaluation import (
    Cache,
    Dynamics,
    evaluate,
    evaluate_dynamically,
    evaluate_with_cache,
    gather_statistics,
    protocol_windows,
)
from refrain.models import LanguageModel, NetworkStepper, Stepper
from refrain.nn import Embedding, LockedDropout, RecurrentStack, SoftmaxHead, check_window, scan
from refrain.sparsity import UnitLasso, unit_axes
from refrain.storage.run_folder import RunFolder
from refrain.training import Interrupted


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_cat_and_dog(tmp_path_factory.mktemp("text"))


def small(text, sparsity=None, **training):
    return Experiment.model_validate(
        {
            "name": "own",
            "data": {"corpus": str(text)},
            "training": {
                "epochs": 3,
                "batch_size": 4,
                "window_steps": 6,
                "optimizer": "adam",
                "learning_rate": 0.03,
                "sample_tokens": 0,
                **training,
            },
            "sparsity": sparsity or {},
        }
    )


class Plain(nn.Module):
    """The least that can be trained, with dropout, a buffer and a weight that does not learn."""

    def __init__(self, vocabulary, size=8):
        super().__init__()
        self.words = nn.Embedding(len(vocabulary), size)
        self.lstm = nn.LSTM(size, size)
        self.output = nn.Linear(size, len(vocabulary))
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)
        self.register_buffer("windows", torch.zeros(()))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)

    def initial_state(self, batch_size):
        zeros = self.output.weight.new_zeros(1, batch_size, self.lstm.hidden_size)
        return zeros, zeros

    def forward(self, inputs, targets, state):
        if self.training:
            self.windows += 1
        embedded = nn.functional.dropout(self.words(inputs), 0.1, self.training)
        outputs, state = self.lstm(embedded, state)
        logits = self.scale * self.output(outputs)
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum"), None, state


class State(NamedTuple):
    hidden: torch.Tensor  # (B, H)


class Elman(nn.Module):
    """A layer from outside the library (Elman, 1990)."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.weight_ih = nn.Parameter(torch.randn(hidden_size, input_size) / 3)
        self.weight_hh = nn.Parameter(torch.randn(hidden_size, hidden_size) / 3)

    def initial_state(self, batch_size):
        return State(self.weight_hh.new_zeros(batch_size, self.hidden_size))

    def step(self, x, state):
        check_window(self.input_size, self.hidden_size, x, state)
        hidden = (x @ self.weight_ih.T + state.hidden @ self.weight_hh.T).tanh()
        return hidden, State(hidden)

    def forward(self, inputs, state):
        return scan(self.step, inputs, state)


class Declared(Elman):
    def axes(self, input_width, hidden_width):
        rows = Axis(hidden_width)
        return {
            "weight_ih": (rows, Axis(input_width, role="reads")),
            "weight_hh": (rows, Axis(hidden_width, role="reads")),
        }


class Bare(Elman):
    """The same with a tensor as its state."""

    def initial_state(self, batch_size):
        return super().initial_state(batch_size).hidden

    def step(self, x, state):
        y, after = super().step(x, State(state))
        return y, after.hidden


def with_layer(layer):
    """(vocabulary) -> the library's model around a layer from outside."""

    def network(vocabulary):
        return LanguageModel(
            Embedding(len(vocabulary), 7),
            RecurrentStack([layer(7, 8), layer(8, 6)], between=LockedDropout(0.1)),
            SoftmaxHead(6, len(vocabulary)),
            output_dropout=LockedDropout(0.1),
        )

    return network


@pytest.fixture(scope="module")
def run(text, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "own"
    return out, refrain.train(small(text), out, model=Plain, progress=quiet())


def test_a_network_learns_and_the_run_names_its_class(run, text):
    out, summary = run
    name = f"{__name__}.Plain"
    assert summary["network"] == name and summary["test"]["nats_per_token"] < 1.0
    for folder in (out, out / "best"):
        document = json.loads((folder / "config.json").read_text())
        assert document["network"] == {"kind": "own", "class": name}
        assert document["experiment"]["model"]
    card = (out / "README.md").read_text()
    assert name in card and "model=network" in card and "refrain evaluate" not in card


def test_what_is_loaded_has_the_figure_of_the_summary(run, text):
    out, summary = run
    lm = refrain.load(out, model=Plain)
    assert "test_own_networks.Plain" in repr(lm)
    corpus = assembly.build_corpus(small(text).data)
    windows = protocol_windows(corpus.splits["test"].tokens, "exact", split="test", window_steps=6)
    assert evaluate(lm.model, windows).nats_per_token == pytest.approx(summary["test"]["nats_per_token"], rel=1e-6)
    # the buffer is that of the best checkpoint: one more in each window
    best = json.loads((out / "best" / "training.json").read_text())["position"]["step"]
    assert int(lm.model.windows) == best > 0


def test_a_network_that_is_there_already_is_trained_in_place(run, text, tmp_path):
    network = Plain(range(8))
    before = network.words.weight.detach().clone()
    refrain.train(small(text, epochs=1), tmp_path / "run", model=network, progress=quiet())
    assert not torch.equal(network.words.weight, before)
    loaded = Plain(range(8))
    lm = refrain.load(tmp_path / "run", model=loaded)
    assert lm.model is loaded and torch.equal(loaded.words.weight, network.words.weight)


@pytest.mark.parametrize("make", [Plain, with_layer(Declared)], ids=["network", "layer"])
@pytest.mark.parametrize("averaged", [False, True])
def test_a_stopped_run_continues_bit_for_bit(make, averaged, text, tmp_path):
    settings = {"optimizer": "asgd", "learning_rate": 2.0} if averaged else {}
    refrain.train(small(text, **settings), tmp_path / "whole", model=make, progress=quiet())
    with pytest.raises(Interrupted, match=r"continue with: refrain\.resume\('.*cut', model=\.\.\.\)"):
        refrain.train(small(text, **settings), tmp_path / "cut", model=make, progress=Stopping(13))
    refrain.resume(tmp_path / "cut", model=make, progress=quiet())
    (one, _), (other, _) = (RunFolder(tmp_path / name).newest() for name in ("whole", "cut"))
    for stem in ("model", "training"):
        expected, found = one.tensors(stem), other.tensors(stem)
        assert expected.keys() == found.keys()
        assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_a_run_continues_from_the_weights_of_another(run, text, tmp_path):
    summary = refrain.train(
        small(text, epochs=1, learning_rate=1e-9), tmp_path / "run", model=Plain, start_from=run[0], progress=quiet()
    )
    assert summary["test"]["nats_per_token"] == pytest.approx(run[1]["test"]["nats_per_token"], rel=1e-4)


def one_line(call):
    with pytest.raises(UserError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return raised.value


def test_without_its_network_a_run_is_refused_with_its_class_and_the_remedy(run, capsys):
    out, _ = run
    for call in (lambda: refrain.load(out), lambda: refrain.load(out / "best"), lambda: refrain.resume(out)):
        error = one_line(call)
        assert isinstance(error, CheckpointError)
        assert "test_own_networks.Plain" in str(error) and "model= to refrain.load or refrain.resume" in str(error)
    commands = [
        ["evaluate", str(out)],
        ["generate", str(out)],
        ["score", str(out), str(out / "README.md")],
        ["train", "--resume", "--out", str(out)],
        ["sparsity", str(out)],
        ["compress", str(out), "--out", str(out.parent / "smaller")],
    ]
    for words in commands:
        assert main(words) == 4
        (line,) = capsys.readouterr().err.splitlines()
        assert "test_own_networks.Plain" in line


def test_a_network_for_a_run_that_was_built_from_settings_is_refused(tiny_run, tmp_path):
    copy = shutil.copytree(tiny_run, tmp_path / "run", symlinks=True)
    for call in (lambda: refrain.load(copy, model=Plain), lambda: refrain.resume(copy, model=Plain)):
        assert "leave out model=" in str(one_line(call))


def test_another_network_is_refused(run):
    out, _ = run
    before = (out / "metrics.jsonl").read_text()
    for make, said in (
        (with_layer(Elman), "weights of another model"),
        (lambda vocabulary: Plain(vocabulary, size=9), "weights of another shape: words.weight"),
    ):
        for call in (
            lambda make=make: refrain.load(out, model=make),
            lambda make=make: refrain.resume(out, model=make),
        ):
            error = one_line(call)
            assert isinstance(error, CheckpointError) and said in str(error)
            assert "give the network that was trained" in str(error) and "test_own_networks.Plain" in str(error)
    assert (out / "metrics.jsonl").read_text() == before


def test_a_buffer_of_another_shape_is_refused(run):
    class Wider(Plain):
        def __init__(self, vocabulary):
            super().__init__(vocabulary)
            self.windows = torch.zeros(3)

        def forward(self, inputs, targets, state):
            return Plain.forward(self, inputs, targets, state)

    assert "windows" in str(one_line(lambda: refrain.load(run[0], model=Wider)))


class Silent(Plain):
    """Named in a run, and never imported from there."""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sample_tokens": 5}, "training.sample_tokens: samples need a step"),
        ({"train_accuracy": True}, "training.train_accuracy needs a part"),
        ({"state": "reset-per-document"}, "reset-per-document needs a part"),
        ({"activation_penalty": 1.0}, "outputs with a part 'dropped'"),
        ({"temporal_penalty": 1.0}, "outputs with a part 'raw'"),
        ({"sparsity": {"l1": {"strength": 0.1}}}, "a setting of sparsity needs a part"),
    ],
)
def test_settings_that_need_a_part_are_refused_before_anything_is_written(settings, said, text, tmp_path):
    error = one_line(lambda: refrain.train(small(text, **settings), tmp_path / "run", model=Plain, progress=quiet()))
    assert said in str(error) and not (tmp_path / "run").exists()


@pytest.mark.parametrize("make", [lambda vocabulary: Plain(range(3)), lambda vocabulary: Plain(range(3))])
def test_a_vocabulary_of_another_size_is_refused_before_anything_is_written(make, text, tmp_path):
    error = one_line(lambda: refrain.train(small(text), tmp_path / "run", model=make, progress=quiet()))
    assert "the size of the vocabulary" in str(error) and not (tmp_path / "run").exists()


def test_what_makes_no_network_is_refused_before_anything_is_written(text, tmp_path):
    error = one_line(lambda: refrain.train(small(text), tmp_path / "run", model="Plain", progress=quiet()))
    assert "model: must be a network, or a function" in str(error) and not (tmp_path / "run").exists()


def test_a_tagger_is_built_from_its_settings(tmp_path):
    from refrain.runs.own_network import make_network

    assert "leave out model=" in str(one_line(lambda: make_network(Plain, TaggerExperiment(), range(8))))


@pytest.mark.parametrize("layer", [Elman, Declared, Bare])
def test_a_layer_from_outside_does_what_a_model_does(layer, text, tmp_path):
    settings = {"sample_tokens": 4, "activation_penalty": 0.1, "temporal_penalty": 0.1, "train_accuracy": True}
    experiment = small(text, **settings)
    summary = refrain.train(experiment, tmp_path / "run", model=with_layer(layer), progress=quiet())
    lm = refrain.load(tmp_path / "run", model=with_layer(layer))
    assert isinstance(lm.stepper, Stepper) and not isinstance(lm.stepper, NetworkStepper)
    assert len(list((tmp_path / "run" / "samples").iterdir())) == 3
    assert lm.generate("the", tokens=4, seed=1, clamp={2: 0.5})[0].startswith("the")
    score = lm.score("the cat sat")
    assert score.tokens == 4 and score.perplexity < 8
    found = lm.features(["the cat", "the"], units=[0, 1])
    assert found.hidden.shape == (2, 6) and found.cell is None and [len(trace) for trace in found.traces] == [2, 1]
    # the last of what was followed is what is held at the end
    torch.testing.assert_close(found.traces[0][-1], found.hidden[0, :2])
    corpus = assembly.build_corpus(experiment.data)
    windows = protocol_windows(corpus.splits["test"].tokens, "exact", split="test", window_steps=6)
    still = evaluate(lm.model, windows)
    assert still.nats_per_token == pytest.approx(summary["test"]["nats_per_token"], rel=1e-6)
    assert evaluate_with_cache(lm.model, windows, Cache(share=0.0)).nats == pytest.approx(still.nats, rel=1e-5)
    statistics = gather_statistics(lm.model, windows)
    same = evaluate_dynamically(lm.model, windows, statistics, Dynamics(learning_rate=0.0), cache=Cache(share=0.0))
    assert same.nats == pytest.approx(still.nats, rel=1e-5)
    loaded = refrain.load(tmp_path / "run", model=with_layer(layer), weights="int8")
    assert loaded.score("the cat sat").nats == pytest.approx(score.nats, rel=0.1)


def test_documents_are_separate_with_a_layer_from_outside(text, tmp_path):
    experiment = small(text, state="reset-per-document", epochs=1)
    refrain.train(experiment, tmp_path / "run", model=with_layer(Bare), progress=quiet())
    lm = refrain.load(tmp_path / "run", model=with_layer(Bare))
    assert lm.model.reset_before == lm.vocabulary.line_end
    # what came before the end of the line does not matter
    ids = torch.tensor([[3, 4], [lm.vocabulary.line_end] * 2, [5, 5]])
    outputs, _ = lm.model.hidden(ids, lm.initial_state(2))
    torch.testing.assert_close(outputs.raw[2, 0], outputs.raw[2, 1])
    assert not torch.allclose(outputs.raw[0, 0], outputs.raw[0, 1])


def test_declared_axes_of_a_layer_from_outside_take_part_in_sparsity(text, tmp_path):
    network = with_layer(Declared)(range(8))
    assert network.widths() == {"vocabulary": 8, "embedding": 7, "layer0.hidden": 8, "layer1.hidden": 6}
    network.init_glorot()
    lasso = UnitLasso(dict(network.named_parameters()), unit_axes(network.axes())["layer0.hidden"], 0.1)
    assert len(lasso.norms()) == 8
    penalised = small(text, sparsity={"group_lasso": {"strength": 0.05}}, optimizer="sgd", learning_rate=1.0)
    refrain.train(penalised, tmp_path / "run", model=with_layer(Declared), progress=quiet())
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(last["units"]) == {"embedding", "layer0.hidden", "layer1.hidden"}
    assert last["units"]["layer0.hidden"] < 8, last["units"]


def test_a_layer_without_axes_is_named_where_axes_are_needed(text, tmp_path):
    penalised = small(text, sparsity={"group_lasso": {"strength": 0.02}})
    error = one_line(lambda: runs.train(penalised, tmp_path / "run", model=with_layer(Elman), progress=quiet()))
    assert "Elman declares no axes" in str(error) and not (tmp_path / "run").exists()
    network = with_layer(Elman)(range(8))
    for call in (network.axes, network.widths, network.init_glorot, lambda: network.init_uniform(0.1)):
        assert "Elman declares no axes" in str(one_line(call))
