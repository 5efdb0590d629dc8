"""Weights of eight bits have the documented values, and the kernels' functions are torch's."""

import mmap

import pytest
import torch

from refrain.nn.kernels.call import kernel
from refrain.nn.kernels.packed_linear import (
    SMALL_BATCH,
    PackedLinear,
    log_softmax_,
    pack_matrices,
    quantise,
    target_nats,
)
from refrain.nn.kernels.pages import LARGE, in_large_pages


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_an_entry_is_off_by_half_a_scale_at_most():
    weight = random(50, 300) * torch.logspace(-6, 3, 50)[:, None]
    multiples, scales = quantise(weight)
    assert multiples.dtype == torch.int8 and multiples.abs().max() == 127
    torch.testing.assert_close(scales, weight.abs().amax(1) / 127)
    error = (multiples * scales[:, None] - weight).abs() / scales[:, None]
    assert error.max() <= 0.5 * (1 + 1e-4)


def test_rounding_again_changes_nothing():
    """So that a stored matrix, its copy in a kernel and an exported one have the same entries."""
    weight = torch.cat([random(20_000, 3) * torch.logspace(-40, 37, 20_000)[:, None], torch.zeros(1, 3)])
    multiples, scales = quantise(weight)
    again, same = quantise(multiples * scales[:, None])
    assert torch.equal(again, multiples) and torch.equal(same, scales)


def test_the_largest_entry_of_a_row_has_the_largest_multiple():
    weight = torch.tensor([[0.0, 0.0, 0.0], [0.5, -2.0, 1.1]])
    multiples, scales = quantise(weight)
    assert multiples[0].tolist() == [0, 0, 0]
    # 0.5 is 31.75 scales of 2 / 127, and 1.1 is 69.85
    assert multiples[1].tolist() == [32, -127, 70]
    torch.testing.assert_close(multiples[1, 1] * scales[1], torch.tensor(-2.0))


@pytest.mark.compiler
@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("streams", [1, 3, 5, SMALL_BATCH, SMALL_BATCH + 1])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 15), (4, 16), (7, 33), (130, 257)])
def test_a_linear_layer(rows, width, streams, weights):
    weight, bias, x = random(rows, width), random(rows, seed=2), random(streams, width, seed=3)
    layer = PackedLinear(weight, bias, weights)
    if weights == "int8":
        multiples, scales = quantise(weight)
        weight = multiples * scales[:, None]
    torch.testing.assert_close(layer(x), torch.nn.functional.linear(x, weight, bias), atol=1e-4, rtol=1e-5)
    # inputs need not lie one after another
    torch.testing.assert_close(layer(x.T.contiguous().T), layer(x), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_matrices_side_by_side_are_what_they_were(weights):
    both = random(10, 33), random(10, 16, seed=2)
    for matrix, prepared in zip(both, pack_matrices(both, weights, group=3), strict=True):
        if weights == "int8":
            multiples, scales = quantise(matrix)
            matrix = multiples * scales[:, None]
        assert torch.equal(prepared.dense(), matrix)


@pytest.mark.parametrize("kind", [torch.float32, torch.int8])
def test_memory_in_large_pages(kind, monkeypatch):
    for shape in ((3, 5), (LARGE // 4, 5), (LARGE + 1,)):
        tensor = in_large_pages(shape, kind)
        assert tensor.shape == shape and tensor.dtype == kind and not tensor.any()
        if tensor.numel() * tensor.itemsize >= LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
            assert tensor.data_ptr() % LARGE == 0
        assert tensor.fill_(1).all()
    # a system that has none
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    assert not in_large_pages((LARGE,), kind).any()


@pytest.mark.compiler
@pytest.mark.parametrize("words", [1, 5, 16, 1003])
@pytest.mark.parametrize("size", [0.1, 1.0, 30.0, 1000.0])
def test_the_softmax(words, size):
    logits, targets = random(4, words) * size, torch.arange(4) % words
    wanted = logits.double().log_softmax(dim=-1)
    close = {"atol": 2e-6 * max(size, 1.0), "rtol": 0.0}
    nats = target_nats(logits, targets)
    torch.testing.assert_close(nats.double(), -wanted.gather(1, targets[:, None])[:, 0], **close)
    torch.testing.assert_close(log_softmax_(logits).double(), wanted, **close)


@pytest.mark.compiler
def test_a_word_that_cannot_be():
    logits = torch.tensor([[0.0, -torch.inf, 0.0]])
    torch.testing.assert_close(log_softmax_(logits).exp(), torch.tensor([[0.5, 0.0, 0.5]]))


@pytest.mark.compiler
def test_gates_at_their_limits():
    """What saturates in torch saturates here, and NaN stays NaN."""
    values = torch.tensor([-1e30, -100.0, -20.0, -1.0, -1e-4, 0.0, 1e-4, 1.0, 20.0, 100.0, 1e30, torch.nan])
    size = len(values)
    gates, before = values[:, None].expand(-1, 4).contiguous(), torch.full((1, size), 0.5)
    hidden, cell = torch.empty(1, size), torch.empty(1, size)
    kernel("stepper", "stepper_lstm")(None, None, None, None, gates, before, hidden, cell, 0, size, 1)
    wanted = values.sigmoid() * 0.5 + values.sigmoid() * values.tanh()
    torch.testing.assert_close(cell[0], wanted, atol=3e-7, rtol=0, equal_nan=True)
    torch.testing.assert_close(hidden[0], values.sigmoid() * wanted.tanh(), atol=3e-7, rtol=0, equal_nan=True)
