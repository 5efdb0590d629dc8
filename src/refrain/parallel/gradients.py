"""Sums of gradients over ranks, sent while the backward pass goes on.

Each large gradient is sent as soon as it is computed, in an order that is the same in every rank: from the last
parameter to the first. All small ones are sent together at the end, with the loss. Of a sparse gradient the rows are
sent.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

LARGE_BYTES = 1 << 18
"""The size from which a gradient is sent on its own; smaller ones are joined."""


class GradientSum:
    """Sums the gradients of one backward pass over the ranks.

    Args:
        parameters: the parameters, in the same order in every rank.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(map(id, parameters))
        """The identities of the parameters."""
        self._all = list(parameters)
        sizes = [parameter.numel() * parameter.element_size() for parameter in parameters]
        pairs = list(zip(parameters, sizes, strict=True))
        self._large = [parameter for parameter, size in reversed(pairs) if size >= LARGE_BYTES]
        self._small = [parameter for parameter, size in pairs if size < LARGE_BYTES]
        self._active = False
        self._ready: set[int] = set()
        self._sent = 0
        self._works: list[Any] = []
        self._failure: RuntimeError | None = None
        for parameter in self._large:
            parameter.register_post_accumulate_grad_hook(self._computed)

    def begin(self) -> None:
        """Prepare for a backward pass."""
        self._active = True
        self._ready.clear()
        self._sent = 0
        self._works.clear()
        self._failure = None

    def finish(self, loss: float, nats: float) -> tuple[float, float]:
        """Wait until all gradients are summed, after a backward pass.

        Args:
            loss: of this rank.
            nats: of this rank.

        Returns:
            The loss and the nats, summed over the ranks.

        Raises:
            RuntimeError: when another rank does not answer.
        """
        self._active = False
        present = [parameter.grad is not None for parameter in self._all]
        self._ready.update(self.parameters)
        self._send()
        if self._failure is not None:
            raise self._failure
        # sums of small gradients are exact to float32, as they are computed in float64
        small = [torch.zeros_like(each) if each.grad is None else each.grad.to_dense() for each in self._small]
        device = self._all[0].device
        head = torch.tensor([loss, nats, *map(float, present)], dtype=torch.float64, device=device)
        joined = torch.cat([head, *(gradient.flatten().double() for gradient in small)])
        dist.all_reduce(joined)
        start = len(head)
        for parameter, gradient in zip(self._small, small, strict=True):
            parameter.grad = joined[start : start + gradient.numel()].view_as(gradient).to(gradient.dtype)
            start += gradient.numel()
        for work in self._works:
            work.wait()
        for parameter in self._large:
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = _summed_rows(parameter.grad)
        counts = joined[2 : 2 + len(present)].tolist()
        for parameter, count in zip(self._all, counts, strict=True):
            if not count:
                parameter.grad = None
        return float(joined[0]), float(joined[1])

    def _computed(self, parameter: Tensor) -> None:
        if self._active:
            self._ready.add(id(parameter))
            self._send()

    def _send(self) -> None:
        """Send the gradients that are ready, in order."""
        while self._sent < len(self._large) and id(self._large[self._sent]) in self._ready:
            parameter = self._large[self._sent]
            self._sent += 1
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            # the rows of a sparse gradient are sent at the end
            if not parameter.grad.is_sparse and self._failure is None:
                parameter.grad = parameter.grad.contiguous()
                try:
                    self._works.append(dist.all_reduce(parameter.grad, async_op=True))
                except RuntimeError as error:
                    # raised by `finish`, since this may be called in the backward pass
                    self._failure = error


def _summed_rows(gradient: Tensor) -> Tensor:
    """The sum of sparse gradients over the ranks: the rows of all of them, not coalesced."""
    own = gradient.coalesce()
    ids, rows = own.indices()[0], own.values()
    size = dist.get_world_size()
    counts = [torch.empty(1, dtype=torch.int64, device=ids.device) for _ in range(size)]
    dist.all_gather(counts, torch.tensor([len(ids)], device=ids.device))
    lengths = [int(count) for count in counts]
    padded_ids = ids.new_zeros(max(lengths))
    padded_ids[: len(ids)] = ids
    padded_rows = rows.new_zeros(max(lengths), *rows.shape[1:])
    padded_rows[: len(rows)] = rows
    all_ids = [torch.empty_like(padded_ids) for _ in range(size)]
    all_rows = [torch.empty_like(padded_rows) for _ in range(size)]
    dist.all_gather(all_ids, padded_ids)
    dist.all_gather(all_rows, padded_rows)
    found_ids = torch.cat([each[:length] for each, length in zip(all_ids, lengths, strict=True)])
    found_rows = torch.cat([each[:length] for each, length in zip(all_rows, lengths, strict=True)])
    return torch.sparse_coo_tensor(found_ids[None], found_rows, gradient.shape, check_invariants=False)
