"""The loop: truncated backpropagation, loss scale, clipping, hooks, and what it does with numbers that are none."""

import math

import pytest
import torch

from refrain.errors import UserError
from refrain.models import LanguageModel
from refrain.nn import LSTM, Embedding, RecurrentStack, SoftmaxHead
from refrain.training import Hooks, NonFiniteError, Tally, train_round

V, T, B = 9, 6, 3


def model():
    torch.manual_seed(1)
    return LanguageModel(Embedding(V, 5), RecurrentStack([LSTM(5, 4)]), SoftmaxHead(4, V)).double()


def windows(count=3):
    ids = torch.randint(V, (count * T + 1, B), generator=torch.Generator().manual_seed(2))
    return [(ids[i * T : (i + 1) * T], ids[i * T + 1 : (i + 1) * T + 1]) for i in range(count)]


def train(net, *, rate=0.5, scale="sum-over-time", max_norm=None, hooks=None, tallies=(), text=None, accumulate=1):
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    return train_round(
        net,
        text or windows(),
        net.initial_state(B),
        optimizer,
        loss_scale=scale,
        max_norm=max_norm,
        hooks=hooks or Hooks(),
        tallies=tallies,
        accumulate=accumulate,
    )


def test_equals_truncated_backpropagation_written_out():
    """Each window's gradient goes no further back than its first step, its state does."""
    net, reference = model(), model()
    train(net)
    state = reference.initial_state(B)
    for inputs, targets in windows():
        outputs, state = reference.hidden(inputs, state)
        nats = -reference.head.log_probabilities(outputs.dropped).gather(-1, targets[..., None]).sum()
        reference.zero_grad()
        (nats / B).backward()
        with torch.no_grad():
            for parameter in reference.parameters():
                parameter -= 0.5 * parameter.grad
        state = tuple(type(part)(*(tensor.detach() for tensor in part)) for part in state)
    for (name, got), wanted in zip(net.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(got, wanted, msg=name)


def test_trains_where_the_caller_has_turned_gradients_off():
    net, reference = model(), model()
    train(reference)
    with torch.no_grad():
        train(net)
        assert not torch.is_grad_enabled()
    assert all(torch.equal(*pair) for pair in zip(net.parameters(), reference.parameters(), strict=True))


def test_an_update_can_take_the_mean_gradient_of_several_windows():
    """The state goes on from window to window; at the end, fewer windows than asked for make an update as well."""
    net, reference, tally = model(), model(), Tally()
    steps = []
    hooks = Hooks(after_step=[lambda window: steps.append(window.inputs)])
    train(net, text=windows(5), accumulate=2, hooks=hooks, tallies=[tally])
    state = reference.initial_state(B)
    pairs = windows(5)
    for group in (pairs[:2], pairs[2:4], pairs[4:]):
        reference.zero_grad()
        for inputs, targets in group:
            nats, _, state = reference(inputs, targets, tuple(type(part)(*map(torch.detach, part)) for part in state))
            (nats / B / len(group)).backward()
        with torch.no_grad():
            for parameter in reference.parameters():
                parameter -= 0.5 * parameter.grad
    for got, wanted in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(got, wanted)
    assert len(steps) == 3 and tally.tokens == 5 * T * B


def test_the_two_loss_scales_differ_by_the_steps_of_a_window():
    one, other = model(), model()
    train(one, rate=0.1, scale="sum-over-time", max_norm=0.6)
    # the mean over tokens is the sum over time over T, so rate and clip are T times and a T-th
    train(other, rate=0.1 * T, scale="mean-over-tokens", max_norm=0.6 / T)
    for got, wanted in zip(one.parameters(), other.parameters(), strict=True):
        # torch's clipping divides by the norm plus 1e-6, which is not the same share of both norms
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


def test_gradients_are_clipped_together():
    net = model()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    tally = Tally()
    train(net, rate=1.0, max_norm=0.25, text=windows(1), tallies=(tally,))
    moved = math.sqrt(
        sum(float((a - b.detach()).square().sum()) for a, b in zip(before, net.parameters(), strict=True))
    )
    assert tally.gradient_norm > 0.25
    # torch divides by the norm plus 1e-6
    assert moved == pytest.approx(0.25, rel=1e-4)


def test_tallies_count_nats_and_tokens():
    net, tally = model(), Tally()
    with torch.no_grad():
        wanted, state = 0.0, net.initial_state(B)
        for inputs, targets in windows():
            loss = net(inputs, targets, state)
            wanted, state = wanted + float(loss.nats), loss.state
    train(net, rate=1e-12, tallies=(tally,))
    assert tally.tokens == 3 * T * B
    assert tally.nats == pytest.approx(wanted, rel=1e-9)


def test_hooks_act_in_their_places():
    net, seen = model(), []
    weight = net.embedding.weight

    def before(window):
        seen.append(("before", weight.detach().clone(), weight.grad.clone()))
        weight.grad.zero_()

    def after(window):
        seen.append(("after", weight.detach().clone(), window.inputs, window.outputs))

    start = weight.detach().clone()
    train(net, hooks=Hooks(before_step=[before], after_step=[after]), text=windows(1))
    assert [entry[0] for entry in seen] == ["before", "after"]
    assert seen[0][2].abs().sum() > 0
    # before_step took the gradient away, so that the step left the embedding alone
    assert torch.equal(seen[1][1], start)
    assert seen[1][3].raw.shape == (T, B, 4)


def test_loss_terms_are_added_in_the_scale_of_the_loss():
    one, other = model(), model()
    penalty = Hooks(loss_terms=[lambda window: 0.3 * window.model.embedding.weight.square().sum()])
    train(one, rate=0.1, hooks=penalty, text=windows(1))
    train(other, rate=0.1, text=windows(1))
    start = model().embedding.weight
    # under plain SGD the penalty moves the weight by rate * 0.3 * 2 * weight more
    torch.testing.assert_close(one.embedding.weight, other.embedding.weight - 0.06 * start)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_none_stops_before_it_reaches_the_weights(bad):
    net = model()
    before = [parameter.detach().clone() for parameter in net.parameters()]
    with pytest.raises(NonFiniteError):
        train(net, hooks=Hooks(loss_terms=[lambda window: window.model.head.bias.sum() * bad]))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_each_group_of_parameters_keeps_its_rate_where_windows_are_accumulated():
    """The second group's rate is zero, and that of the first one differs from window to window."""
    net = model()
    first, *others = net.parameters()
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.5}, {"params": others, "lr": 0.0}])
    before = [parameter.detach().clone() for parameter in others]

    def text():
        for factor, window in zip((1, 3), windows(2), strict=True):
            optimizer.param_groups[0]["lr"] = 0.1 * factor
            yield window

    rates = []
    hooks = Hooks(after_step=[lambda window: rates.extend(group["lr"] for group in optimizer.param_groups)])
    options = {"loss_scale": "sum-over-time", "max_norm": None, "hooks": hooks, "accumulate": 2}
    train_round(net, text(), net.initial_state(B), optimizer, **options)
    assert rates == [pytest.approx(0.2), 0.0]
    assert all(torch.equal(*pair) for pair in zip(others, before, strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": "mean_over_tokens"}, "loss_scale: must be one of sum-over-time, mean-over-tokens (got 'mean_"),
        ({"scale": None}, "loss_scale: must be one of sum-over-time, mean-over-tokens (got None)"),
        ({"max_norm": -1.0}, "max_norm must be positive, or None (got -1.0)"),
        ({"max_norm": 0}, "max_norm must be positive, or None (got 0)"),
        ({"max_norm": math.nan}, "max_norm must be positive, or None (got nan)"),
        ({"accumulate": 0}, "accumulate must be at least 1 (got 0)"),
        ({"accumulate": 1.5}, "accumulate: must be a whole number (got 1.5)"),
    ],
)
def test_options_that_would_act_as_others(options, message):
    net, before = model(), model()
    with pytest.raises(UserError) as raised:
        train(net, **options)
    assert str(raised.value).startswith(message)
    assert all(map(torch.equal, net.parameters(), before.parameters()))
