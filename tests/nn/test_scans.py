"""The scans that GPUs take, by torch's operations on a processor: equal to the plain layers, and near in bf16."""

import gc
import weakref

import pytest
import torch
import windows
from windows import results

from refrain.nn import GRU, LSTM, MultiplicativeLSTM, SparseLSTM, WeightDropout, plan_blocks
from refrain.nn.kernels.backend import TORCH, Backend, use_backend
from refrain.nn.recurrent.protocol import choose_window, state_tensors

T, B, I = 7, 3, 5  # noqa: E741
BF16 = Backend(bf16=True)
LAYERS = {
    "LSTM": lambda: LSTM(I, 37),
    "LSTM, weight drop": lambda: LSTM(I, 37, recurrent_transform=WeightDropout(0.5)),
    "GRU": lambda: GRU(I, 37),
    "GRU, two biases": lambda: GRU(I, 37, recurrent_bias=True),
    "MultiplicativeLSTM": lambda: MultiplicativeLSTM(I, 33, intermediate_size=50),
    "SparseLSTM": lambda: SparseLSTM(plan_blocks(I, 31, blocks=3, density=0.5)),
}


@pytest.fixture(autouse=True)
def on_this_device(monkeypatch):
    """A processor counts as a device for scans, and has no kernels of its own."""
    monkeypatch.setattr("refrain.nn.recurrent.protocol.SCAN_DEVICES", ("cuda", "cpu"))
    monkeypatch.setattr("refrain.nn.recurrent.protocol.load", lambda name: None)


@pytest.fixture
def no_triton(monkeypatch):
    for module in ("lstm.gates", "gru.scan"):
        monkeypatch.setattr(f"refrain.nn.recurrent.{module}.launch", lambda *arguments: False)


def case(name, batch=B):
    return windows.case(LAYERS, name, T, batch, I)


@pytest.mark.parametrize("name", LAYERS)
def test_a_scan_equals_the_plain_layer(name, no_triton):
    layer, inputs, state = case(name)
    wanted = results(layer, inputs, state, TORCH)
    for got, expected in zip(results(layer, inputs, state, Backend(native=True)), wanted, strict=True):
        torch.testing.assert_close(got, expected, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_in_bf16_everything_is_near_and_float32(name):
    layer, inputs, state = case(name)
    wanted = results(layer, inputs, state, TORCH)
    found = results(layer, inputs, state, BF16)
    assert not torch.equal(found[0], wanted[0])
    for got, expected in zip(found, wanted, strict=True):
        assert got.dtype == torch.float32
        # 8 bits: a relative 2**-8 for each of a few roundings
        assert (got - expected).norm() <= 0.02 * expected.norm()


def test_bf16_alone_loads_no_triton(monkeypatch):
    monkeypatch.setattr("refrain.nn.kernels.launch.load", lambda name: pytest.fail(f"{name} was loaded"))
    layer, inputs, state = case("LSTM")
    results(layer, inputs, state, BF16)


@pytest.mark.parametrize("name", LAYERS)
def test_two_windows_equal_one(name, no_triton):
    layer, inputs, state = case(name)
    use_backend(layer, Backend(native=True))
    found = []
    for cuts in ((T,), (3, T - 3)):
        torch.manual_seed(3)
        after, outputs = state, []
        for part in inputs.split(cuts):
            if "drop" in name:
                torch.manual_seed(3)
            output, after = layer(part, after)
            outputs.append(output)
        whole = torch.cat(outputs)
        found.append([whole, *state_tensors(after), *torch.autograd.grad(whole.pow(2).sum(), list(layer.parameters()))])
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", LAYERS)
def test_a_window_is_differentiated_once(name):
    layer, inputs, state = case(name)
    use_backend(layer, BF16)
    loss = layer(inputs, state)[0].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="released by an earlier backward pass"):
        loss.backward()
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(layer(inputs, state)[0].sum(), inputs, create_graph=True)


@pytest.mark.parametrize("name", LAYERS)
def test_a_window_without_a_way_back_is_freed(name):
    layer, inputs, state = case(name)
    use_backend(layer, BF16)
    gc.disable()
    try:
        outputs, after = layer(inputs, state)
        node = next(part for part in nodes(outputs.grad_fn) if type(part).__name__.endswith("ScanBackward"))
        dropped = weakref.ref(node)
        del node, outputs, after
        assert dropped() is None
    finally:
        gc.enable()


def nodes(node):
    yield node
    for below, _ in node.next_functions:
        if below is not None:
            yield from nodes(below)


@pytest.mark.parametrize("backend", [TORCH, Backend(native=True), BF16], ids=["torch", "native", "bf16"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_weight_that_changes_after_the_forward_pass_changes_no_gradient(name, backend, no_triton):
    """Either the layer has computed with a copy of the weight, or the backward pass is refused, as in torch."""
    layer, inputs, state = case(name)
    use_backend(layer, backend)

    def loss():
        torch.manual_seed(3)
        return layer(inputs, state)[0].square().sum()

    refused = 0
    wanted = torch.autograd.grad(loss(), list(layer.parameters()))
    for changed in layer.parameters():
        later = loss()
        before = changed.detach().clone()
        with torch.no_grad():
            changed.mul_(0.5)
        try:
            found = torch.autograd.grad(later, list(layer.parameters()))
        except RuntimeError as error:
            assert "modified by an inplace operation" in str(error)
            refused += 1
        else:
            assert all(map(torch.equal, found, wanted))
        with torch.no_grad():
            changed.copy_(before)
    assert refused or backend is BF16


def test_outputs_may_be_changed_in_place():
    layer, inputs, state = case("LSTM")
    use_backend(layer, BF16)
    outputs, _ = layer(inputs, state)
    outputs.mul_(2).sum().backward()


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_another_type_takes_the_plain_way(kind):
    layer, inputs, _ = case("LSTM")
    use_backend(layer.to(kind), BF16)
    assert choose_window(layer, inputs.to(kind)) is layer.backends["torch"]


@pytest.mark.parametrize("name", LAYERS)
def test_evaluation_is_plain_float32(name):
    layer, inputs, state = case(name)
    wanted = layer.eval()(inputs, state)[0]
    use_backend(layer, BF16)
    assert torch.equal(layer(inputs, state)[0], wanted)
    assert choose_window(layer, inputs) is layer.backends["torch"]
