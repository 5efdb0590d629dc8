"""Kernels read memory through pointers: whatever is not as they take it is made so, or goes the plain way."""

import threading

import pytest
import torch

from refrain.nn import GRU, LSTM, MultiplicativeLSTM, SoftmaxHead, SparseLSTM
from refrain.nn.heads.linear_cross_entropy import linear_cross_entropy, linear_cross_entropy_reference
from refrain.nn.kernels.backend import TORCH, Backend, use_backend
from refrain.nn.kernels.call import call
from refrain.nn.kernels.packed_linear import target_nats
from refrain.nn.segments import plan_blocks

pytestmark = pytest.mark.compiler

KERNELS = Backend(native=True)
LAYERS = {
    "LSTM": lambda: LSTM(6, 20),
    "GRU": lambda: GRU(6, 20),
    "GRU, two biases": lambda: GRU(6, 20, recurrent_bias=True),
    "MultiplicativeLSTM": lambda: MultiplicativeLSTM(6, 20),
    "SparseLSTM": lambda: SparseLSTM(plan_blocks(6, 20, blocks=2, density=0.5)),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    torch.manual_seed(1)
    layer = LAYERS[request.param]()
    use_backend(layer, KERNELS)
    return layer


def _plain(hidden, weight, bias, targets):
    loss = linear_cross_entropy_reference(hidden, weight, bias, targets)
    return [loss, *torch.autograd.grad(loss, [hidden, weight])]


@pytest.mark.parametrize("bias", ["every other", "expanded", "float64"])
@pytest.mark.parametrize("kind", [torch.int64, torch.int32])
def test_the_head_takes_any_bias_and_any_whole_numbers(bias, kind):
    torch.manual_seed(1)
    hidden, weight = torch.randn(7, 5, requires_grad=True), torch.randn(30, 5, requires_grad=True)
    made = {
        "every other": torch.randn(60)[::2],
        "expanded": torch.randn(1).expand(30),
        "float64": torch.randn(30, dtype=torch.float64),
    }[bias]
    targets = torch.randint(30, (7,))
    loss = linear_cross_entropy(hidden, weight, made, targets.to(kind), backend=KERNELS)
    got = [loss, *torch.autograd.grad(loss, [hidden, weight])]
    for one, other in zip(got, _plain(hidden, weight, made.float(), targets), strict=True):
        torch.testing.assert_close(one.float(), other)


def test_the_head_of_a_model_in_bf16():
    torch.manual_seed(1)
    head, hidden, targets = SoftmaxHead(5, 300), torch.randn(9, 5), torch.randint(300, (9,))
    wanted = head(hidden, targets).item()
    head.bfloat16()
    use_backend(head, KERNELS)
    loss = head(hidden.bfloat16(), targets)
    loss.backward()
    assert loss.item() == pytest.approx(wanted, rel=0.02) and head.bias.grad.dtype == torch.bfloat16


def test_too_few_targets_are_refused():
    with pytest.raises(ValueError, match="targets have shape"):
        linear_cross_entropy(torch.randn(7, 5), torch.randn(30, 5), None, torch.zeros(3).long(), backend=KERNELS)
    with pytest.raises(ValueError, match="targets have shape"):
        target_nats(torch.randn(4, 5), torch.zeros(3).long())
    assert torch.equal(
        target_nats(torch.ones(2, 5), torch.tensor([1, 2]).int()),
        target_nats(torch.ones(2, 5), torch.tensor([1, 2])),
    )


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_the_type_that_new_tensors_have_by_default_does_not_matter(layer, kind):
    inputs = torch.randn(4, 3, 6)
    state = layer.initial_state(3)
    wanted = layer(inputs, state)[0]
    torch.set_default_dtype(kind)
    try:
        got = layer(inputs, state)[0]
        loss = linear_cross_entropy(
            got.flatten(0, 1), torch.ones(30, 20).float(), None, torch.zeros(12).long(), backend=KERNELS
        )
        loss.backward()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(got, wanted) and all(p.grad.dtype == torch.float32 for p in layer.parameters())


def test_the_gradient_of_a_state_may_have_any_strides(layer):
    inputs, found = torch.randn(4, 3, 6), []
    start = layer.initial_state(3)
    for backend in (TORCH, KERNELS):
        use_backend(layer, backend)
        after = layer(inputs, start)[1][-1]
        loss = (after.t() * torch.arange(60.0).view(20, 3)).sum()
        found.append(torch.autograd.grad(loss, list(layer.parameters())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("changed", ["inputs", "weights"])
def test_a_change_in_place_before_the_way_back_is_found(layer, changed):
    inputs = torch.randn(4, 3, 6)
    outputs, _ = layer(inputs, layer.initial_state(3))
    with torch.no_grad():
        for tensor in [inputs] if changed == "inputs" else layer.parameters():
            tensor.mul_(2)
    if changed == "inputs" and isinstance(layer, SparseLSTM):
        outputs.sum().backward()  # its blocks see copies
        return
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


def test_threads_may_share_a_layer(layer):
    inputs, start, wrong = torch.randn(5, 3, 6), layer.initial_state(3), []
    parameters = list(layer.parameters())
    wanted = torch.autograd.grad(layer(inputs, start)[0].sum(), parameters)

    def work():
        for _ in range(20):
            got = torch.autograd.grad(layer(inputs, start)[0].sum(), parameters)
            wrong.extend(not torch.allclose(one, other) for one, other in zip(got, wanted, strict=True))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wrong) == 80 * len(parameters) and not any(wrong)


def test_a_kernel_is_never_given_every_other_entry():
    out = torch.zeros(8)
    values = torch.ones(16, dtype=torch.bfloat16)
    assert call("softmax", "scaled_bf16", values[:8], torch.tensor(3.0), out, 8) and (out == 3).all()
    with pytest.raises(AssertionError, match="scaled_bf16"):
        call("softmax", "scaled_bf16", values[::2], torch.tensor(3.0), out, 8)
