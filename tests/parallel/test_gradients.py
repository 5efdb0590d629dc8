"""Sums of gradients: the same whatever their forms are in each rank, which may not wait for each other for ever."""

import threading

import pytest
import torch
from torch import nn

from refrain.parallel import gradients
from refrain.parallel.gradients import GradientSum

ROWS, WIDTH = 6, 4


class Threads:
    """A channel between the threads of a test. Ranks that send different things fail and do not hang.

    Args:
        rank: the number of this rank.
        desk: what the ranks have sent, by rank.
        barrier: where they meet.
    """

    def __init__(self, rank, desk, barrier):
        self.rank, self.desk, self.barrier, self.tensors = rank, desk, barrier, []

    def start_sum(self, tensor):
        self.tensors.append(tensor)

    def finish_sums(self):
        for tensor in self.tensors:
            tensor.copy_(sum(self.gather(tensor)))
        self.tensors.clear()

    def gather(self, tensor):
        self.desk[self.rank] = tensor.clone()
        self.barrier.wait(20)
        found = list(self.desk)
        self.barrier.wait(20)
        assert {each.shape for each in found} == {tensor.shape}
        return found


class Rank:
    """A rank with two large parameters, `table` and `matrix`, and a small one."""

    def __init__(self, channel):
        torch.manual_seed(1)
        self.table, self.matrix = nn.Parameter(torch.randn(ROWS, WIDTH)), nn.Parameter(torch.randn(ROWS, WIDTH))
        self.bias = nn.Parameter(torch.zeros(2))
        self.sum = GradientSum([self.table, self.matrix, self.bias], channel)

    def loss(self, form, seed):
        """A loss in which the gradient of the table has a form."""
        ids = torch.randint(ROWS, (3,), generator=torch.Generator().manual_seed(seed))
        loss = (self.matrix * (seed + 1)).sum() + self.bias.sum()
        if form in ("rows", "both"):
            loss = loss + nn.functional.embedding(ids, self.table, sparse=True).square().sum()
        if form in ("dense", "both"):
            loss = loss + self.table.pow(3).sum()
        return loss

    def window(self, form, seed):
        for parameter in (self.table, self.matrix, self.bias):
            parameter.grad = None
        loss = self.loss(form, seed)
        self.sum.begin()
        loss.backward()
        self.sum.finish(loss.item(), 0.0)
        return [None if each.grad is None else each.grad.to_dense() for each in (self.table, self.matrix, self.bias)]


def together(work):
    """Call `work(rank)` in a thread for each of two ranks, and raise what one of them raises."""
    errors = []

    def run(rank):
        try:
            work(rank)
        except BaseException as error:
            errors.append(error)
            barrier.abort()

    barrier = threading.Barrier(2)
    desk = [None, None]
    ranks = [Rank(Threads(number, desk, barrier)) for number in range(2)]
    threads = [threading.Thread(target=run, args=(rank,)) for rank in ranks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for error in errors:
        if not isinstance(error, threading.BrokenBarrierError):
            raise error
    assert not errors
    return ranks


@pytest.mark.parametrize(
    "windows",
    [
        [("rows", "none"), ("none", "rows"), ("rows", "rows")],
        [("none", "rows"), ("dense", "none"), ("rows", "dense")],
        [("none", "none"), ("rows", "none"), ("none", "none")],
        [("rows", "dense"), ("none", "dense")],
        [("dense", "none"), ("rows", "none"), ("none", "rows"), ("dense", "dense")],
        [("both", "rows"), ("rows", "both")],
    ],
)
def test_a_gradient_may_be_sparse_in_one_rank_and_missing_or_dense_in_another(windows, monkeypatch):
    monkeypatch.setattr(gradients, "LARGE_BYTES", ROWS * WIDTH * 4)
    found = {}

    def work(rank):
        number = rank.sum._channel.rank
        for index, forms in enumerate(windows):
            found[number, index] = rank.window(forms[number], 2 * index + number)

    together(work)
    alone = Rank(None)
    for index, forms in enumerate(windows):
        parameters = [alone.table, alone.matrix, alone.bias]
        loss = sum(alone.loss(form, 2 * index + number) for number, form in enumerate(forms))
        wanted = torch.autograd.grad(loss, parameters, allow_unused=True)
        for number in range(2):
            for one, other in zip(found[number, index], wanted, strict=True):
                if other is None:
                    assert one is None
                else:
                    torch.testing.assert_close(one, other.to_dense())
