"""Dropout whose mask outlives a step, and weight drop."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from refrain.axes import removable
from refrain.models import LanguageModel, Tagger
from refrain.nn import (
    GRU,
    LSTM,
    Band,
    Bidirectional,
    BlockLowRankEmbedding,
    Dropout,
    Embedding,
    EmbeddingDropout,
    LockedDropout,
    LowRankBand,
    LSTMCell,
    MixtureHead,
    MultiplicativeLSTM,
    RecurrentStack,
    SparseEmbedding,
    VariationalDropout,
    WeightDropout,
    WeightNorm,
)
from refrain.nn.recurrent.lstm import LSTMState

T, B, D = 7, 3, 50


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(1)


@pytest.mark.parametrize("kind", [LockedDropout, VariationalDropout, EmbeddingDropout, WeightDropout])
@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.7, float("nan")])
def test_rates_are_checked(kind, rate):
    with pytest.raises(ValueError, match="at least 0 and less than 1"):
        kind(rate)


@pytest.mark.parametrize("rate", [-0.1, 1.7, float("nan")])
def test_the_rate_of_plain_dropout_is_checked(rate):
    with pytest.raises(ValueError, match=r"^dropout probability has to be between 0 and 1, but got "):
        Dropout(rate)
    assert (Dropout().p, Dropout(1).p, Dropout(0.3, inplace=True).inplace) == (0.5, 1, True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LSTM(4, 5, recurrent_transform=0.5), "recurrent_transform must be a module such as Weight"),
        (lambda: LSTM(4, 5, input_transform=0.0), r"input_transform must be a module such as WeightDropout\(0.5\)"),
        (lambda: GRU(4, 5, recurrent_transform=0.5), "recurrent_transform must be a module"),
        (lambda: LSTMCell(4, 5, recurrent_transform=WeightDropout), r"recurrent_transform .* the class type\)$"),
        (lambda: MultiplicativeLSTM(4, 5, transforms={"weight_hm": 0.5}), r"^transforms\['weight_hm'\] must be"),
        (lambda: MultiplicativeLSTM(4, 5, transforms=0.5), "^transforms must map names of weights to modules"),
        (lambda: RecurrentStack([LSTM(4, 5)], between=0.5), r"between must be a module such as LockedDropout\(0.5\)"),
        (lambda: MixtureHead(4, 5, 6, components=2, latent_dropout=0.5), "latent_dropout must be a module"),
        (lambda: Embedding(4, 5, word_dropout=0.5), r"word_dropout must be a module such as EmbeddingDropout\(0.1\)"),
        (lambda: SparseEmbedding(6, [Band(0, 5)], word_dropout=0.5), "word_dropout must be a module"),
        (
            lambda: BlockLowRankEmbedding(6, 5, [LowRankBand(0, 2), LowRankBand(3, 1)], word_dropout=0.5),
            "word_dropout must be a module",
        ),
        (lambda: LanguageModel(None, None, None, output_dropout=0.5), "output_dropout must be a module"),
        (lambda: Tagger(Embedding(4, 5), [bidirectional()], 3, between=0.5), "between must be a module"),
    ],
)
def test_a_rate_is_no_module(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def bidirectional():
    return Bidirectional(LSTM(5, 2), LSTM(5, 2))


def test_locked_dropout_has_one_mask_a_window_and_a_sequence():
    layer, ones = LockedDropout(0.4), torch.ones(T, B, D)
    out = layer(ones)
    assert (out == out[0]).all()
    assert not torch.equal(out[0, 0], out[0, 1])
    assert sorted(out.unique().tolist()) == pytest.approx([0.0, 1 / 0.6], rel=1e-4)
    assert not torch.equal(layer(ones), out)
    layer.eval()
    assert layer(ones) is ones


def test_masks_have_the_rate_and_keep_the_mean():
    # of n = 20,000 draws at rate p the share dropped has standard deviation sqrt(p (1 - p) / n) = 0.0033
    out = LockedDropout(0.3)(torch.ones(1, 100, 200))
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.017)
    assert out.mean().item() == pytest.approx(1.0, abs=0.024)


def test_variational_dropout_holds_its_mask_until_resampled():
    layer, ones = VariationalDropout(0.5), torch.ones(B, D)
    first = layer(ones)
    assert torch.equal(layer(ones), first)
    assert torch.equal(layer(torch.ones(T, B, D))[3], first)
    layer.resample()
    assert not torch.equal(layer(ones), first)
    with pytest.raises(ValueError, match=r"held mask is for shape \(3, 50\), the input needs \(4, 50\); call resample"):
        layer(torch.ones(4, D))
    layer.eval()
    assert torch.equal(layer(torch.ones(4, D)), torch.ones(4, D))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_held_mask_leaves_inputs_their_dtype(dtype):
    layer = VariationalDropout(0.5)
    first = layer(torch.ones(B, D))
    again = layer(torch.ones(B, D, dtype=dtype))
    assert again.dtype == dtype and torch.equal(again != 0, first != 0)
    held = WeightDropout(0.5, held=True)
    held(torch.ones(D, D))
    assert held(torch.ones(D, D, dtype=dtype)).dtype == dtype


def test_a_held_mask_survives_copy_and_state_dict():
    layer, ones = VariationalDropout(0.5), torch.ones(B, D)
    first = layer(ones)
    assert torch.equal(copy.deepcopy(layer)(ones), first)
    other = VariationalDropout(0.5)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(ones), first)
    fresh = VariationalDropout(0.5)
    other.load_state_dict(fresh.state_dict())
    assert not torch.equal(other(ones), first)


def test_embedding_dropout_drops_word_types_and_spares_no_row():
    embedding = Embedding(11, D, word_dropout=EmbeddingDropout(0.5))
    ids = torch.arange(11).repeat(4, 2)  # (4, 22): every word eight times
    dropped = torch.zeros(11)
    for _ in range(40):
        vectors = embedding(ids)
        share = (vectors / embedding.weight[ids]).detach()
        for word in range(11):
            factors = share[ids == word].unique().tolist()
            assert len(factors) == 1 and factors[0] in (0.0, pytest.approx(2.0))
            dropped[word] += factors[0] == 0.0
    # each of 11 words, the first and last among them, is dropped 20 times of 40 on average, deviation 3.2
    assert (dropped > 5).all() and (dropped < 35).all()
    embedding.eval()
    assert torch.equal(embedding(ids), embedding.weight[ids])


def test_weight_dropout_drops_entries_or_rows():
    weight = torch.ones(40, 60)
    entries = WeightDropout(0.5)(weight)
    assert set(entries.unique().tolist()) == {0.0, 2.0}
    assert (entries == 0).float().mean(1).min() > 0 and (entries == 0).float().mean(1).max() < 1
    rows = WeightDropout(0.5, granularity="row")(weight)
    assert set((rows == 0).float().mean(1).tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match="granularity"):
        WeightDropout(0.5, granularity="column")


@pytest.mark.parametrize("layer_type", [LSTM, GRU])
@pytest.mark.parametrize("place", ["input_transform", "recurrent_transform"])
class TestWeightDropInALayer:
    """What users of monkey-patched weight drop lost from one release of torch to the next."""

    def layer(self, layer_type, place, **options):
        return layer_type(5, 20, **{place: WeightDropout(0.5, **options)})

    def run(self, layer, steps=T):
        inputs = torch.randn(steps, B, 5, generator=torch.Generator().manual_seed(3))
        return layer(inputs, layer.initial_state(B))[0]

    def test_the_mask_changes_per_window_and_is_constant_over_time(self, layer_type, place):
        layer = self.layer(layer_type, place)
        name = {"input_transform": "weight_ih", "recurrent_transform": "weight_hh"}[place]
        torch.manual_seed(7)
        first = self.run(layer)
        assert not torch.equal(self.run(layer), first)
        # one mask for all steps: a plain layer that stores the masked weight gives the same window
        torch.manual_seed(7)
        plain = layer_type(5, 20)
        plain.load_state_dict(layer.state_dict())
        torch.manual_seed(7)
        with torch.no_grad():
            getattr(plain, name).copy_(getattr(layer, place)(getattr(layer, name)))
        torch.testing.assert_close(self.run(plain), first)

    def test_off_in_evaluation_and_back_again(self, layer_type, place):
        layer = self.layer(layer_type, place)
        plain = layer_type(5, 20)
        plain.load_state_dict(layer.state_dict())
        for _ in range(2):
            layer.train()
            assert not torch.equal(self.run(layer), self.run(layer))
            layer.eval()
            torch.testing.assert_close(self.run(layer), self.run(plain))

    def test_gradients_reach_the_stored_weight_through_kept_entries_only(self, layer_type, place):
        layer = self.layer(layer_type, place, held=True)
        stored = layer.weight_ih if place == "input_transform" else layer.weight_hh
        self.run(layer).square().sum().backward()
        mask = getattr(layer, place).held.mask
        assert (stored.grad[mask == 0] == 0).all()
        assert (stored.grad[mask != 0] != 0).all()

    def test_names_and_stored_weights_are_those_of_a_plain_layer(self, layer_type, place):
        layer = self.layer(layer_type, place)
        before = {name: value.clone() for name, value in layer.state_dict().items()}
        self.run(layer).sum().backward()
        assert list(before) == ["weight_ih", "weight_hh", "bias"]
        assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
        assert all(parameter.is_leaf for parameter in layer.parameters())

    def test_survives_deepcopy(self, layer_type, place):
        layer = self.layer(layer_type, place)
        twin = copy.deepcopy(layer)
        torch.manual_seed(5)
        first = self.run(layer)
        torch.manual_seed(5)
        assert torch.equal(self.run(twin), first)
        with torch.no_grad():
            twin.weight_hh.zero_()
        assert layer.weight_hh.abs().sum() > 0

    def test_gradient_in_evaluation_mode(self, layer_type, place):
        layer = self.layer(layer_type, place).eval()
        self.run(layer).sum().backward()
        assert layer.weight_hh.grad.abs().sum() > 0

    def test_bfloat16_autocast(self, layer_type, place):
        layer = self.layer(layer_type, place)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = self.run(layer)
        out.float().sum().backward()
        assert layer.weight_hh.dtype == torch.float32 and layer.weight_hh.grad.isfinite().all()


def test_autocast_without_a_kernel_of_the_processor_is_float32(monkeypatch):
    """On some processors torch.lstm raises under autocast; its products are then in float32."""
    monkeypatch.setattr("refrain.nn.recurrent.lstm.layer._autocast_is_supported", lambda dtype: False)
    layer = LSTM(5, 4)
    inputs, state = torch.randn(T, B, 5), layer.initial_state(B)
    wanted, _ = layer(inputs, state)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got, after = layer(inputs, state)
    assert {part.dtype for part in (got, *after)} == {torch.bfloat16}
    torch.testing.assert_close(got, wanted.bfloat16())


class TestLSTMCell:
    def test_a_plain_cell_is_the_layer_a_step_at_a_time(self):
        layer, cell = LSTM(5, 4).double(), LSTMCell(5, 4).double()
        cell.load_state_dict(layer.state_dict())
        inputs, state = torch.randn(T, B, 5, dtype=torch.float64), layer.initial_state(B)
        wanted, _ = layer(inputs, state)
        for x, expected in zip(inputs, wanted, strict=True):
            got, state = cell(x, state)
            torch.testing.assert_close(got, expected)

    def test_projection_equals_torch(self):
        cell, theirs = LSTMCell(5, 6, projection_size=4).double(), torch.nn.LSTM(5, 6, proj_size=4).double()
        with torch.no_grad():
            for name, value in (
                ("weight_ih_l0", cell.weight_ih), ("weight_hh_l0", cell.weight_hh), ("bias_ih_l0", cell.bias),
                ("bias_hh_l0", torch.zeros(24)), ("weight_hr_l0", cell.projection),
            ):  # fmt: skip
                getattr(theirs, name).copy_(value)
        inputs, state = torch.randn(T, B, 5, dtype=torch.float64), cell.initial_state(B)
        wanted, _ = theirs(inputs)
        for x, expected in zip(inputs, wanted, strict=True):
            got, state = cell(x, state)
            torch.testing.assert_close(got, expected)

    def test_forget_bias_peepholes_and_clips_by_hand(self):
        """One unit, one input; every weight 1, bias 0, x = 1, h = 0, c = 2, forget bias 1, cell clip 1.5."""
        cell = LSTMCell(1, 1, forget_bias=1.0, peepholes=True, cell_clip=1.5, projection_size=1, projection_clip=0.5)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.fill_(1.0)
            cell.bias.zero_()
        state = cell.initial_state(1)._replace(cell=torch.tensor([[2.0]]))
        out, after = cell(torch.ones(1, 1), state)
        sigmoid = lambda value: 1 / (1 + torch.exp(torch.tensor(-value)))  # noqa: E731
        # i = s(1 + 2), f = s(1 + 2 + 1), g = tanh 1: c = f * 2 + i * g = 2.689, clipped to 1.5; o = s(1 + 1.5)
        free = sigmoid(4.0) * 2 + sigmoid(3.0) * torch.tanh(torch.tensor(1.0))
        assert free > 1.5 and after.cell.item() == 1.5
        # o tanh(1.5) = 0.836, projected by 1 and clipped to 0.5
        assert (sigmoid(2.5) * torch.tanh(torch.tensor(1.5))).item() > 0.5 and out.item() == 0.5
        assert after.hidden is out

    def test_peepholes_look_at_the_cell_before_and_the_output_s_at_the_cell_after(self):
        """Gers & Schmidhuber (2000), written out gate by gate for one unit, free of clips."""
        torch.manual_seed(1)
        cell = LSTMCell(1, 1, peepholes=True).double()
        x, hidden, before = (torch.tensor([[value]], dtype=torch.float64) for value in (0.7, -0.4, 1.3))
        out, after = cell(x, LSTMState(hidden, before))
        weights = zip(cell.weight_ih[:, 0].tolist(), cell.weight_hh[:, 0].tolist(), cell.bias.tolist(), strict=True)
        i, f, g, o = (w * 0.7 + u * -0.4 + bias for w, u, bias in weights)
        p_i, p_f, p_o = cell.peephole[:, 0].tolist()
        sigmoid = lambda value: 1 / (1 + math.exp(-value))  # noqa: E731
        wanted = sigmoid(f + p_f * 1.3) * 1.3 + sigmoid(i + p_i * 1.3) * math.tanh(g)
        assert after.cell.item() == pytest.approx(wanted)
        assert out.item() == pytest.approx(sigmoid(o + p_o * wanted) * math.tanh(wanted))

    def test_fresh_masks_per_step_or_one_that_is_held(self):
        x, state = torch.randn(B, 5), None
        fresh = LSTMCell(5, 20, recurrent_transform=WeightDropout(0.5), input_transform=WeightDropout(0.5))
        state = fresh.initial_state(B)
        assert not torch.equal(fresh(x, state)[0], fresh(x, state)[0])
        held = LSTMCell(5, 20, input_transform=WeightDropout(0.5, held=True))
        first = held(x, state)[0]
        assert torch.equal(held(x, state)[0], first)
        held.resample()
        assert not torch.equal(held(x, state)[0], first)
        with pytest.raises(ValueError, match="held masks"):
            fresh.resample()
        with pytest.raises(ValueError, match="held mask"):
            WeightDropout(0.5).resample()

    def test_evaluation_drops_nothing(self):
        cell = LSTMCell(5, 20, input_transform=WeightDropout(0.9), recurrent_transform=WeightDropout(0.9)).eval()
        plain = LSTMCell(5, 20)
        plain.load_state_dict(cell.state_dict())
        x, state = torch.randn(B, 5), cell.initial_state(B)
        assert torch.equal(cell(x, state)[0], plain(x, state)[0])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"projection_clip": 1.0}, "cannot take effect"),
            ({"cell_clip": 0.0}, "cell_clip must be greater than 0"),
            ({"projection_size": 0}, "positive"),
        ],
    )
    def test_settings_are_checked(self, options, message):
        with pytest.raises(ValueError, match=message):
            LSTMCell(5, 4, **options)

    def test_axes_fit_the_shapes(self):
        norms = {"input_transform": WeightNorm(24), "recurrent_transform": WeightNorm(24)}
        cell = LSTMCell(5, 6, peepholes=True, projection_size=4, **norms)
        sizes = {"x": 5, "cell": 6, "out": 4, "gates": 3}
        table = cell.axes("x", "cell", "out")
        assert set(table) == {name for name, _ in cell.named_parameters()}
        for name, parameter in cell.named_parameters():
            assert tuple(parameter.shape) == tuple(sizes[axis.width] * axis.copies for axis in table[name])
        # the gates of the peepholes are three, whatever the widths
        assert removable(table) == ["cell", "x", "out"]


@pytest.mark.parametrize("rate", [0.0, 1e-6, 0.1, 0.5, 0.9, 0.999999])
@pytest.mark.parametrize("shape", [(1, 1), (3,), (7, 5), (400, 500)])
def test_masks_are_scaled_so_that_their_mean_is_one(rate, shape):
    from refrain.nn.dropout import dropout_mask

    mask = dropout_mask(shape, rate, torch.ones(1, dtype=torch.float64))
    assert mask.shape == torch.Size(shape) and mask.dtype == torch.float64
    kept = round((1 - min(rate, 1 - 2**-16)) * 2**16) / 2**16
    assert set(mask.unique().tolist()) <= {0.0, 1 / kept}
    if mask.numel() == 200_000:
        # n Bernoulli draws: the mean's standard deviation is sqrt((1 - kept) / (kept n))
        assert mask.mean().item() == pytest.approx(1.0, abs=1e-12 + 5 * ((1 - kept) / kept / 200_000) ** 0.5)
        # neighbours share a draw but no bits
        assert abs(torch.corrcoef(torch.stack([mask.flatten()[:-1], mask.flatten()[1:]]))[0, 1].nan_to_num()) < 0.02


def test_locked_dropout_refuses_a_single_step():
    """Without time, the mask would be one of the units alone, shared by the batch."""
    layer = LockedDropout(0.5)
    with pytest.raises(ValueError, match=r"needs inputs \(T, B, D\), got \(3, 50\)"):
        layer(torch.ones(B, D))
    assert layer.eval()(torch.ones(B, D)).shape == (B, D)


@pytest.mark.parametrize("inplace", [True, False])
def test_dropout_in_place(inplace):
    inputs = torch.ones(T, B, D)
    out = Dropout(0.5, inplace=inplace)(inputs)
    assert (out is inputs) == inplace and (out == 0).any()


class Block(nn.Module):
    """A held mask, and a fresh one after it."""

    def __init__(self):
        super().__init__()
        self.held, self.linear, self.fresh = VariationalDropout(0.5), nn.Linear(D, D), LockedDropout(0.5)

    def forward(self, inputs):
        return self.fresh(self.linear(self.held(inputs)))


def test_gradients_through_a_checkpoint_that_repeats_the_forward_pass():
    torch.manual_seed(1)
    block, inputs = Block(), torch.randn(T, B, D)
    block(inputs)
    gradients = []
    for repeated in (False, True):
        torch.manual_seed(2)
        block.held.resample()
        outputs = checkpoint(block, inputs, use_reentrant=False) if repeated else block(inputs)
        block.zero_grad()
        outputs.square().sum().backward()
        gradients.append(block.linear.weight.grad.clone())
    assert torch.equal(*gradients)


def test_a_mask_that_was_drawn_anew_fits_the_next_use():
    layer = VariationalDropout(0.5)
    layer(torch.ones(B, D))
    layer.resample()
    first = layer(torch.ones(B + 1, D))
    assert torch.equal(layer(torch.ones(B + 1, D)), first)
    with pytest.raises(ValueError, match="held mask is for shape"):
        layer(torch.ones(B, D))


def test_rows_of_a_weight_of_any_shape():
    layer = WeightDropout(0.5, granularity="row")
    torch.manual_seed(1)
    for shape in ((16,), (16, 4), (16, 4, 3)):
        weight = layer(torch.ones(shape))
        assert weight.shape == shape
        dropped = weight.reshape(16, -1) == 0
        assert 0 < dropped.all(dim=1).sum() < 16 and torch.equal(dropped.all(dim=1), dropped.any(dim=1))


def test_a_mask_drawn_for_the_next_use_is_so_after_loading_too():
    layer, other = VariationalDropout(0.5), VariationalDropout(0.5)
    layer(torch.ones(2, D))
    layer.resample()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(torch.ones(2, D)), layer(torch.ones(2, D)))
    other.load_state_dict(layer.state_dict())
    assert other(torch.ones(7, D)).shape == (7, D)


def test_an_averaged_model_made_after_the_first_use():
    """Whose buffers torch copies pair by pair."""
    layer = LSTMCell(D, D, recurrent_transform=WeightDropout(0.5, held=True))
    layer(torch.ones(B, D))
    averaged = torch.optim.swa_utils.AveragedModel(layer)
    for _ in range(2):
        layer.resample()
        layer(torch.ones(B, D))
        averaged.update_parameters(layer)
    assert torch.equal(averaged.module.recurrent_transform.held.mask, layer.recurrent_transform.held.mask)


@pytest.mark.parametrize("make", [Dropout, LockedDropout, VariationalDropout, WeightDropout])
@pytest.mark.parametrize("randomness", ["same", "different"])
def test_vmap_draws_for_each_sample_or_once(make, randomness):
    found = torch.vmap(make(0.5), randomness=randomness)(torch.ones(4, T, B, D))
    assert ((found == 0) | (found == 2)).all() and 0.4 < (found == 0).float().mean() < 0.6
    alike = [torch.equal(found[0], each) for each in found[1:]]
    assert all(alike) if randomness == "same" else not any(alike)


def test_gradients_of_each_sample_with_a_weight_mask_of_its_own():
    cell = LSTMCell(5, 6, recurrent_transform=WeightDropout(0.5))
    parameters = {name: parameter.detach() for name, parameter in cell.named_parameters()}

    def loss(parameters, inputs):
        state = LSTMState(torch.ones(1, 6), torch.zeros(1, 6))
        return torch.func.functional_call(cell, parameters, (inputs, state))[0].sum()

    inputs = torch.ones(5).expand(3, 1, 5)
    found = torch.vmap(torch.func.grad(loss), in_dims=(None, 0), randomness="different")(parameters, inputs)
    dropped = found["weight_hh"] == 0
    assert not torch.equal(dropped[0], dropped[1]) and 0.3 < dropped.float().mean() < 0.7


def test_a_gradient_by_function_has_the_mask_of_backward():
    drop, weight = WeightDropout(0.5), torch.randn(8, 8)
    torch.manual_seed(1)
    found = torch.func.grad(lambda each: drop(each).sum())(weight)
    torch.manual_seed(1)
    drop(weight.requires_grad_()).sum().backward()
    assert torch.equal(found, weight.grad)
