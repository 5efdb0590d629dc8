"""A training round whose update is a kernel: what it computes, and the dtype of the gradient of the head."""

import copy

import pytest
import torch

from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead
from refrain.nn.kernels.backend import Backend, use_backend
from refrain.optim import SGD, TriggeredAveraging
from refrain.training import Hooks, Methods, train_round

pytestmark = pytest.mark.compiler


def model(*, tied=False):
    torch.manual_seed(1)
    width = 12 if tied else 20
    found = LanguageModel(Embedding(60, 12), RecurrentStack([LSTM(12, width)]), SoftmaxHead(width, 60))
    if tied:
        found.head.weight = found.embedding.weight
    found.init_uniform(0.3)
    use_backend(found, Backend(native=True, bf16=True))
    return found


def windows(count=4):
    torch.manual_seed(2)
    return [(block[:-1], block[1:]) for block in torch.randint(60, (count, 6, 4))]


def train(network, optimizer, hooks, **options):
    state = network.initial_state(4)
    train_round(network, windows(), state, optimizer, loss_scale="sum-over-time", max_norm=1.0, hooks=hooks, **options)


def test_a_round_with_kernels_is_one_without_them():
    start = model()
    found = []
    for native in (False, True):
        network = copy.deepcopy(start)
        averaging = TriggeredAveraging(network.parameters(), trigger_window=0, started=True)
        train(network, SGD(network.parameters(), lr=0.5, native=native), Hooks(averaging=averaging))
        found.append(([*network.parameters()], averaging.state_dict()["means"]))
        assert all(parameter.grad.dtype == torch.float32 for parameter in network.parameters())
    (plain, means), (ours, our_means) = found
    for one, other, begin in zip(plain + means, ours + our_means, 2 * [*start.parameters()], strict=True):
        # the gradient of the head's weight is rounded once more
        assert (one - other).norm() < 0.005 * (one - begin).norm()
        assert (one - begin).norm() > 0


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("alone", torch.bfloat16),
        ("no kernel", torch.float32),
        ("a method changes gradients", torch.float32),
        ("windows are summed", torch.float32),
        ("a tied weight", torch.float32),
    ],
)
def test_gradients_that_are_summed_or_changed_are_float32(case, dtype):
    network = model(tied=case == "a tied weight")
    seen = []
    hooks = Hooks(after_step=[lambda window: seen.append(network.head.weight.grad.dtype)])
    if case == "a method changes gradients":
        hooks.before_step.append(lambda window: seen.append(network.head.weight.grad.dtype))
    options = {"accumulate": 2} if case == "windows are summed" else {}
    train(network, SGD(network.parameters(), lr=0.5, native=case != "no kernel"), hooks, **options)
    assert set(seen) == {dtype}
    assert {parameter.grad_dtype for parameter in network.parameters()} == {torch.float32}


def test_averaging_is_part_of_the_update_unless_another_method_comes_before():
    network = model()
    averaging = TriggeredAveraging(network.parameters(), trigger_window=0, started=True)

    class Changes:
        def after_step(self, window):
            pass

    first = Methods({}, {}, {"averaging": averaging}).hooks()
    assert first.averaging is averaging and not first.after_step
    later = Methods({"changes": Changes()}, {}, {"averaging": averaging}).hooks()
    assert later.averaging is None and len(later.after_step) == 2
    # a method of a user is called as any other
    own = Methods({}, {"averaging": averaging}, {}).hooks()
    assert own.averaging is None and len(own.after_step) == 1
