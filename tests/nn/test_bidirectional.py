"""Two directions over padded batches: equal to torch's packed form, and blind to padding and neighbours."""

import pytest
import torch

from refrain.nn import GRU, LSTM, Bidirectional, CharacterFeatures
from refrain.nn.recurrent.bidirectional import reversed_within
from refrain.nn.recurrent.packed_bidirectional import PackedBidirectional

T, B, I, H = 7, 4, 5, 3  # noqa: E741
LENGTHS = torch.tensor([7, 1, 4, 6])


def case(cell=LSTM):
    torch.manual_seed(1)
    layer = Bidirectional(cell(I, H), cell(I, H)).double()
    return layer, torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)


def there():
    return torch.arange(T)[:, None] < LENGTHS


def test_sequences_are_turned_within_their_lengths():
    inputs = torch.arange(T * B).view(T, B)
    turned = reversed_within(inputs, LENGTHS)
    assert turned[:, 0].tolist() == inputs[:, 0].flip(0).tolist()
    assert turned[:, 1].tolist() == inputs[:, 1].tolist()
    assert turned[:, 2].tolist() == [*inputs[:4, 2].flip(0).tolist(), *inputs[4:, 2].tolist()]
    assert torch.equal(reversed_within(turned, LENGTHS), inputs)


def test_equals_torchs_packed_lstm_with_all_gradients():
    layer, inputs = case()
    theirs = torch.nn.LSTM(I, H, bidirectional=True).double()
    with torch.no_grad():
        for own, suffix in ((layer.ahead, ""), (layer.back, "_reverse")):
            getattr(theirs, f"weight_ih_l0{suffix}").copy_(own.weight_ih)
            getattr(theirs, f"weight_hh_l0{suffix}").copy_(own.weight_hh)
            getattr(theirs, f"bias_ih_l0{suffix}").copy_(own.bias)
            getattr(theirs, f"bias_hh_l0{suffix}").zero_()
    packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, LENGTHS, enforce_sorted=False)
    wanted, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0])
    got = layer(inputs, LENGTHS)
    torch.testing.assert_close(got[there()], wanted[there()])
    cotangent = torch.randn_like(got) * there()[..., None]
    ours = torch.autograd.grad((got * cotangent).sum(), [inputs, *layer.parameters()])
    own = [
        getattr(theirs, f"{name}_l0{suffix}")
        for suffix in ("", "_reverse")
        for name in ("weight_ih", "weight_hh", "bias_ih")
    ]
    for one, other in zip(ours, torch.autograd.grad((wanted * cotangent).sum(), [inputs, *own]), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_padding_and_neighbours_do_not_matter(cell):
    layer, inputs = case(cell)
    whole = layer(inputs, LENGTHS)
    other = torch.where(there()[..., None], inputs, torch.full_like(inputs, 9.0))
    torch.testing.assert_close(layer(other, LENGTHS)[there()], whole[there()])
    for column, length in enumerate(LENGTHS.tolist()):
        alone = layer(inputs[:length, column : column + 1], torch.tensor([length]))
        torch.testing.assert_close(alone[:, 0], whole[:length, column])


def test_directions_of_unlike_widths_are_refused():
    with pytest.raises(ValueError, match=r"same widths, got \(5, 3\) and \(5, 4\)"):
        Bidirectional(LSTM(5, 3), LSTM(5, 4))


def test_directions_of_unlike_classes_are_refused():
    with pytest.raises(ValueError, match="layers of one class, got LSTM and GRU"):
        Bidirectional(LSTM(5, 3), GRU(5, 3))


@pytest.mark.parametrize(
    ("lengths", "cause"),
    [
        ([7, 0, 4, 6], r"lengths must be in 1 to 7 steps \(got 0 to 7\)"),
        ([7, 1, -2, 6], r"\(got -2 to 7\)"),
        ([7, 1, 8, 6], r"\(got 1 to 8\)"),
        ([7, 1, 4], r"whole numbers of shape \(4,\), one for each sequence \(got int64 of shape \(3,\)\)"),
        ([[7], [1], [4], [6]], r"\(got int64 of shape \(4, 1\)\)"),
        ([7.0, 1.0, 4.0, 6.0], r"\(got float32 of shape \(4,\)\)"),
        ([True, True, True, True], r"\(got bool of shape \(4,\)\)"),
    ],
    ids=str,
)
def test_lengths_that_no_sequence_has_are_refused(lengths, cause):
    layer, inputs = case()
    packed = PackedBidirectional(layer.float().eval(), "float32")
    for each in (layer, packed):
        with pytest.raises(ValueError, match=cause) as refused:
            each(inputs.float(), torch.tensor(lengths))
        assert "\n" not in str(refused.value)


def test_character_features_are_the_sum_of_their_vectors_with_all_gradients():
    torch.manual_seed(1)
    layer = CharacterFeatures(6, 3).double()
    # a word may have a feature twice
    ids = torch.tensor([[[0, 1, 1], [5, 4, 0]]])
    got, wanted = layer(ids), torch.nn.functional.embedding(ids, layer.weight).sum(dim=-2)
    torch.testing.assert_close(got, wanted)
    cotangent = torch.randn_like(wanted)
    gradients = [torch.autograd.grad((each * cotangent).sum(), layer.weight)[0] for each in (got, wanted)]
    torch.testing.assert_close(*gradients)
    with pytest.raises(ValueError, match="must be positive"):
        CharacterFeatures(0, 3)


def test_no_sequences():
    layer = Bidirectional(LSTM(3, 4), LSTM(3, 4))
    assert layer(torch.randn(5, 0, 3), []).shape == (5, 0, 8)
