"""Sums of gradients over ranks.

Each large gradient is sent as soon as it is computed, in an order that is the same in every rank: from the last
parameter to the first. So a network sends it while the backward pass goes on. All small ones are sent together at the
end, with the loss. Of a sparse gradient the rows are sent.

What a rank sends of a parameter may not depend on what it has computed alone: a parameter may have a sparse gradient in
one rank and none, or a dense one, in another. So the ranks agree on the form of each large gradient in the first
backward pass in which some rank has it, and keep to it.
"""

from collections.abc import Sequence
from typing import Literal

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
        self._forms: dict[int, Literal["dense", "rows"]] = {}
        """By identity, what is sent of a large parameter, as far as it is agreed."""
        self._order: list[nn.Parameter] = []
        self._active = False
        self._ready: set[int] = set()
        self._sent = 0
        self._failure: RuntimeError | None = None
        for parameter in self._large:
            parameter.register_post_accumulate_grad_hook(self._computed)

    def begin(self) -> None:
        """Prepare for a backward pass."""
        self._active = True
        self._order = [parameter for parameter in self._large if self._forms.get(id(parameter)) == "dense"]
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
        rows = [_has_rows(parameter.grad) for parameter in self._large]
        self._ready.update(self.parameters)
        self._send()
        if self._failure is not None:
            raise self._failure
        # sums of small gradients are exact to float32, as they are computed in float64
        small = [_dense(parameter) for parameter in self._small]
        device = self._all[0].device
        head = torch.tensor([loss, nats, *map(float, [*present, *rows])], dtype=torch.float64, device=device)
        joined = torch.cat([head, *(gradient.flatten().double() for gradient in small)])
        self._channel.start_sum(joined)
        self._channel.finish_sums()
        start = len(head)
        for parameter, gradient in zip(self._small, small, strict=True):
            parameter.grad = joined[start : start + gradient.numel()].view_as(gradient).to(gradient.dtype)
            start += gradient.numel()
        counts = joined[2 : 2 + len(present)].tolist()
        has_gradient = {id(parameter) for parameter, count in zip(self._all, counts, strict=True) if count}
        self._sum_others(has_gradient, joined[2 + len(present) : len(head)].tolist())
        for parameter in self._all:
            if id(parameter) not in has_gradient:
                parameter.grad = None
        return float(joined[0]), float(joined[1])

    def _sum_others(self, has_gradient: set[int], rows: Sequence[float]) -> None:
        """Sum the large gradients of which rows are sent, or of which it is not agreed yet what is sent.

        Args:
            has_gradient: the identities of the parameters that have a gradient in some rank.
            rows: for each large parameter, in how many ranks its gradient has rows.
        """
        dense = []
        for parameter, count in zip(self._large, rows, strict=True):
            if id(parameter) not in has_gradient or self._forms.get(id(parameter)) == "dense":
                continue
            if self._forms.setdefault(id(parameter), "rows" if count else "dense") == "rows":
                parameter.grad = _summed_rows(_rows(parameter), self._channel)
            else:
                parameter.grad = _dense(parameter).contiguous()
                dense.append(parameter.grad)
        for gradient in dense:
            self._channel.start_sum(gradient)
        self._channel.finish_sums()

    def _computed(self, parameter: Tensor) -> None:
        if self._active:
            self._ready.add(id(parameter))
            self._send()

    def _send(self) -> None:
        """Send the dense gradients that are ready, in order."""
        while self._sent < len(self._order) and id(self._order[self._sent]) in self._ready:
            parameter = self._order[self._sent]
            self._sent += 1
            if self._failure is None:
                parameter.grad = _dense(parameter).contiguous()
                try:
                    self._channel.start_sum(parameter.grad)
                except RuntimeError as error:
                    # raised by `finish`, since this may be called in the backward pass
                    self._failure = error


def _has_rows(gradient: Tensor | None) -> bool:
    """Whether a gradient is sparse by its first axis alone, as that of an embedding."""
    return gradient is not None and gradient.is_sparse and gradient.sparse_dim() == 1


def _dense(parameter: nn.Parameter) -> Tensor:
    """The gradient of a parameter as a dense tensor; zeros where it has none."""
    if parameter.grad is None:
        return torch.zeros_like(parameter)
    return parameter.grad if parameter.grad.layout == torch.strided else parameter.grad.to_dense()


def _rows(parameter: nn.Parameter) -> Tensor:
    """The gradient of a parameter as a tensor that is sparse by its first axis; without rows where it has none."""
    if _has_rows(parameter.grad):
        assert parameter.grad is not None
        return parameter.grad
    if parameter.grad is not None:
        return _dense(parameter).to_sparse(1)
    ids = torch.zeros(1, 0, dtype=torch.int64, device=parameter.device)
    values = parameter.new_zeros(0, *parameter.shape[1:])
    return torch.sparse_coo_tensor(ids, values, parameter.shape, check_invariants=False)


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
