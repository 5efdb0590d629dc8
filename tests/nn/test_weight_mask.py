"""Weight drop of single entries: the mask as a function of a seed, by torch's operations and by the kernel."""

import pytest
import torch

from refrain.nn import LSTM, WeightDropout
from refrain.nn.kernels.backend import Backend, use_backend
from refrain.nn.weight_mask import dropped_entries, entry_mask

ONE = torch.ones(())


def splitmix64(seed, index):
    """A hash of the sequence that a seed begins, in whole numbers without bounds, as published."""
    full = (1 << 64) - 1
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & full
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & full
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & full
    return z ^ (z >> 31)


def test_the_hash_is_splitmix64():
    # the first number of the sequence of 1234567, from the reference implementation
    assert splitmix64(1234567, 0) == 6457827717110365317
    seed = -(2**63) + 12345
    for rate in (0.25, 0.5, 0.9):
        got = entry_mask((5, 7), torch.tensor([seed]), rate, ONE).flatten()
        wanted = []
        for entry in range(35):
            bits = splitmix64(seed, entry // 4) >> 16 * (entry % 4) & 0xFFFF
            signed = bits - (1 << 16) * (bits >> 15)
            wanted.append(0.0 if signed < round(rate * 2**16) - 2**15 else 2**16 / (2**16 - round(rate * 2**16)))
        torch.testing.assert_close(got, torch.tensor(wanted))


def test_rates_and_independence():
    masks = [entry_mask((400, 100), torch.tensor([seed]), 0.3, ONE) for seed in (1, 2)]
    for mask in masks:
        assert abs(float((mask == 0).float().mean()) - 0.3) < 0.01
        # rows, columns and neighbours do not go together
        kept = (mask != 0).double()
        for other in (kept.roll(1, 0), kept.roll(1, 1), kept.roll(4, 1)):
            assert abs(float(torch.corrcoef(torch.stack([kept.flatten(), other.flatten()]))[0, 1])) < 0.02
    both = ((masks[0] == 0) & (masks[1] == 0)).float().mean()
    assert abs(float(both) - 0.09) < 0.01


@pytest.mark.compiler
@pytest.mark.parametrize("shape", [(3, 5), (4, 4), (37, 61), (0, 3), (1200, 11)])
@pytest.mark.parametrize("rate", [0.0, 0.5, 0.99999])
def test_the_kernel_draws_the_mask_of_the_reference(shape, rate):
    torch.manual_seed(3)
    weight, sent = torch.randn(shape, requires_grad=True), torch.randn(shape)
    found = []
    for native in (False, True):
        torch.manual_seed(4)
        dropped = dropped_entries(weight, rate, native=native)
        (gradient,) = torch.autograd.grad(dropped, weight, sent)
        found.append((dropped.detach(), gradient, torch.rand(1)))
    # the same bits, and as many random numbers drawn
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.compiler
def test_what_the_kernel_does_not_take_is_masked_by_torch():
    for weight in (torch.randn(6, 4, dtype=torch.float64), torch.randn(4, 6).T, torch.randn(6, 4, requires_grad=True)):
        found = []
        for native in (False, True):
            torch.manual_seed(4)
            dropped = dropped_entries(weight, 0.5, native=native)
            found.append(dropped.detach())
        assert torch.equal(*found)
    # a strided gradient, and the gradient of a gradient
    torch.manual_seed(4)
    sent = torch.randn(4, 6).T.requires_grad_()
    (gradient,) = torch.autograd.grad(dropped_entries(weight, 0.5, native=True), weight, sent, create_graph=True)
    torch.manual_seed(4)
    torch.randn(4, 6)
    wanted = dropped_entries(sent, 0.5, native=False)
    assert torch.equal(gradient, wanted)
    (second,) = torch.autograd.grad(gradient.sum(), sent)
    assert torch.equal(second == 0, wanted == 0) and torch.all(second[wanted != 0] == 2)


@pytest.mark.compiler
def test_a_layer_with_kernels_drops_the_same_entries():
    torch.manual_seed(1)
    layer = LSTM(8, 70, recurrent_transform=WeightDropout(0.5))
    inputs = torch.randn(5, 3, 8)
    found = []
    for native in (False, True):
        use_backend(layer, Backend(native=native))
        assert layer.recurrent_transform.native is native
        torch.manual_seed(2)
        outputs, _ = layer(inputs, layer.initial_state(3))
        found.append([outputs, *torch.autograd.grad(outputs.square().sum(), list(layer.parameters()))])
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    # entries that were dropped have no gradient
    at = [name for name, _ in layer.named_parameters()].index("weight_hh") + 1
    assert torch.equal(found[0][at] == 0, found[1][at] == 0) and 0.4 < float((found[1][at] == 0).float().mean()) < 0.6
