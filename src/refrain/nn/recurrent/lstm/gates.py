"""What an LSTM does with the gates of a step, between its products: by torch's operations, or by one kernel on a GPU.

T steps in the window, S of them remembered (all, or one without a way back), B sequences, H hidden width. Gates are
packed in the order input, forget, candidate, output.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from refrain.nn.kernels.launch import launch
from refrain.nn.kernels.workspace import Loan


class LSTMTape(NamedTuple):
    """What a window's steps read and write. With S < T the places are used in turn."""

    projected: Tensor  # (T, B, 4H), the input's part of the gates, bias included
    gates: Tensor  # (S, B, 4H), activated
    cells: Tensor  # (S + 1, B, H), before and after each step
    operands: Tensor  # (S + 1, B, H), hidden states before and after each step, in the type of the products
    outputs: Tensor  # (T, B, H)


class TorchGates:
    """The readable form, on any device and in any type.

    Args:
        tape: of the window.
        loan: where further memory is taken.
    """

    def __init__(self, tape: LSTMTape, loan: Loan) -> None:
        self.tape, self._loan = tape, loan
        self._squashed = loan.take(tape.outputs.shape[1:], tape.outputs.dtype)
        packed = tape.gates.unflatten(-1, (4, -1))
        # views are made once: a slice costs as much as a small product
        self._parts, self._rows, self._forgets = tape.projected.unbind(), tape.gates.unbind(), packed[:, :, 1].unbind()
        self._inputs, self._candidates = packed[:, :, 0].unbind(), packed[:, :, 2].unbind()
        self._sigmoids, self._outs = packed[:, :, :2].unbind(), packed[:, :, 3].unbind()
        self._cells, self._operands, self._outputs = tape.cells.unbind(), tape.operands.unbind(), tape.outputs.unbind()
        self._slopes: tuple[tuple[Tensor, ...], ...] | None = None

    def forward(self, step: int, product: Tensor) -> None:
        """Activated gates, cell and output of a step.

        Args:
            step: in the order of time.
            product: (B, 4H), what comes of the hidden state before.
        """
        slot, before, after = step % len(self._rows), step % len(self._cells), (step + 1) % len(self._cells)
        torch.add(self._parts[step], product, out=self._rows[slot])
        self._sigmoids[slot].sigmoid_()
        self._candidates[slot].tanh_()
        self._outs[slot].sigmoid_()
        cell, output = self._cells[after], self._outputs[step]
        torch.mul(self._forgets[slot], self._cells[before], out=cell)
        cell.addcmul_(self._inputs[slot], self._candidates[slot])
        torch.tanh(cell, out=self._squashed)
        torch.mul(self._outs[slot], self._squashed, out=output)
        self._operands[after].copy_(output)

    def backward(self, step: int, d_outputs: Tensor, d_product: Tensor, d_cell: Tensor, d_gates: Tensor) -> None:
        """Gradients of a step's gates before their activations, and of the cell before the step.

        Args:
            step: against the order of time.
            d_outputs: (T, B, H), from above.
            d_product: (B, H), from the step after.
            d_cell: (B, H), of the cell after the step; becomes that of the cell before.
            d_gates: (T, B, 4H), written at the step.
        """
        if self._slopes is None:
            self._slopes = self._all_slopes()
        three, last, cell_slopes = self._slopes
        d_hidden, d_packed = self._squashed, d_gates[step].unflatten(-1, (4, -1))
        torch.add(d_outputs[step], d_product, out=d_hidden)
        d_cell.addcmul_(d_hidden, cell_slopes[step])
        torch.mul(d_cell[:, None], three[step], out=d_packed[:, :3])
        torch.mul(d_hidden, last[step], out=d_packed[:, 3])
        d_cell.mul_(self._forgets[step])

    def _all_slopes(self) -> tuple[tuple[Tensor, ...], ...]:
        """What the way back multiplies with, for all steps at once.

        Returns:
            A step each: (B, 3, H), d cell / d gate before its activation; (B, H), d hidden / d output gate before its
            activation; and (B, H), d hidden / d cell.
        """
        gates, cells = self.tape.gates, self.tape.cells
        slopes = self._loan.take(gates.shape, gates.dtype)
        cell_slopes = self._loan.take(self.tape.outputs.shape, gates.dtype)
        squashed = torch.tanh(cells[1:])
        i, f, g, o = gates.chunk(4, dim=-1)
        of_i, of_f, of_g, of_o = slopes.chunk(4, dim=-1)
        for gate, slope in ((i, of_i), (f, of_f), (o, of_o)):  # y - y^2
            torch.addcmul(gate, gate, gate, value=-1, out=slope)
        torch.mul(g, g, out=of_g).neg_().add_(1)
        of_i.mul_(g)
        of_f.mul_(cells[:-1])
        of_g.mul_(i)
        of_o.mul_(squashed)
        torch.mul(squashed, squashed, out=cell_slopes).neg_().add_(1).mul_(o)
        packed = slopes.unflatten(-1, (4, -1))
        return packed[:, :, :3].unbind(), packed[:, :, 3].unbind(), cell_slopes.unbind()


class TritonGates:
    """The same in one launch a step, for float32 and all steps remembered; should it fail, `TorchGates` goes on.

    Args:
        tape: of the window.
        loan: where further memory is taken.
    """

    def __init__(self, tape: LSTMTape, loan: Loan) -> None:
        self.tape, self._loan = tape, loan
        self._batch, self._width = tape.outputs.shape[1:]
        self._plain: TorchGates | None = None

    def forward(self, step: int, product: Tensor) -> None:
        """As of `TorchGates`."""
        tape = self.tape
        written = tape.gates, tape.cells, tape.outputs, tape.operands
        if not self._launch("forward", tape.projected, product, *written, step):
            self._otherwise().forward(step, product)

    def backward(self, step: int, d_outputs: Tensor, d_product: Tensor, d_cell: Tensor, d_gates: Tensor) -> None:
        """As of `TorchGates`."""
        tape = self.tape
        if not self._launch("backward", d_outputs, d_product, tape.gates, tape.cells, d_cell, d_gates, step):
            self._otherwise().backward(step, d_outputs, d_product, d_cell, d_gates)

    def _launch(self, function: str, *arguments: Tensor | int) -> bool:
        return launch("lstm", function, self._batch * self._width, *arguments, self._width)

    def _otherwise(self) -> TorchGates:
        self._plain = self._plain or TorchGates(self.tape, self._loan)
        return self._plain
