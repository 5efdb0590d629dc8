"""Layers on a CUDA device against the same layers on the processor; skipped where there is none."""

import copy

import pytest
import torch

from refrain.assembly import build_device
from refrain.nn import GRU, LSTM, MultiplicativeLSTM, SoftmaxHead, SparseLSTM, plan_blocks
from refrain.nn.kernels import launch as gpu
from refrain.nn.kernels.backend import TORCH, Backend, use_backend
from refrain.nn.kernels.call import failures
from refrain.nn.recurrent.protocol import state_like, state_tensors

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]

T, B, I = 7, 3, 5  # noqa: E741
TRITON = pytest.mark.skipif(not gpu.has_triton(), reason="no Triton")
BF16 = Backend(bf16=True)
BOTH = Backend(native=True, bf16=True)


class Dropped(torch.nn.Module):
    """A weight drop whose mask is the same on every device."""

    def forward(self, weight):
        kept = torch.arange(weight.numel(), device=weight.device).view_as(weight) % 3 > 0
        return weight * kept * 1.5


LAYERS = {
    "LSTM": lambda: LSTM(I, 37),
    "LSTM, weight drop": lambda: LSTM(I, 300, recurrent_transform=Dropped()),
    "GRU": lambda: GRU(I, 37),
    "GRU, two biases": lambda: GRU(I, 37, recurrent_bias=True),
    "GRU, weight drop": lambda: GRU(I, 300, recurrent_transform=Dropped()),
    "MultiplicativeLSTM": lambda: MultiplicativeLSTM(I, 33, intermediate_size=50),
    "SparseLSTM": lambda: SparseLSTM(plan_blocks(I, 31, blocks=3, density=0.5)),
}


@pytest.fixture(autouse=True)
def exact():
    assert build_device("auto").type == "cuda"


def results(layer, inputs, state, backend):
    """Outputs, state and all gradients on the processor, under random cotangents."""
    use_backend(layer, backend)
    device = next(layer.parameters()).device
    leaves = [part.detach().to(device).requires_grad_() for part in (inputs, *state_tensors(state))]
    outputs, after = layer(leaves[0], state_like(state, leaves[1:]))
    found = [outputs, *state_tensors(after)]
    generator = torch.Generator().manual_seed(2)
    total = sum((part * torch.randn(part.shape, generator=generator).to(device)).sum() for part in found)
    return [part.cpu() for part in (*found, *torch.autograd.grad(total, [*leaves, *layer.parameters()]))]


def both(name, backend):
    torch.manual_seed(1)
    layer = LAYERS[name]()
    for parameter in layer.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter)
    inputs, template = torch.randn(T, B, I), layer.initial_state(B)
    state = state_like(template, [torch.randn_like(part) for part in state_tensors(template)])
    return results(copy.deepcopy(layer).cuda(), inputs, state, backend), results(layer, inputs, state, TORCH)


@pytest.mark.parametrize("backend", [TORCH, pytest.param(Backend(native=True), marks=TRITON)], ids=["torch", "Triton"])
@pytest.mark.parametrize("name", LAYERS)
def test_float32(name, backend):
    # warnings are errors, so that cuDNN has found the weights in one buffer
    for got, wanted in zip(*both(name, backend), strict=True):
        torch.testing.assert_close(got, wanted, atol=3e-5, rtol=1e-4)
    assert not failures()


@pytest.mark.parametrize("backend", [BF16, pytest.param(BOTH, marks=TRITON)], ids=["torch", "Triton"])
@pytest.mark.parametrize("name", LAYERS)
def test_bf16(name, backend):
    for got, wanted in zip(*both(name, backend), strict=True):
        assert got.dtype == torch.float32
        assert (got - wanted).norm() <= 0.02 * wanted.norm()
    assert not failures()


def test_the_head_in_bf16():
    torch.manual_seed(1)
    head = SoftmaxHead(20, 300)
    hidden, targets = torch.randn(9, 20), torch.randint(300, (9,))
    wanted = head(hidden, targets)
    head = head.cuda()
    use_backend(head, BF16)
    found = head(hidden.cuda(), targets.cuda())
    torch.testing.assert_close(found.cpu(), wanted, rtol=0.01, atol=0)
