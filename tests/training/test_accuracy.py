"""The share of right training positions: by hand, over a resume, and as a reason to stop."""

import json
import signal

import pytest
import torch
from short_runs import Stopping, quiet, write_splits

from refrain import recipe, runs
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, LockedDropout, MixtureHead, RecurrentStack, SoftmaxHead
from refrain.training import Interrupted, Window
from refrain.training.accuracy import TrainingAccuracy

SMALL = (
    "model.embedding_size=8",
    "model.hidden_sizes=[8,8,8]",
    "training.batch_size=3",
    "training.window_steps=4",
    "training.log_windows=2",
    "training.sample_tokens=0",
    "training.validation=exact",
)


@pytest.fixture
def corpus(tmp_path):
    return write_splits(tmp_path / "corpus", "a b c d\nb c <unk>\n", (12, 4, 4))


def test_it_counts_positions_whose_most_likely_word_is_right():
    torch.manual_seed(1)
    model = LanguageModel(Embedding(7, 4), RecurrentStack([LSTM(4, 5)]), SoftmaxHead(5, 7)).double()
    inputs, targets = torch.randint(7, (6, 3)), torch.randint(7, (6, 3))
    outputs, _ = model.hidden(inputs, model.initial_state(3))
    wanted = (model.head.log_probabilities(outputs.dropped).argmax(-1) == targets).double().mean().item()
    counted = TrainingAccuracy(stop_at=wanted)
    counted.before_step(Window(model, None, inputs, targets, outputs))
    counted.before_step(Window(model, None, inputs, targets, outputs))
    assert counted.metrics() == {"train_accuracy": pytest.approx(wanted)}
    assert counted.validated({}).stop
    assert counted.last == pytest.approx(wanted)
    assert counted.metrics() == {"train_accuracy": 0}
    assert not counted.validated({}).stop
    other = TrainingAccuracy(stop_at=0.99)
    other.load_state_dict(counted.state_dict())
    assert other.last == counted.last


def test_a_head_with_dropout_is_counted_without_it_and_draws_nothing():
    torch.manual_seed(1)
    head = MixtureHead(5, 4, 7, components=2, latent_dropout=LockedDropout(0.5))
    model = LanguageModel(Embedding(7, 4), RecurrentStack([LSTM(4, 5)]), head).train()
    inputs, targets = torch.randint(7, (6, 3)), torch.randint(7, (6, 3))
    outputs, _ = model.hidden(inputs, model.initial_state(3))
    before = torch.get_rng_state()
    counted = TrainingAccuracy()
    counted.before_step(Window(model, None, inputs, targets, outputs))
    assert torch.equal(torch.get_rng_state(), before) and all(part.training for part in model.modules())
    predicted = head.eval().log_probabilities(outputs.dropped).argmax(-1)
    assert counted.metrics() == {"train_accuracy": pytest.approx((predicted == targets).double().mean().item())}


def metrics(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["event"], line["step"], line["train_accuracy"]) for line in lines]


def test_it_survives_a_restart_and_is_written_down(corpus, tmp_path):
    experiment = recipe("recite-dense", *SMALL, "training.epochs=2", data=str(corpus))
    runs.train(experiment, tmp_path / "whole", progress=quiet())
    with pytest.raises(Interrupted):
        runs.train(experiment, tmp_path / "cut", progress=Stopping(3, signal.SIGINT))
    runs.resume(tmp_path / "cut", progress=quiet())
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_a_run_stops_when_it_knows_the_text_by_heart(corpus, tmp_path):
    experiment = recipe("recite-dense", *SMALL, "training.epochs=150", "training.stop_accuracy=0.3", data=str(corpus))
    progress = Stopping(10**9)
    summary = runs.train(experiment, tmp_path / "run", progress=progress)
    assert summary["epochs"] < 150 and summary["stopped"] is True
    assert [line for line in progress.lines if "of the training text are right (stop_accuracy)" in line]
    # not where it is the last epoch in any case
    last = recipe("recite-dense", *SMALL, "training.epochs=1", "training.stop_accuracy=0.001", data=str(corpus))
    assert "stopped" not in runs.train(last, tmp_path / "last", progress=quiet())
    # and beside a limit of time that it comes before
    limited = recipe(
        "recite-dense", *SMALL, "training.epochs=150", "training.stop_accuracy=0.3", "training.max_minutes=9",
        data=str(corpus),
    )  # fmt: skip
    assert runs.train(limited, tmp_path / "limited", progress=quiet())["stopped"] is True
    assert metrics(tmp_path / "run")[-1][2] >= 0.3
