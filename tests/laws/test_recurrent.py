"""What every recurrent layer keeps, with random weights, odd sizes and a state that is not zero."""

from functools import partial

import pytest
import torch
from table import RECURRENT, STEPS, B, H, I, T

import refrain.nn
from refrain import testing
from refrain.axes import Axis
from refrain.nn import GRU, LSTM, MultiplicativeLSTM, RecurrentStack, plan_blocks, scan
from refrain.nn.recurrent.protocol import state_like, state_tensors
from refrain.testing import recurrent_case


@pytest.fixture(params=RECURRENT)
def name(request):
    return request.param


@pytest.fixture
def case(name):
    """A layer with random weights, inputs and state, all in float64 and all with gradients."""
    torch.manual_seed(1)
    return recurrent_case(RECURRENT[name]())


def gradients(outputs, state, leaves):
    """Gradients under random cotangents: with all-ones weights or a plain sum, swapped gates can go unseen."""
    generator = torch.Generator().manual_seed(2)
    results = [outputs, *state_tensors(state)]
    total = sum((r * torch.randn(r.shape, generator=generator, dtype=r.dtype)).sum() for r in results)
    return torch.autograd.grad(total, leaves)


def test_the_table_holds_every_exported_layer():
    layers = {
        name
        for name in dir(refrain.nn)
        if hasattr(getattr(refrain.nn, name), "initial_state") and hasattr(getattr(refrain.nn, name), "axes")
    } - {"RecurrentStack", "RecurrentLayer", "LSTMCell"}
    assert layers == {name.partition(",")[0] for name in RECURRENT}
    assert set(RECURRENT) == set(STEPS)


def test_layer_equals_the_step_of_the_paper_with_all_gradients(name, case):
    testing.check_window_equals_steps(case, STEPS[name](case.layer))


LAWS = [
    testing.check_window_equals_steps,
    testing.check_two_windows_equal_one,
    testing.check_batch_entries_are_independent,
    testing.check_evaluation_is_deterministic,
    testing.check_state_is_passed,
    testing.check_wrong_shapes_are_refused,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(law, case):
    attributes = set(vars(case.layer))
    law(case)
    assert set(vars(case.layer)) == attributes


def test_a_long_window_is_finite(name):
    testing.check_long_window_is_finite(lambda *sizes: RECURRENT[name](), input_size=I, hidden_size=H)


def test_a_restored_layer_continues(name):
    testing.check_state_dict_restores_the_layer(lambda *sizes: RECURRENT[name](), input_size=I, hidden_size=H)


RESIZED = {
    "LSTM": LSTM,
    "GRU": GRU,
    "GRU, two biases": partial(GRU, recurrent_bias=True),
    "MultiplicativeLSTM": partial(MultiplicativeLSTM, intermediate_size=6),
}


@pytest.mark.parametrize("cell", RESIZED)
def test_a_layer_from_outside_would_pass_all_laws(cell):
    testing.check_recurrent_layer(RESIZED[cell])


def test_windows_that_do_not_fit_are_refused(case):
    layer, inputs, state = case
    with pytest.raises(ValueError, match=f"inputs have width {I + 4}, the layer expects {I}"):
        layer(torch.zeros(T, B, I + 4, dtype=torch.float64), state)
    with pytest.raises(ValueError, match=r"the state has shape \(1, 4\), the inputs need \(3, 4\)"):
        layer(inputs, layer.initial_state(1))
    with pytest.raises(ValueError, match="the state has shape"):
        layer.step(inputs[0], layer.initial_state(B + 1))


def whole(name):
    """Whether every axis runs along all of a width; units of different blocks cannot change places."""
    return all(axis.segment is None for axes in RECURRENT[name]().axes("input", "hidden").values() for axis in axes)


def test_permuting_the_units_of_a_width_permutes_the_outputs(name, case):
    layer, inputs, state = case
    if not whole(name):
        pytest.skip("its units belong to blocks")
    order = torch.randperm(H, generator=torch.Generator().manual_seed(3))
    wanted, _ = layer(inputs, state)
    permute(layer, layer.axes("input", "hidden"), "hidden", order)
    got, _ = layer(inputs, state_like(layer.initial_state(B), [part[:, order] for part in state_tensors(state)]))
    torch.testing.assert_close(got, wanted[:, :, order])


def test_permuting_the_inputs_changes_nothing(name, case):
    layer, inputs, state = case
    if not whole(name):
        pytest.skip("its blocks see a part of the inputs each")
    order = torch.randperm(I, generator=torch.Generator().manual_seed(3))
    wanted, _ = layer(inputs, state)
    permute(layer, layer.axes("input", "hidden"), "input", order)
    torch.testing.assert_close(layer(inputs[:, :, order], state)[0], wanted)


def permute(module, table, width, order):
    """Reorder the units of one width along every axis that is declared to run along it."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            for dimension, axis in enumerate(table[name]):
                if axis.width == width:
                    size = len(order)
                    index = torch.cat([order + copy * size for copy in range(axis.copies)])
                    parameter.copy_(parameter.index_select(dimension, index))


TORCH = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "GRU, two biases": torch.nn.GRU}


@pytest.mark.parametrize("name", TORCH)
def test_layer_equals_torch_with_all_gradients(name, case):
    layer, inputs, state = case
    theirs = TORCH[name](I, H).double()
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(layer.weight_ih)
        theirs.weight_hh_l0.copy_(layer.weight_hh)
        theirs.bias_ih_l0.copy_(layer.bias)
        theirs.bias_hh_l0.zero_()
        if second := getattr(layer, "bias_hn", None) is not None:
            theirs.bias_hh_l0[2 * H :] = layer.bias_hn
    parts = [part[None] for part in state_tensors(state)]
    outputs, after = layer(inputs, state)
    wanted, wanted_after = theirs(inputs, tuple(parts) if len(parts) > 1 else parts[0])
    torch.testing.assert_close(outputs, wanted)
    end = state_like(state, [part[0] for part in state_tensors(wanted_after)])
    ours = [inputs, *state_tensors(state), layer.weight_ih, layer.weight_hh, layer.bias]
    others = [inputs, *state_tensors(state), theirs.weight_ih_l0, theirs.weight_hh_l0, theirs.bias_ih_l0]
    if second:
        ours.append(layer.bias_hn)
        others.append(theirs.bias_hh_l0)
    expected = list(gradients(wanted, end, others))
    if second:
        # the second bias of both gates is a part of the first one
        expected[-1] = expected[-1][2 * H :]
    for got, theirs_got in zip(gradients(outputs, after, ours), expected, strict=True):
        torch.testing.assert_close(got, theirs_got)


def test_a_recurrent_transform_is_applied_once_a_window_and_leaves_the_stored_weight():
    class Double(torch.nn.Module):
        calls = 0

        def forward(self, weight):
            self.calls += 1
            return 2 * weight

    torch.manual_seed(1)
    layer = LSTM(I, H, recurrent_transform=Double())
    stored = layer.weight_hh.detach().clone()
    inputs, state = torch.randn(T, B, I), layer.initial_state(B)
    outputs, _ = layer(inputs, state)
    assert layer.recurrent_transform.calls == 1
    assert torch.equal(layer.weight_hh, stored)
    plain = LSTM(I, H)
    plain.load_state_dict(layer.state_dict())
    with torch.no_grad():
        plain.weight_hh.mul_(2)
    torch.testing.assert_close(outputs, plain(inputs, state)[0])
    outputs.sum().backward()
    assert layer.weight_hh.grad is not None


def test_axes_are_declared_for_every_parameter(case):
    layer, _, _ = case
    table = layer.axes("input", "hidden")
    sizes = {"input": I, "hidden": H, "intermediate": 6}
    for name, parameter in layer.named_parameters():
        for length, axis in zip(parameter.shape, table[name], strict=True):
            begin, end, of = axis.segment or (0, sizes[axis.width], sizes[axis.width])
            assert length == (end - begin) * axis.copies and of == sizes[axis.width]
        assert all(isinstance(axis, Axis) for axis in table[name])


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0), (-1, 2)])
def test_widths_must_be_positive(name, sizes):
    # a sparse layer's widths are those of its plan
    make = partial(plan_blocks, blocks=1, density=1) if name == "SparseLSTM" else type(RECURRENT[name]())
    with pytest.raises(ValueError, match="positive"):
        make(*sizes)


def test_a_stack_is_its_layers_in_turn():
    torch.manual_seed(1)
    first, second = LSTM(I, H), LSTM(H, 6)
    stack = RecurrentStack([first, second])
    inputs, state = torch.randn(T, B, I), stack.initial_state(B)
    outputs, after = stack(inputs, state)
    middle, after_first = first(inputs, state[0])
    wanted, after_second = second(middle, state[1])
    assert torch.equal(outputs, wanted)
    for got, expected in zip(after, (after_first, after_second), strict=True):
        assert torch.equal(got.hidden, expected.hidden) and torch.equal(got.cell, expected.cell)
    with torch.no_grad():
        got, _ = scan(stack.step, inputs, state)
    torch.testing.assert_close(got, wanted)


def test_a_stack_drops_between_its_layers_and_nowhere_else():
    class Mark(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = []

        def forward(self, x):
            self.seen.append(x)
            return torch.zeros_like(x)

    torch.manual_seed(1)
    layers, mark = [LSTM(I, H), LSTM(H, 6), LSTM(6, 2)], Mark()
    stack = RecurrentStack(layers, between=mark)
    inputs = torch.randn(T, B, I)
    outputs, _ = stack(inputs, stack.initial_state(B))
    assert [tuple(x.shape) for x in mark.seen] == [(T, B, H), (T, B, 6)]
    assert torch.equal(mark.seen[0], layers[0](inputs, layers[0].initial_state(B))[0])
    # the last layer saw zeros, and what came out of it was not dropped
    assert torch.equal(outputs, layers[2](torch.zeros(T, B, 6), layers[2].initial_state(B))[0])
    assert outputs.abs().sum() > 0


def test_a_stack_refuses_layers_that_do_not_fit():
    with pytest.raises(ValueError, match="input width 3 cannot follow one of hidden width 4"):
        RecurrentStack([LSTM(2, 4), LSTM(3, 4)])
    with pytest.raises(ValueError, match="at least one"):
        RecurrentStack([])
