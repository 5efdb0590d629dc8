"""The ranks that train one model together, and one rank alone.

A rank is a process, numbered from 0, as in `torch.distributed`. Every rank runs the same program and holds the whole
model; it computes some columns of each batch. Rank 0 alone writes and prints.

B columns of a batch.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from refrain.nn.columns import Columns


class Ranks:
    """A rank alone: it computes all columns, and its own values are those of all ranks.

    Attributes:
        rank: the number of this process.
        size: the number of processes.
    """

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and prints."""
        return self.rank == 0

    def columns(self, total: int) -> Columns | None:
        """Return the columns of a batch that this rank computes; None for all of them.

        Ranks with a lower number have one column more where the columns cannot be divided equally. A batch with fewer
        columns than ranks is computed by each of them.

        Args:
            total: B.
        """
        return None

    def backward(self, loss: Tensor, nats: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[float, float]:
        """Compute the gradients of all parameters, summed over the ranks.

        Args:
            loss: the part of the loss that this rank has computed, a scalar with a gradient.
            nats: the part of the nats, a scalar.
            parameters: the parameters; a parameter has no gradient if it has none in any rank.

        Returns:
            The loss and the nats, summed over the ranks.
        """
        loss.backward()
        return loss.item(), nats.item()

    def sum_gradients(self, loss: float, nats: float, parameters: Sequence[nn.Parameter]) -> tuple[float, float]:
        """Sum gradients that are computed already over the ranks, in place; see `backward`."""
        return loss, nats

    def sums(self, *values: float) -> list[float]:
        """Return sums over the ranks, in float64."""
        return list(values)

    def largest(self, *values: int) -> list[int]:
        """Return maxima over the ranks."""
        return list(values)

    def from_first(self, value: Any) -> Any:
        """Return rank 0's value, which is plain data."""
        return value

    def gathered(self, value: Any) -> list[Any]:
        """Return every rank's value, which is plain data, by rank."""
        return [value]

    def deal(self, jobs: Sequence[Callable[[], Any]]) -> list[Any]:
        """Return the results of jobs, which are plain data; each job is done by one rank.

        Args:
            jobs: the same in every rank.
        """
        own = [job() if index % self.size == self.rank else None for index, job in enumerate(jobs)]
        every = self.gathered(own)
        return [every[index % self.size][index] for index in range(len(jobs))]

    def all_columns(self, tensors: Sequence[Tensor], total: int) -> list[Tensor]:
        """Join tensors whose first axis has the columns of each rank.

        Args:
            tensors: (columns of this rank, ...).
            total: B.

        Returns:
            (B, ...) for each tensor.
        """
        return list(tensors)

    def same_weights(self, model: nn.Module) -> bool:
        """Give every rank the weights of rank 0, in place, and return whether they had them already.

        Args:
            model: the model.
        """
        return True

    def wait(self) -> None:
        """Wait until every rank has called this."""

    def at(self, step: int, phase: str) -> None:
        """Note the position of this rank, by which the others judge whether it hangs.

        Args:
            step: the number of finished windows of the run.
            phase: what it does: `train` has a time limit, everything else has none.
        """


ALONE = Ranks()
"""The ranks of a run that has one process."""


def columns_of(rank: int, size: int, total: int) -> Columns | None:
    """Return the columns of a rank; None for all of them, where there are fewer columns than ranks.

    Args:
        rank: the number of the rank.
        size: the number of ranks.
        total: B.
    """
    if total < size:
        return None
    share, more = divmod(total, size)
    return Columns(rank * share + min(rank, more), share + (rank < more), total)


def checksum(model: nn.Module) -> int:
    """Return a number that differs, almost surely, between models of different weights; sums of bits in 64 bits."""
    total = 0
    for parameter in model.parameters():
        bits = parameter.detach().cpu().contiguous().view(-1).view(torch.uint8)
        words = bits[: bits.numel() // 8 * 8].view(torch.int64)
        total = (total * 31 + int(words.sum()) + int(bits[bits.numel() // 8 * 8 :].sum())) % 2**62
    return total
