"""The gates and the cell of an LSTM in one step of a scan: by torch's operations, or by one Triton kernel on a GPU.

T steps in the window, S steps that are kept (T, or 1 without a backward pass), B batch, H hidden width. Gates are
packed in the order input, forget, candidate, output.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from refrain.nn.kernels.launch import launch
from refrain.nn.kernels.workspace import Workspace


class LSTMTape(NamedTuple):
    """What the steps of a window read and write. If S < T, entries are overwritten in turn."""

    projected: Tensor  # (T, B, 4H), the input's part of the gates, bias included
    gates: Tensor  # (S, B, 4H), after their activations
    cells: Tensor  # (S + 1, B, H), before and after each step
    matmul_inputs: Tensor  # (S + 1, B, H), hidden states before and after each step, in the dtype of matmul inputs
    outputs: Tensor  # (T, B, H)


class GradientFactors(NamedTuple):
    """Derivatives that the backward pass multiplies with, computed for all steps at once; one tensor a step each."""

    cell: tuple[Tensor, ...]  # (B, 3, H): of the cell by the input, forget and candidate gates before their activations
    output_gate: tuple[Tensor, ...]  # (B, H): of the output by the output gate before its activation
    output: tuple[Tensor, ...]  # (B, H): of the output by the cell


class TorchGates:
    """The readable form, on any device and in any dtype.

    Args:
        tape: of the window.
        workspace: where further memory is allocated.
    """

    def __init__(self, tape: LSTMTape, workspace: Workspace) -> None:
        self.tape = tape
        self._workspace = workspace
        self._scratch = workspace.allocate(tape.outputs.shape[1:], tape.outputs.dtype)
        by_gate = tape.gates.unflatten(-1, (4, -1))
        # views are made once: a slice costs as much as a small matmul
        self._projected = tape.projected.unbind()
        self._gates = tape.gates.unbind()
        self._sigmoids = by_gate[:, :, :2].unbind()
        self._input_gates = by_gate[:, :, 0].unbind()
        self._forget_gates = by_gate[:, :, 1].unbind()
        self._candidates = by_gate[:, :, 2].unbind()
        self._output_gates = by_gate[:, :, 3].unbind()
        self._cells = tape.cells.unbind()
        self._matmul_inputs = tape.matmul_inputs.unbind()
        self._outputs = tape.outputs.unbind()
        self._factors: GradientFactors | None = None

    def forward(self, step: int, recurrent: Tensor) -> None:
        """Compute the activated gates, the cell and the output of a step.

        Args:
            step: index of the step; steps come in the order of time.
            recurrent: (B, 4H), the recurrent part of the gates.
        """
        index = step % len(self._gates)
        before = step % len(self._cells)
        after = (step + 1) % len(self._cells)
        torch.add(self._projected[step], recurrent, out=self._gates[index])
        self._sigmoids[index].sigmoid_()
        self._candidates[index].tanh_()
        self._output_gates[index].sigmoid_()
        cell = self._cells[after]
        output = self._outputs[step]
        torch.mul(self._forget_gates[index], self._cells[before], out=cell)
        cell.addcmul_(self._input_gates[index], self._candidates[index])
        torch.tanh(cell, out=self._scratch)
        torch.mul(self._output_gates[index], self._scratch, out=output)
        self._matmul_inputs[after].copy_(output)

    def backward(self, step: int, d_outputs: Tensor, d_recurrent: Tensor, d_cell: Tensor, d_gates: Tensor) -> None:
        """Compute the gradients of a step's gates before their activations, and of the cell before the step.

        Args:
            step: index of the step; steps come in reverse order.
            d_outputs: (T, B, H), from the layer above.
            d_recurrent: (B, H), gradient of the output from the next step.
            d_cell: (B, H), gradient of the cell after the step; replaced by that of the cell before.
            d_gates: (T, B, 4H), written at the step.
        """
        if self._factors is None:
            self._factors = self._gradient_factors()
        factors = self._factors
        d_hidden = self._scratch
        d_by_gate = d_gates[step].unflatten(-1, (4, -1))
        torch.add(d_outputs[step], d_recurrent, out=d_hidden)
        d_cell.addcmul_(d_hidden, factors.output[step])
        torch.mul(d_cell[:, None], factors.cell[step], out=d_by_gate[:, :3])
        torch.mul(d_hidden, factors.output_gate[step], out=d_by_gate[:, 3])
        d_cell.mul_(self._forget_gates[step])

    def _gradient_factors(self) -> GradientFactors:
        gates = self.tape.gates
        cells = self.tape.cells
        factors = self._workspace.allocate(gates.shape, gates.dtype)
        output = self._workspace.allocate(self.tape.outputs.shape, gates.dtype)
        tanh_cell = torch.tanh(cells[1:])
        i, f, g, o = gates.chunk(4, dim=-1)
        factor_i, factor_f, factor_g, factor_o = factors.chunk(4, dim=-1)
        for gate, factor in ((i, factor_i), (f, factor_f), (o, factor_o)):  # y - y^2
            torch.addcmul(gate, gate, gate, value=-1, out=factor)
        torch.mul(g, g, out=factor_g).neg_().add_(1)
        factor_i.mul_(g)
        factor_f.mul_(cells[:-1])
        factor_g.mul_(i)
        factor_o.mul_(tanh_cell)
        torch.mul(tanh_cell, tanh_cell, out=output).neg_().add_(1).mul_(o)
        by_gate = factors.unflatten(-1, (4, -1))
        return GradientFactors(by_gate[:, :, :3].unbind(), by_gate[:, :, 3].unbind(), output.unbind())


class TritonGates:
    """The same in one launch a step, for float32 and a tape of all steps; if a launch fails, `TorchGates` takes over.

    Args:
        tape: of the window.
        workspace: where further memory is allocated.
    """

    def __init__(self, tape: LSTMTape, workspace: Workspace) -> None:
        self.tape = tape
        self._workspace = workspace
        _, self._batch, self._width = tape.outputs.shape
        self._fallback: TorchGates | None = None

    def forward(self, step: int, recurrent: Tensor) -> None:
        """See `TorchGates.forward`."""
        tape = self.tape
        arguments = (tape.projected, recurrent, tape.gates, tape.cells, tape.outputs, tape.matmul_inputs, step)
        if not self._launch("forward", *arguments):
            self._torch_gates().forward(step, recurrent)

    def backward(self, step: int, d_outputs: Tensor, d_recurrent: Tensor, d_cell: Tensor, d_gates: Tensor) -> None:
        """See `TorchGates.backward`."""
        arguments = (d_outputs, d_recurrent, self.tape.gates, self.tape.cells, d_cell, d_gates, step)
        if not self._launch("backward", *arguments):
            self._torch_gates().backward(step, d_outputs, d_recurrent, d_cell, d_gates)

    def _launch(self, function: str, *arguments: Tensor | int) -> bool:
        return launch("lstm", function, self._batch * self._width, *arguments, self._width)

    def _torch_gates(self) -> TorchGates:
        self._fallback = self._fallback or TorchGates(self.tape, self._workspace)
        return self._fallback
