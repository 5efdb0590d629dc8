"""The window scan's memory: windows that are open together, dropped ones, buffers that are used again."""

import copy

import pytest
import torch

from refrain.nn import MultiplicativeLSTM, multiplicative_lstm_step, scan
from refrain.nn.kernels.workspace import BufferPool

H, I, T, B = 4, 5, 6, 3  # noqa: E741


@pytest.fixture
def layer():
    torch.manual_seed(1)
    return MultiplicativeLSTM(I, H).double()


def window(seed, steps=T):
    return torch.randn(steps, B, I, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def reference(layer, inputs, state):
    weights = layer.weight_im, layer.weight_hm, layer.weight_ih, layer.weight_mh, layer.bias
    return scan(lambda x, before: multiplicative_lstm_step(x, before, *weights), inputs, state)


def test_two_windows_open_at_once_keep_their_memory_apart(layer):
    one, other = window(1), window(2)
    loss = sum(layer(inputs, layer.initial_state(B))[0].pow(3).sum() for inputs in (one, other))
    wanted = sum(reference(layer, inputs, layer.initial_state(B))[0].pow(3).sum() for inputs in (one, other))
    for got, expected in zip(
        torch.autograd.grad(loss, list(layer.parameters())),
        torch.autograd.grad(wanted, list(layer.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(got, expected)


def test_windows_of_any_length_after_one_another(layer):
    for seed, steps in enumerate((6, 2, 9, 1, 6)):
        inputs = window(seed, steps)
        got = torch.autograd.grad(layer(inputs, layer.initial_state(B))[0].pow(2).sum(), list(layer.parameters()))
        wanted = torch.autograd.grad(
            reference(layer, inputs, layer.initial_state(B))[0].pow(2).sum(), list(layer.parameters())
        )
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one, other)


def test_a_gradient_across_windows(layer):
    inputs = window(1)
    first, middle = layer(inputs[:2], layer.initial_state(B))
    second, _ = layer(inputs[2:], middle)
    wanted, _ = reference(layer, inputs, layer.initial_state(B))
    for one, other in zip(
        torch.autograd.grad(second.sum() + first[0].sum(), list(layer.parameters())),
        torch.autograd.grad(wanted[2:].sum() + wanted[0].sum(), list(layer.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_a_second_backward_pass_is_refused(layer):
    loss = layer(window(1), layer.initial_state(B))[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="released by an earlier backward pass"):
        loss.backward()


def test_a_second_derivative_is_refused(layer):
    inputs = window(1).requires_grad_()
    loss = layer(inputs, layer.initial_state(B))[0].sum()
    with pytest.raises(RuntimeError, match=r"no second derivative; .* with refrain\.nn\.scan\(layer\.step"):
        torch.autograd.grad(loss, inputs, create_graph=True)
    plain, _ = scan(layer.step, inputs, layer.initial_state(B))
    (gradient,) = torch.autograd.grad(plain.sum(), inputs, create_graph=True)
    assert torch.autograd.grad(gradient.sum(), inputs)[0].abs().sum() > 0


def test_evaluation_remembers_nothing_and_gives_the_same(layer):
    inputs = window(1)
    wanted, after = layer(inputs, layer.initial_state(B))
    with torch.no_grad():
        got, end = layer(inputs, layer.initial_state(B))
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(end.cell, after.cell)
    torch.testing.assert_close(end.hidden, after.hidden)


def test_a_copy_of_a_layer_has_memory_of_its_own(layer):
    layer(window(1), layer.initial_state(B))[0].sum().backward()
    twin = copy.deepcopy(layer)
    assert twin._pool is not layer._pool and not twin._pool._free and layer._pool._free
    assert not copy.copy(layer._pool)._free


def test_a_layer_that_changed_its_type_leaves_no_old_memory_behind(layer):
    layer(window(1), layer.initial_state(B))[0].sum().backward()
    layer.float()
    layer(window(1).float(), layer.initial_state(B))[0].sum().backward()
    assert {free.dtype for free in layer._pool._free} == {torch.float32}


def test_under_autocast_the_state_stays_float32():
    torch.manual_seed(1)
    layer = MultiplicativeLSTM(I, H)
    inputs = torch.randn(T, B, I)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, after = layer(inputs, layer.initial_state(B))
    assert outputs.dtype == after.cell.dtype == torch.float32
    torch.testing.assert_close(outputs, layer(inputs, layer.initial_state(B))[0], atol=2e-2, rtol=2e-2)
    outputs.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_buffers_are_used_again():
    pool, like = BufferPool(keep=2), torch.zeros(1)
    first = pool.allocate((2, 3), like)
    place = first.data_ptr()
    pool.release([first])
    assert pool.allocate((4,), like).data_ptr() == place
    assert pool.allocate((4,), like).data_ptr() != place
    pool.release([like.new_empty(n) for n in (1, 2, 3)])
    assert [free.numel() for free in pool._free] == [2, 3]
