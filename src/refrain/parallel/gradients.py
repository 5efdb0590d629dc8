"""Sums of gradients over ranks.

Each large gradient is sent as soon as it is computed, in an order that is the same in every rank: from the last
parameter to the first. So a network sends it while the backward pass goes on. All small ones are sent together at the
end, with the loss. Of a sparse gradient the rows are sent.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .channels import Channel

LARGE_BYTES = 1 << 18
"""The size from which a gradient is sent on its own; smaller ones are joined."""


class GradientSum:
    """Sums the gradients of one backward pass over the ranks.

    Args:
        parameters: the parameters, in the same order in every rank.
        channel: sums tensors.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], channel: Channel) -> None:
        self._channel = channel
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
        self._failure: RuntimeError | None = None
        for parameter in self._large:
            parameter.register_post_accumulate_grad_hook(self._computed)

    def begin(self) -> None:
        """Prepare for a backward pass."""
        self._active = True
        self._ready.clear()
        self._sent = 0
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
        self._channel.start_sum(joined)
        self._channel.finish_sums()
        start = len(head)
        for parameter, gradient in zip(self._small, small, strict=True):
            parameter.grad = joined[start : start + gradient.numel()].view_as(gradient).to(gradient.dtype)
            start += gradient.numel()
        for parameter in self._large:
            if parameter.grad is not None and parameter.grad.is_sparse:
                parameter.grad = _summed_rows(parameter.grad, self._channel)
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
                    self._channel.start_sum(parameter.grad)
                except RuntimeError as error:
                    # raised by `finish`, since this may be called in the backward pass
                    self._failure = error


def _summed_rows(gradient: Tensor, channel: Channel) -> Tensor:
    """The sum of sparse gradients over the ranks: the rows of all of them, not coalesced."""
    own = gradient.coalesce()
    ids, rows = own.indices()[0], own.values()
    lengths = [int(count) for count in channel.gather(torch.tensor([len(ids)], device=ids.device))]
    padded_ids = ids.new_zeros(max(lengths))
    padded_ids[: len(ids)] = ids
    padded_rows = rows.new_zeros(max(lengths), *rows.shape[1:])
    padded_rows[: len(rows)] = rows
    every = zip(channel.gather(padded_ids), channel.gather(padded_rows), lengths, strict=True)
    kept = [(some_ids[:length], some_rows[:length]) for some_ids, some_rows, length in every]
    all_ids, all_rows = (torch.cat(parts) for parts in zip(*kept, strict=True))
    return torch.sparse_coo_tensor(all_ids[None], all_rows, gradient.shape, check_invariants=False)
