"""A sparse layer whose blocks are distributed over the processes of a `torch.distributed` group, each with a device.

The rest of the model is replicated in every process and gets the same inputs; only the blocks are divided, in memory
and in work. After a backward pass each process holds the gradients of its own blocks, and the complete gradients of the
replicated parameters.

T steps in the window, B batch, I input width, H hidden width.
"""

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from refrain.nn.recurrent.lstm.layer import LSTM
from refrain.nn.recurrent.lstm.state import LSTMState
from refrain.nn.recurrent.protocol import check_window
from refrain.nn.segments import SparsePlan


class SpreadSparseLSTM(nn.Module):
    """This process's blocks of a `SparseLSTM`; the outputs are those of all blocks.

    Its parameters have the names of the whole layer, so the state dicts of all processes together are that of a
    `SparseLSTM` of the same plan.

    Args:
        plan: of the whole layer.
        group: the processes; None for all.
        block: makes the LSTM of a block from its widths.

    Raises:
        ValueError: when there are more processes than blocks.
    """

    def __init__(
        self, plan: SparsePlan, *, group: dist.ProcessGroup | None = None, block: Callable[[int, int], LSTM] = LSTM
    ) -> None:
        super().__init__()
        rank = dist.get_rank(group)
        size = dist.get_world_size(group)
        count = len(plan.blocks)
        if size > count:
            raise ValueError(f"{size} processes are more than the {count} blocks of the plan")
        self.plan, self.group = plan, group
        self.input_size, self.hidden_size = plan.input_size, plan.hidden_size
        shares = [range(count * part // size, count * (part + 1) // size) for part in range(size)]
        units = [block.units for block in plan.blocks]
        starts = list(accumulate(units, initial=0))
        # the first and last units of each process
        self._edges = [(starts[share[0]], starts[share[-1] + 1]) for share in shares]
        self._own = self._edges[rank]
        parts = ((index, plan.blocks[index]) for index in shares[rank])
        self.blocks = nn.ModuleDict({str(index): block(part.end - part.begin, part.units) for index, part in parts})

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros: hidden and cell of all units, each (B, H)."""
        zeros = next(self.parameters()).new_zeros(batch_size, self.hidden_size)
        return LSTMState(zeros, zeros.clone())

    def forward(self, inputs: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """inputs (T, B, I) -> outputs (T, B, H) and the state after the last step, of all blocks in every process.

        Raises:
            ValueError: when a width or the batch does not fit.
        """
        check_window(self.input_size, self.hidden_size, inputs, state)
        inputs, hidden, cell = (_Shared.apply(part, self.group) for part in (inputs, *state))  # type: ignore[no-untyped-call]
        outputs, cells, first = [], [], self._own[0]
        for name, lstm in self.blocks.items():
            begin, end, units = self.plan.blocks[int(name)]
            own = LSTMState(*(part[:, first : first + units].contiguous() for part in (hidden, cell)))
            output, after = lstm(inputs[..., begin:end], own)
            outputs.append(output)
            cells.append(after.cell)
            first += units
        joined: Tensor = _Gathered.apply(torch.cat(outputs, -1), self._edges, self.group)  # type: ignore[no-untyped-call]
        after_cell: Tensor = _Gathered.apply(torch.cat(cells, -1), self._edges, self.group)  # type: ignore[no-untyped-call]
        return joined, LSTMState(joined[-1].clone(), after_cell)

    def load_own(self, whole: Mapping[str, Tensor]) -> None:
        """Load the weights of this process's blocks from a whole layer's state dict.

        Args:
            whole: state dict of a `SparseLSTM` of the same plan.
        """
        self.load_state_dict({name: whole[name] for name in self.state_dict()})


class _Shared(torch.autograd.Function):
    """Identity, whose gradient is summed over the processes, each of which uses a part of the tensor."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


class _Gathered(torch.autograd.Function):
    """(..., own units) of each process -> (..., all units) in every process."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, edges: list[tuple[int, int]], group: dist.ProcessGroup | None) -> Tensor:
        widths = [last - first for first, last in edges]
        ctx.edge = edges[dist.get_rank(group)]
        padded = nn.functional.pad(own, (0, max(widths) - own.shape[-1])).contiguous()
        parts = [torch.empty_like(padded) for _ in widths]
        dist.all_gather(parts, padded, group=group)
        return torch.cat([part[..., :width] for part, width in zip(parts, widths, strict=True)], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        first, last = ctx.edge
        return gradient[..., first:last].contiguous(), None, None
