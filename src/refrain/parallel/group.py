"""Ranks that communicate through `torch.distributed`: by gloo on processors and by NCCL on GPUs."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from refrain.nn.columns import Columns

from .channels import Network, shared_memory
from .gradients import GradientSum
from .ranks import Ranks, checksum, columns_of
from .watch import Watch


class Group(Ranks):
    """The ranks of the process group of `torch.distributed`.

    Args:
        watch: notices ranks that are lost.
    """

    def __init__(self, watch: Watch) -> None:
        self.rank = dist.get_rank()
        self.size = dist.get_world_size()
        self.watch = watch
        self.seconds = 0.0
        """The time that was spent in waiting for other ranks and for what they send."""
        self._sum: GradientSum | None = None
        self._network = Network()
        hosts = self.gathered(socket.gethostname())
        self._memory = shared_memory(self.rank, self.size, hosts, self.gathered, watch.is_lost)

    def columns(self, total: int) -> Columns | None:
        """Return the columns that this rank computes; see `Ranks`."""
        return columns_of(self.rank, self.size, total)

    def backward(self, loss: Tensor, nats: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[float, float]:
        """Compute summed gradients, see `Ranks`; they are sent while others are computed."""
        gradients = self._gradients(parameters)
        gradients.begin()
        loss.backward()
        with self.communicating():
            return gradients.finish(loss.item(), nats.item())

    def sum_gradients(self, loss: float, nats: float, parameters: Sequence[nn.Parameter]) -> tuple[float, float]:
        """Sum gradients that are computed already; see `Ranks`."""
        gradients = self._gradients(parameters)
        gradients.begin()
        with self.communicating():
            return gradients.finish(loss, nats)

    def _gradients(self, parameters: Sequence[nn.Parameter]) -> GradientSum:
        if self._sum is None or self._sum.parameters != list(map(id, parameters)):
            on_processor = all(parameter.device.type == "cpu" for parameter in parameters)
            channel = self._memory if self._memory is not None and on_processor else self._network
            self._sum = GradientSum(parameters, channel)
        return self._sum

    def sums(self, *values: float) -> list[float]:
        """Return sums over the ranks; see `Ranks`."""
        return self._reduced(torch.tensor(values, dtype=torch.float64), dist.ReduceOp.SUM)

    def largest(self, *values: int) -> list[int]:
        """Return maxima over the ranks; see `Ranks`."""
        return self._reduced(torch.tensor(values, dtype=torch.int64), dist.ReduceOp.MAX)

    def _reduced(self, values: Tensor, operation: Any) -> list[Any]:
        with self.communicating():
            if self._memory is None:
                dist.all_reduce(values, operation)
            else:
                # every window asks for this, and the network takes milliseconds where all cores are busy
                every = torch.stack(self._memory.gather(values))
                values = every.sum(0) if operation == dist.ReduceOp.SUM else every.amax(0)
        return list(values.tolist())

    def from_first(self, value: Any) -> Any:
        """Return rank 0's value; see `Ranks`."""
        # every rank sends something, which for others than rank 0 is short
        return self.gathered(value if self.first else None)[0]

    def gathered(self, value: Any) -> list[Any]:
        """Return every rank's value; see `Ranks`."""
        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        with self.communicating():
            lengths = [int(length) for length in _all_gather(torch.tensor([len(text)]))]
            padded = torch.zeros(max(lengths), dtype=torch.uint8)
            padded[: len(text)] = text
            found = _all_gather(padded)
        return [json.loads(bytes(each[:length].tolist())) for each, length in zip(found, lengths, strict=True)]

    def all_columns(self, tensors: Sequence[Tensor], total: int) -> list[Tensor]:
        """Join the columns of all ranks; see `Ranks`."""
        if total < self.size:
            return list(tensors)
        counts = [columns.number for rank in range(self.size) if (columns := columns_of(rank, self.size, total))]
        whole = []
        for tensor in tensors:
            padded = tensor.new_zeros(max(counts), *tensor.shape[1:])
            padded[: len(tensor)] = tensor
            with self.communicating():
                found = _all_gather(padded)
            whole.append(torch.cat([each[:count] for each, count in zip(found, counts, strict=True)]))
        return whole

    def same_weights(self, model: nn.Module) -> bool:
        """Give every rank the parameters and buffers of rank 0; see `Ranks`."""
        sums = self.gathered(checksum(model))
        if len(set(sums)) == 1:
            return True
        with self.communicating(), torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                dist.broadcast(tensor.detach(), 0)
        torch.autograd.graph.increment_version(list(model.parameters()))
        return False

    def wait(self) -> None:
        """Wait for all ranks; see `Ranks`."""
        # torch's barrier would use a GPU where there is one, also for a model that is trained on the processor
        self.sums(0.0)

    def at(self, step: int, phase: str) -> None:
        """Note the position of this rank; see `Ranks`."""
        self.watch.at(step, phase)

    @contextlib.contextmanager
    def communicating(self) -> Iterator[None]:
        """A context in which this rank waits for others.

        Raises:
            LostRankError: when a rank does not answer; the message names it.
        """
        started = time.perf_counter()
        try:
            with self.watch.waiting():
                yield
        except RuntimeError as error:
            raise self.watch.lost(error) from None
        finally:
            self.seconds += time.perf_counter() - started


def _all_gather(tensor: Tensor) -> list[Tensor]:
    found = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(found, tensor.contiguous())
    return found
