"""Kernels and bfloat16 give what plain float32 operations give: outputs, state and all gradients."""

import pytest
import torch
from table import RECURRENT, B, I, T

from refrain.models import LanguageModel
from refrain.nn import GRU, LSTM, Embedding, MultiplicativeLSTM, RecurrentStack, SoftmaxHead, WeightDropout
from refrain.nn.kernels.backend import TORCH, Backend, use_backend
from refrain.nn.kernels.workspace import BufferPool
from refrain.nn.recurrent.protocol import state_like, state_tensors

pytestmark = pytest.mark.compiler

KERNELS, BF16 = Backend(native=True), Backend(native=True, bf16=True)
LAYERS = {
    **RECURRENT,
    "LSTM, wide": lambda: LSTM(I, 400),
    "LSTM, whole tiles": lambda: LSTM(I, 64),
    "GRU, whole registers": lambda: GRU(I, 48),
    "GRU, two biases, whole registers": lambda: GRU(I, 48, recurrent_bias=True),
    "MultiplicativeLSTM, wide": lambda: MultiplicativeLSTM(I, 33, intermediate_size=50),
}


def results(layer, inputs, state, backend):
    """Outputs, state and all gradients, under random cotangents."""
    use_backend(layer, backend)
    leaves = [inputs, *state_tensors(state), *layer.parameters()]
    outputs, after = layer(inputs, state)
    found = [outputs, *state_tensors(after)]
    generator = torch.Generator().manual_seed(2)
    total = sum((part * torch.randn(part.shape, generator=generator)).sum() for part in found)
    return [*found, *torch.autograd.grad(total, leaves)]


def case(make, batch=B):
    torch.manual_seed(1)
    layer = make()
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)
    inputs = torch.randn(T, batch, I, requires_grad=True)
    template = layer.initial_state(batch)
    return layer, inputs, state_like(template, [torch.randn_like(t).requires_grad_() for t in state_tensors(template)])


@pytest.mark.parametrize("batch", [1, B, 25])
@pytest.mark.parametrize("name", LAYERS)
def test_kernels_equal_plain_operations(name, batch):
    layer, inputs, state = case(LAYERS[name], batch)
    wanted = results(layer, inputs, state, TORCH)
    for got, expected in zip(results(layer, inputs, state, KERNELS), wanted, strict=True):
        torch.testing.assert_close(got, expected, atol=3e-5, rtol=1e-4)


# one tile of rows, a part of a second one, and more than two
@pytest.mark.parametrize("batch", [B, 16, 17, 70])
@pytest.mark.parametrize("name", LAYERS)
def test_in_bf16_everything_is_near(name, batch, monkeypatch):
    allocate = BufferPool.allocate
    # what kernels leave unwritten must not be read
    monkeypatch.setattr(BufferPool, "allocate", lambda *of: allocate(*of).fill_(torch.nan))
    layer, inputs, state = case(LAYERS[name], batch)
    wanted = results(layer, inputs, state, TORCH)
    for got, expected in zip(results(layer, inputs, state, BF16), wanted, strict=True):
        assert got.dtype == torch.float32
        # 8 bits: a relative 2**-8 for each of a few roundings
        assert (got - expected).norm() <= 0.02 * expected.norm()


@pytest.mark.parametrize("backend", [KERNELS, BF16], ids=["float32", "bf16"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_same_bits_again_with_any_number_of_threads(name, backend):
    layer, inputs, state = case(LAYERS[name], 25)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            found.append(layer_outputs(layer, inputs, state, backend))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[2])
    # torch's own products may split their sums otherwise
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-2 if backend.bf16 else 1e-5)


def layer_outputs(layer, inputs, state, backend):
    use_backend(layer, backend)
    return layer(inputs, state)[0].detach()


@pytest.mark.parametrize("name", RECURRENT)
def test_two_windows_equal_one(name):
    layer, inputs, state = case(RECURRENT[name])
    use_backend(layer, KERNELS)
    whole, end = layer(inputs, state)
    first, middle = layer(inputs[:3], state)
    second, last = layer(inputs[3:], middle)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(state_tensors(last), state_tensors(end))
    # both windows are open, and each has memory of its own
    wanted = torch.autograd.grad(whole.pow(2).sum(), list(layer.parameters()))
    got = torch.autograd.grad(first.pow(2).sum() + second.pow(2).sum(), list(layer.parameters()))
    torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("name", RECURRENT)
def test_evaluation_is_plain_float32(name):
    layer, inputs, state = case(RECURRENT[name])
    wanted = layer.eval()(inputs, state)[0]
    use_backend(layer, BF16)
    assert torch.equal(layer(inputs, state)[0], wanted)
    with torch.no_grad():
        torch.testing.assert_close(layer.train()(inputs, state)[0], wanted)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_window_is_differentiated_once(name):
    layer, inputs, state = case(RECURRENT[name])
    use_backend(layer, KERNELS)
    loss = layer(inputs, state)[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="released by an earlier backward pass"):
        loss.backward()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(layer(inputs, state)[0].sum(), inputs, create_graph=True)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_another_type_takes_the_plain_way(kind):
    layer, inputs, state = case(RECURRENT["LSTM"])
    use_backend(layer.to(kind), KERNELS)
    outputs, _ = layer(inputs.to(kind), type(state)(*(part.to(kind) for part in state)))
    assert outputs.dtype == kind


@pytest.mark.parametrize("make", [LSTM, GRU])
def test_weight_drop_draws_the_masks_of_the_plain_way(make):
    layer, inputs, state = case(lambda: make(I, 20, recurrent_transform=WeightDropout(0.5)))
    found = []
    for backend in (TORCH, KERNELS):
        torch.manual_seed(7)
        found.append(results(layer, inputs, state, backend))
    for got, expected in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_model_learns_alike(bf16):
    losses = []
    for backend in (TORCH, Backend(native=True, bf16=bf16)):
        torch.manual_seed(3)
        layers = RecurrentStack([LSTM(8, 20), LSTM(20, 8)])
        words = Embedding(30, 8)
        model = LanguageModel(words, layers, SoftmaxHead(8, 30, weight=words.weight))
        use_backend(model, backend)
        ids, state = torch.randint(30, (T + 1, B)), model.initial_state(B)
        rule = torch.optim.SGD(model.parameters(), lr=0.2)
        for _ in range(30):
            rule.zero_grad()
            nats = model(ids[:-1], ids[1:], state).nats
            nats.div(T * B).backward()
            rule.step()
        losses.append(nats.item())
    assert losses[1] == pytest.approx(losses[0], rel=0.02 if bf16 else 1e-4)
