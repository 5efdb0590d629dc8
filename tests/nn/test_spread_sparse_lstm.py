"""Blocks in two processes compute what they compute in one, with all gradients."""

import pytest
import torch
import torch.distributed as dist
from processes import joined, run_ranks

from refrain.nn import SparseLSTM, SpreadSparseLSTM, plan_blocks
from refrain.nn.recurrent.lstm.layer import LSTMState

T, B, I, H, RANKS = 5, 3, 11, 13, 2  # noqa: E741
PLAN = plan_blocks(I, H, blocks=3, density=0.5)


def case():
    """The whole layer, inputs and state with gradients, and cotangents: the same in every process."""
    torch.manual_seed(1)
    layer = SparseLSTM(PLAN).double()
    inputs = torch.randn(T, B, I, dtype=torch.float64, requires_grad=True)
    state = LSTMState(*(torch.randn(B, H, dtype=torch.float64, requires_grad=True) for _ in range(2)))
    return layer, inputs, state, [torch.randn(shape, dtype=torch.float64) for shape in ((T, B, H), (B, H), (B, H))]


def results(layer, inputs, state, cotangents):
    outputs, after = layer(inputs, state)
    found = [outputs, *after]
    leaves = {"inputs": inputs, "hidden": state.hidden, "cell": state.cell, **dict(layer.named_parameters())}
    total = sum((one * other).sum() for one, other in zip(found, cotangents, strict=True))
    gradients = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    return [one.detach() for one in found], gradients


def spread_results():
    """What one process finds, and its error for a plan of too few blocks."""
    whole, *more = case()
    spread = SpreadSparseLSTM(PLAN).double()
    spread.load_own(whole.state_dict())
    found = results(spread, *more)
    with pytest.raises(ValueError) as refused:
        SpreadSparseLSTM(plan_blocks(I, H, blocks=1, density=1))
    return *found, str(refused.value)


def work(rank, folder):
    """What one process does."""
    with joined(rank, folder, RANKS):
        found = spread_results()
    torch.save(found, f"{folder}/{rank}.pt")


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="no gloo")
def test_two_processes_compute_what_one_does(tmp_path):
    run_ranks(work, RANKS, str(tmp_path))
    outputs, gradients = results(*case())
    seen = set()
    for rank in range(RANKS):
        got, own, refused = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for one, other in zip(got, outputs, strict=True):
            torch.testing.assert_close(one, other)
        for name, gradient in own.items():
            torch.testing.assert_close(gradient, gradients[name])
        seen |= set(own)
        assert refused == "2 processes are more than the 1 blocks of the plan"
    assert seen == set(gradients)
