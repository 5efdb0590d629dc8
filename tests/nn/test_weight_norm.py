"""Weight norm: g * v / |v| for each row, under every cell, and folded into plain weights."""

import copy

import pytest
import torch
from torch import nn

from refrain.nn import GRU, LSTM, LSTMCell, MultiplicativeLSTM, WeightDropout, WeightNorm, fold_weight_norm

H, I, T, B = 4, 5, 6, 3  # noqa: E741

CELLS = {
    "LSTM": lambda: LSTM(I, H, input_transform=WeightNorm(4 * H), recurrent_transform=WeightNorm(4 * H)),
    "GRU": lambda: GRU(I, H, input_transform=WeightNorm(3 * H), recurrent_transform=WeightNorm(3 * H)),
    "MultiplicativeLSTM": lambda: MultiplicativeLSTM(
        I,
        H,
        transforms={
            "weight_im": WeightNorm(H),
            "weight_hm": nn.Sequential(WeightNorm(H), WeightDropout(0.0)),
            "weight_ih": WeightNorm(4 * H),
            "weight_mh": WeightNorm(4 * H),
        },
    ),
}


@pytest.fixture(params=CELLS)
def layer(request):
    torch.manual_seed(1)
    return CELLS[request.param]()


def test_an_lstm_cell_folds_too():
    torch.manual_seed(1)
    cell = LSTMCell(I, H, recurrent_transform=WeightNorm(4 * H))
    x, state = torch.randn(B, I), cell.initial_state(B)
    drawn = cell.weight_hh.norm(dim=1)
    torch.testing.assert_close(cell.recurrent_transform.gain, drawn)
    with torch.no_grad():
        cell.recurrent_transform.gain.mul_(2)
    wanted, _ = cell(x, cell(x, state)[1])
    fold_weight_norm(cell)
    torch.testing.assert_close(cell(x, cell(x, state)[1])[0], wanted)


def test_each_row_has_the_gain_as_its_norm():
    norm, weight = WeightNorm(3), torch.randn(3, 7)
    with torch.no_grad():
        norm.gain.copy_(torch.tensor([0.5, 2.0, -1.0]))
    used = norm(weight)
    torch.testing.assert_close(used.norm(dim=1), norm.gain.abs())
    torch.testing.assert_close(used[2] / used[2].norm(), -weight[2] / weight[2].norm())


def test_the_gradient_of_the_directions_is_at_right_angles_to_them():
    norm, weight = WeightNorm(3).double(), torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    (norm(weight) * torch.randn(3, 7, dtype=torch.float64)).sum().backward()
    torch.testing.assert_close((weight.grad * weight).sum(dim=1), torch.zeros(3, dtype=torch.float64))
    assert torch.autograd.gradcheck(norm, (weight,))


@pytest.mark.parametrize("scale", [1e-4, 16.0])
def test_norms_of_half_precision_neither_vanish_nor_overflow(scale):
    norm = WeightNorm(1).half()
    torch.nn.init.constant_(norm.gain, 4.0)
    weight = torch.full((1, 256), scale, dtype=torch.float16)
    torch.testing.assert_close(norm(weight), torch.full((1, 256), 0.25, dtype=torch.float16), rtol=2e-2, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_row_of_zeros_stays_zero(dtype):
    zeros = torch.zeros(1, 4, dtype=dtype)
    assert torch.equal(WeightNorm(1).to(dtype)(zeros), zeros)


def test_a_fresh_layer_computes_what_its_drawn_weights_say(layer):
    plain = copy.deepcopy(layer)
    fold_weight_norm(plain)
    for (name, one), (_, other) in zip(
        [(n, p) for n, p in layer.named_parameters() if "transform" not in n], plain.named_parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, msg=name)


def test_folding_keeps_the_function_and_leaves_plain_weights(layer):
    with torch.no_grad():
        for parameter in layer.parameters():
            nn.init.normal_(parameter)
    inputs = torch.randn(T, B, I)
    wanted, _ = layer(inputs, layer.initial_state(B))
    assert any(name.endswith("gain") for name in layer.state_dict())
    fold_weight_norm(layer)
    torch.testing.assert_close(layer(inputs, layer.initial_state(B))[0], wanted)
    assert not any(name.endswith("gain") for name in layer.state_dict())
    assert set(layer.state_dict()) == set(layer.axes("input", "hidden"))


def test_the_gains_are_declared_as_axes(layer):
    assert set(layer.axes("input", "hidden")) == {name for name, _ in layer.named_parameters()}


class Own(nn.Module):
    """A layer of the user's own, whose weight norm has gains of its own and is not among `transforms`."""

    def __init__(self):
        super().__init__()
        self.weight, self.norm = nn.Parameter(torch.randn(H, I)), WeightNorm(H)

    def forward(self, inputs):
        return inputs @ self.norm(self.weight).T


def test_folding_leaves_what_it_does_not_know():
    torch.manual_seed(1)
    layer, inputs = nn.Sequential(Own(), LSTM(H, H, recurrent_transform=WeightNorm(4 * H))), torch.randn(T, B, I)
    before = layer(inputs)[0]
    fold_weight_norm(layer)
    torch.testing.assert_close(layer(inputs)[0], before)
    assert isinstance(layer[0].norm, WeightNorm) and isinstance(layer[1].recurrent_transform, nn.Identity)


@pytest.mark.parametrize("shape", [(H,), (H, I, 2), (H + 1, I)])
def test_a_weight_that_does_not_fit(shape):
    with pytest.raises(ValueError, match=rf"WeightNorm\({H}\) needs a matrix"):
        WeightNorm(H)(torch.ones(shape))
