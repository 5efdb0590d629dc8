"""Dynamic evaluation against its equations, written out with plain autograd."""

import numpy as np
import pytest
import torch

from refrain.data import TokenFile, Windows
from refrain.evaluation import (
    Cache,
    Dynamics,
    GradientStatistics,
    evaluate,
    evaluate_dynamically,
    evaluate_with_cache,
    gather_statistics,
)
from refrain.evaluation.dynamic import dynamic_nats
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, LockedDropout, RecurrentStack, SoftmaxHead, WeightDropout

V = 7


@pytest.fixture
def model():
    torch.manual_seed(1)
    layer = LSTM(5, 4, recurrent_transform=WeightDropout(0.5))
    return LanguageModel(
        Embedding(V, 5), RecurrentStack([layer]), SoftmaxHead(4, V), output_dropout=LockedDropout(0.5)
    ).double()


@pytest.fixture
def source(tmp_path):
    ids = torch.randint(V, (81,), generator=torch.Generator().manual_seed(2)).numpy().astype(np.uint16)
    (tmp_path / "ids.bin").write_bytes(ids.tobytes())
    return TokenFile(tmp_path / "ids.bin", np.uint16)


def windows(source, batch_size=1, steps=5):
    return Windows(source, batch_size=batch_size, window_steps=steps, tail="keep")


def loss_of(model, inputs, targets, state):
    outputs, state = model.hidden(inputs, state)
    nats = -model.head.log_probabilities(outputs.raw).gather(-1, targets[..., None]).sum()
    return nats, tuple(type(part)(*(tensor.detach() for tensor in part)) for part in state)


def test_is_the_same_where_the_caller_has_turned_gradients_off(model, source):
    text = windows(source)

    def figure():
        return evaluate_dynamically(model, text, gather_statistics(model, text), Dynamics()).nats

    wanted = figure()
    with torch.no_grad():
        assert figure() == wanted
        for _ in dynamic_nats(model, text, gather_statistics(model, text), Dynamics()):
            assert not torch.is_grad_enabled()


def test_statistics_are_root_mean_squares_of_window_gradients(model, source):
    found = gather_statistics(model, windows(source, batch_size=4, steps=3))
    model.eval()
    squares, state, text = (
        [torch.zeros_like(p) for p in model.parameters()],
        model.initial_state(4),
        windows(source, 4, 3),
    )
    for index in range(len(text)):
        inputs, targets = text[index]
        nats, state = loss_of(model, inputs, targets, state)
        for square, gradient in zip(
            squares, torch.autograd.grad(nats / targets.numel(), model.parameters()), strict=True
        ):
            square += gradient**2
    assert found.windows == len(text)
    for got, square in zip(found.root_mean_squares, squares, strict=True):
        torch.testing.assert_close(got, (square / len(text)).sqrt())


@pytest.mark.parametrize("batch_size", [1, 3])
def test_equals_its_equations(model, source, batch_size):
    """Score, then theta += lambda D (theta_0 - theta) - lr g / (RMS + eps), D = RMS / mean, lambda D at most 1."""
    dynamics = Dynamics(learning_rate=1e-2, decay=0.3, epsilon=1e-3)
    statistics = gather_statistics(model, windows(source, batch_size=4, steps=3))
    text = windows(source, batch_size)
    got = evaluate_dynamically(model, text, statistics, dynamics)

    model.eval()
    trained = [parameter.detach().clone() for parameter in model.parameters()]
    rms = statistics.root_mean_squares
    mean = torch.stack([value.mean() for value in rms]).mean()
    total, state = 0.0, model.initial_state(batch_size)
    for index in range(len(text)):
        inputs, targets = text[index]
        nats, state = loss_of(model, inputs, targets, state)
        total += nats.item()
        gradients = torch.autograd.grad(nats / len(targets), list(model.parameters()))
        with torch.no_grad():
            for p, start, g, r in zip(model.parameters(), trained, gradients, rms, strict=True):
                p += torch.clamp(0.3 * r / mean, max=1.0) * (start - p) - 1e-2 * g / (r + 1e-3)
    assert got.nats == pytest.approx(total, rel=1e-9)
    assert got.tokens == text.predicted


def test_no_step_is_static_and_weights_and_modes_are_restored(model, source):
    model.train()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    statistics = gather_statistics(model, windows(source, 4))
    static = evaluate(model, windows(source))
    still = evaluate_dynamically(model, windows(source), statistics, Dynamics(learning_rate=0.0, decay=0.5))
    assert still.nats == pytest.approx(static.nats, rel=1e-9)
    moved = evaluate_dynamically(model, windows(source), statistics, Dynamics(learning_rate=1e-2))
    assert moved.nats != pytest.approx(static.nats, rel=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(module.training for module in model.modules())


def test_weights_are_restored_after_an_error(model, source):
    before = [parameter.detach().clone() for parameter in model.parameters()]
    statistics = gather_statistics(model, windows(source, 4))

    class Broken(Windows):
        def __getitem__(self, index):
            if index == 3:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    text = Broken(source, batch_size=1, window_steps=5, tail="keep")
    with pytest.raises(KeyboardInterrupt):
        evaluate_dynamically(model, text, statistics, Dynamics(learning_rate=1e-2))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_a_text_that_repeats_is_learnt(model, tmp_path):
    (tmp_path / "r.bin").write_bytes(np.tile(np.array([3, 1, 4, 1, 5], dtype=np.uint16), 60).tobytes())
    source = TokenFile(tmp_path / "r.bin", np.uint16)
    statistics = gather_statistics(model, windows(source, 4))
    dynamic = evaluate_dynamically(model, windows(source), statistics, Dynamics(1e-2, 1e-3, 1e-2))
    assert dynamic.nats < 0.9 * evaluate(model, windows(source)).nats


def test_a_cache_continues_top(model, source):
    statistics = gather_statistics(model, windows(source, 4))
    cache = Cache(20, 1.0, 0.3)
    both = evaluate_dynamically(model, windows(source), statistics, Dynamics(learning_rate=0.0, decay=0.0), cache=cache)
    assert both.nats == pytest.approx(evaluate_with_cache(model, windows(source), cache).nats, rel=1e-9)
    with pytest.raises(ValueError, match="one stream"):
        evaluate_dynamically(model, windows(source, 2), statistics, Dynamics(), cache=cache)


def test_statistics_of_other_weights_are_refused(model, source):
    with pytest.raises(ValueError, match="other weights"):
        evaluate_dynamically(model, windows(source), GradientStatistics([torch.ones(2)], 1), Dynamics())


@pytest.mark.parametrize("values", [(-1e-5, 0.1, 1e-5), (1e-5, -0.1, 1e-5), (1e-5, 0.1, 0.0)])
def test_settings_are_checked(values):
    with pytest.raises(ValueError, match=r"must be (at least|greater than) 0 and finite"):
        Dynamics(*values)
