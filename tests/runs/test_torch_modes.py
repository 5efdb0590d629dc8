"""A training has torch's usual modes, whatever those of its caller, and no other training beside it."""

import threading

import pytest
import torch
from short_runs import quiet, write_splits

from refrain import recipe, runs
from refrain.errors import UserError
from refrain.runs.torch_modes import usual_modes

SMALL = ("model.embedding_size=8", "model.hidden_sizes=[8]", "training.epochs=2", "training.batch_size=3",
         "training.window_steps=4", "training.validation=exact")  # fmt: skip


MODES = {
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@pytest.fixture
def experiment(tmp_path):
    corpus = write_splits(tmp_path / "corpus", "a b c d\nb c <unk>\n", (12, 4, 4))
    return recipe("zaremba-small", *SMALL, data=str(corpus))


@pytest.mark.parametrize("name", MODES)
def test_a_run_is_the_same_in_any_mode(experiment, tmp_path, name):
    wanted = runs.train(experiment, tmp_path / "plain", progress=quiet())
    with MODES[name]():
        found = runs.train(experiment, tmp_path / "run", progress=quiet())
        longer = runs.resume(tmp_path / "run", settings=["training.epochs=3"], progress=quiet())
    assert found["valid"] == wanted["valid"]
    assert longer["valid"] == runs.resume(tmp_path / "plain", settings=["training.epochs=3"], progress=quiet())["valid"]


def test_the_modes_of_the_caller_come_back():
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        with usual_modes():
            assert not torch.is_inference_mode_enabled() and torch.is_grad_enabled()
            assert not torch.is_autocast_enabled("cpu")
            # a method of a training may train a model of its own
            with usual_modes():
                pass
        assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")


def test_two_threads_do_not_train_at_once(experiment, tmp_path):
    def other():
        try:
            runs.train(experiment, tmp_path / "run", progress=quiet())
        except UserError as error:
            found.append(str(error))

    found = []
    with usual_modes():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(60)
    assert found == ["another thread of this process trains a model; train one at a time, or each in a process"]
    assert not (tmp_path / "run").exists()
    runs.train(experiment, tmp_path / "run", progress=quiet())
