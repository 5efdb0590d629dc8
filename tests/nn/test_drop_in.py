"""Layers and cells take what torch's own take: no state, plain tuples, and sequences without a batch."""

import copy
import pickle
import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from refrain.nn import (
    GRU,
    LSTM,
    AdaptiveHead,
    Bidirectional,
    Embedding,
    LSTMCell,
    LSTMState,
    MixtureHead,
    MultiplicativeLSTM,
    RecurrentStack,
    SoftmaxHead,
    SparseLSTM,
    VariationalDropout,
    WeightDropout,
    plan_blocks,
)
from refrain.nn.kernels.backend import Backend

T, B, I, H = 5, 3, 4, 6  # noqa: E741 - as in the laws

LAYERS = {
    "LSTM": lambda: LSTM(I, H),
    "GRU": lambda: GRU(I, H),
    "MultiplicativeLSTM": lambda: MultiplicativeLSTM(I, H),
    "SparseLSTM": lambda: SparseLSTM(plan_blocks(I, H, blocks=2, density=0.5)),
}


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("method", ["forward", "step"])
def test_layers_without_a_state_and_without_a_batch(name, method):
    layer = LAYERS[name]()
    compute = getattr(layer, method)
    inputs = drawn(T, B, I) if method == "forward" else drawn(B, I)
    state = type(layer.initial_state(B))(*(drawn(B, H) for _ in layer.initial_state(B)))
    zeros = compute(inputs, layer.initial_state(B))
    for outputs, after in (compute(inputs), compute(inputs, None)):
        assert_close(outputs, zeros[0])
        assert_close(tuple(after), tuple(zeros[1]))
    expected, after = compute(inputs, state)
    for same in (tuple(state), list(state), *([state[0]] if len(state) == 1 else [])):
        assert_close(compute(inputs, same)[0], expected)
    alone, last = compute(inputs[..., 0, :], [part[0] for part in state])
    assert_close(alone, expected[..., 0, :])
    assert type(last) is type(after)
    assert_close(tuple(last), tuple(part[0] for part in after))


def test_a_cell_as_torch_takes_it():
    cell, theirs = LSTMCell(I, H), nn.LSTMCell(I, H)
    with torch.no_grad():
        theirs.weight_ih.copy_(cell.weight_ih)
        theirs.weight_hh.copy_(cell.weight_hh)
        theirs.bias_ih.copy_(cell.bias)
        theirs.bias_hh.zero_()
    x, state = drawn(B, I), (drawn(B, H), drawn(B, H))
    for arguments in ([x], [x, None], [x, state], [x[0]], [x[0], (state[0][0], state[1][0])]):
        output, after = cell(*arguments)
        hidden, inner = theirs(*arguments)
        assert_close((output, *after), (hidden, hidden, inner))
        assert isinstance(after, LSTMState)


def test_a_held_mask_is_found_inside_of_a_sequence_of_transforms():
    torch.manual_seed(1)
    held = WeightDropout(0.5, held=True)
    cell = LSTMCell(I, H, recurrent_transform=nn.Sequential(nn.Identity(), held)).train()
    x, state = drawn(B, I), (drawn(B, H), drawn(B, H))
    first, again = cell(x, state)[0], cell(x, state)[0]
    assert torch.equal(first, again)
    cell.resample()
    assert not torch.equal(cell(x, state)[0], first)
    with pytest.raises(ValueError, match=r"resample\(\) is for held masks"):
        LSTMCell(I, H, recurrent_transform=nn.Sequential(nn.Identity())).resample()


@pytest.mark.parametrize("name", LAYERS)
def test_a_packed_sequence_is_refused_with_the_remedy(name):
    packed = nn.utils.rnn.pack_sequence([drawn(T, I), drawn(2, I)])
    layer = LAYERS[name]()
    for refused in (lambda: layer(packed), lambda: Bidirectional(LAYERS[name](), layer)(packed, [T, 2])):
        with pytest.raises(
            ValueError, match=r"inputs must be a tensor \(T, B, I\) \(got PackedSequence\); pad .* lengths$"
        ):
            refused()


def test_lengths_as_a_list():
    layer = Bidirectional(LSTM(I, H), LSTM(I, H))
    assert torch.equal(layer(drawn(T, 2, I), [T, 2]), layer(drawn(T, 2, I), torch.tensor([T, 2])))
    with pytest.raises(ValueError, match=r"inputs must be a tensor \(got list\)$"):
        LSTM(I, H).step([1.0])


def test_a_stack_without_a_state():
    stack = RecurrentStack([LSTM(I, H), GRU(H, H)])
    for compute, inputs in ((stack, drawn(T, B, I)), (stack.step, drawn(B, I))):
        found, wanted = compute(inputs), compute(inputs, stack.initial_state(B))
        assert_close(found, wanted)
        alone = compute(inputs[..., 0, :])[0]
        assert_close(alone, wanted[0][..., 0, :])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("native", [False, True])
def test_outputs_changed_in_place_leave_the_state(name, native):
    layer = LAYERS[name]()
    layer.backend = Backend(native=native)
    outputs, state = layer(drawn(T, B, I))
    before = [part.clone() for part in state]
    nn.functional.dropout(outputs, 0.5, inplace=True)
    assert_close(list(state), before, rtol=0, atol=0)
    with torch.no_grad():
        outputs, state = layer.eval()(drawn(T, B, I))
        before = [part.clone() for part in state]
        outputs.zero_()
    assert_close(list(state), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", LAYERS)
def test_the_parts_of_the_first_state_are_tensors_of_their_own(name):
    first, *others = LAYERS[name]().initial_state(B)
    first.fill_(1.0)
    assert all(not part.any() for part in others)


@pytest.mark.parametrize("name", LAYERS)
def test_a_step_of_an_empty_batch(name):
    outputs, state = LAYERS[name]().step(torch.zeros(0, I))
    assert outputs.shape == (0, H) and all(part.shape == (0, H) for part in state)
    assert LSTMCell(I, H)(torch.zeros(0, I))[0].shape == (0, H)
    with pytest.raises(ValueError, match="inputs have no step"):
        LAYERS[name]()(torch.zeros(0, B, I))


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "SparseLSTM"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_layers_in_an_exported_program(name, training, strict):
    class Window(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = LAYERS[name]()

        def forward(self, inputs):
            return self.layer(inputs)[0]

    window = Window().train(training)
    program = torch.export.export(window, (drawn(T, B, I),), strict=strict)
    other = drawn(T, B, I) + 1
    assert_close(program.module()(other), window(other))


def test_a_mask_drawn_in_inference_mode_serves_a_later_training():
    cell = LSTMCell(I, H, recurrent_transform=WeightDropout(0.5, held=True))
    dropout = VariationalDropout(0.5)
    with torch.inference_mode():
        before = cell(dropout(drawn(B, I)))[0].clone()
    outputs, _ = cell(dropout(drawn(B, I)))
    assert_close(outputs, before)
    outputs.sum().backward()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="the state has 1 tensor, the layer expects 2: hidden, cell"):
        LSTM(I, H)(drawn(T, B, I), drawn(B, H))
    with pytest.raises(ValueError, match="inputs have 1 dimension, the layer expects 3, or 2 without a batch"):
        LSTM(I, H)(drawn(I))
    with pytest.raises(ValueError, match="the state has shape"):
        LSTMCell(I, H)(drawn(B, I), (drawn(B + 1, H), drawn(B + 1, H)))


@pytest.mark.parametrize("method", ["forward", "step"])
@pytest.mark.parametrize("name", LAYERS)
def test_inputs_and_state_of_another_dtype_are_refused(name, method):
    layer = LAYERS[name]()
    call, shape = getattr(layer, method), (T, B, I) if method == "forward" else (B, I)
    inputs, state = drawn(*shape), layer.initial_state(B)
    with pytest.raises(ValueError, match=r"inputs have dtype torch.bfloat16, state or weights torch.float32; convert"):
        call(inputs.bfloat16(), state)
    with pytest.raises(ValueError, match=r"inputs have dtype torch.float32, state or weights torch.float64"):
        call(inputs, [part.double() for part in state])


@pytest.mark.parametrize("held", [LSTM, GRU, LSTMCell])
def test_a_state_dict_with_a_held_mask_fits_a_plain_layer_and_back(held):
    masked = held(I, H, recurrent_transform=WeightDropout(0.5, held=True))
    masked(drawn(B, I) if held is LSTMCell else drawn(T, B, I))
    state_dict = copy.deepcopy(masked.state_dict())
    assert state_dict["recurrent_transform.held.mask"].numel()
    plain = held(I, H)
    plain.load_state_dict(state_dict)
    assert_close(plain.weight_hh, masked.weight_hh)
    # the caller's dict keeps its mask
    assert "recurrent_transform.held.mask" in state_dict
    again = held(I, H, recurrent_transform=WeightDropout(0.5, held=True))
    again.load_state_dict(plain.state_dict())
    assert_close(again.weight_hh, masked.weight_hh)
    again.load_state_dict(state_dict)
    assert_close(again.recurrent_transform.held.mask, masked.recurrent_transform.held.mask)
    inside = nn.ModuleList([held(I, H)])
    inside.load_state_dict({f"0.{name}": value for name, value in state_dict.items()})
    with pytest.raises(RuntimeError, match="Unexpected"):
        plain.load_state_dict(state_dict | {"recurrent_transform.other.mask": torch.zeros(1)})


def test_masks_of_a_multiplicative_lstm_are_left_out():
    masked = MultiplicativeLSTM(I, H, transforms={"weight_hm": WeightDropout(0.5, held=True)})
    masked(drawn(T, B, I))
    MultiplicativeLSTM(I, H).load_state_dict(masked.state_dict())


def test_the_sizes_are_printed():
    assert repr(LSTM(5, 6)).startswith("LSTM(\n  5, 6")
    assert repr(MultiplicativeLSTM(5, 6, intermediate_size=7)).startswith(
        "MultiplicativeLSTM(\n  5, 6, intermediate_size=7"
    )
    assert "5, 6, cell_clip=3.0" in repr(LSTMCell(5, 6, cell_clip=3.0))
    assert repr(Embedding(9, 4)) == "Embedding(9, 4)"
    assert repr(SoftmaxHead(4, 9)) == "SoftmaxHead(4, 9)"
    assert repr(SoftmaxHead(4, 9, weight=Embedding(9, 4).weight)) == "SoftmaxHead(4, 9, tied)"
    assert repr(MixtureHead(5, 4, 9, components=3)).startswith("MixtureHead(\n  5, 4, 9, components=3")
    assert repr(AdaptiveHead(16, 9, cutoffs=[3, 6])).startswith("AdaptiveHead(\n  16, 9, cutoffs=[3, 6]")
    assert "rate=0.5" in repr(VariationalDropout(0.5))


def test_layers_are_copied_and_pickled_as_before():
    layer = pickle.loads(pickle.dumps(LSTM(I, H)))
    assert_close(copy.deepcopy(layer)(drawn(T, B, I))[0], layer(drawn(T, B, I))[0])


def test_a_module_in_place_between_layers_leaves_the_state():
    torch.manual_seed(1)
    stack = RecurrentStack([LSTM(I, H), GRU(H, H), LSTM(H, H)], between=nn.ReLU(inplace=True)).eval()
    inputs, state = torch.randn(T, B, I), None
    wanted, after = stack(inputs)
    for step, x in enumerate(inputs):
        y, state = stack.step(x, state)
        assert_close(y, wanted[step])
    assert_close(state, after)


def test_resets_are_checked_and_clear_any_state():
    stack = RecurrentStack([LSTM(I, H)])
    inputs, resets = torch.randn(T, B, I), torch.zeros(T, B, dtype=torch.bool)
    for wrong in (resets.long(), resets.float(), resets.T, resets[:-1], resets[:, :1]):
        with pytest.raises(ValueError, match=r"resets must be bool of shape \(5, 3\)"):
            stack(inputs, None, wrong)
    resets[0] = True
    broken = (LSTMState(torch.full((B, H), torch.nan), torch.full((B, H), torch.inf)),)
    assert_close(stack(inputs, broken, resets)[0], stack(inputs)[0])


class Narrower(nn.Module):
    def forward(self, weight):
        return weight[:, :2]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: LSTM(I, H, input_transform=Narrower()), "input_transform"),
        (lambda: LSTM(I, H, recurrent_transform=Narrower()), "recurrent_transform"),
        (lambda: LSTMCell(I, H, recurrent_transform=Narrower()), "recurrent_transform"),
        (lambda: GRU(I, H, input_transform=Narrower()), "input_transform"),
        (lambda: GRU(I, H, recurrent_transform=Narrower()), "recurrent_transform"),
        (lambda: MultiplicativeLSTM(I, H, transforms={"weight_mh": Narrower()}), "transforms['weight_mh']"),
    ],
)
def test_a_transform_that_changes_the_shape_is_refused(make, name):
    """torch's kernels of a CPU do not check shapes, and read what is beside the weight."""
    layer = make()
    inputs = torch.randn(B, I) if isinstance(layer, LSTMCell) else torch.randn(T, B, I)
    with pytest.raises(ValueError, match=re.escape(f"{name}: must keep the shape of the weight, [")):
        layer(inputs)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (lambda i, h: LSTM(i, h - 1), "block: must make an LSTM from 2 inputs to 3 units (got 2 and 2)"),
        (lambda i, h: LSTM(i + 1, h), "block: must make an LSTM from 2 inputs to 3 units (got 3 and 3)"),
        (lambda i, h: GRU(i, h), "block: must make an LSTM (got GRU)"),
    ],
)
def test_blocks_of_other_widths_are_refused(block, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SparseLSTM(plan_blocks(I, H, blocks=2, density=0.5), block=block)
