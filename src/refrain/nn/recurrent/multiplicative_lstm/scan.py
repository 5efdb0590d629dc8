"""A window of a multiplicative LSTM as a scan: how its hidden state reaches the gates.

T steps in the window, B batch, I input width, H hidden width, M intermediate width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from refrain.nn.kernels.workspace import Workspace
from refrain.nn.recurrent.lstm.scan import linear, scan_recurrence
from refrain.nn.recurrent.protocol import Context


def scan_window(
    context: Context, inputs: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A window that can be differentiated once; see `Window`.

    Weights: w_im (M, I), w_hm (M, H), w_ih (4H, I), w_mh (4H, M), bias (4H,).
    """
    w_im, w_hm, w_ih, w_mh, bias = weights
    projected = linear(inputs, w_ih, bias, context.backend)
    factors = linear(inputs, w_im, None, context.backend)
    outputs, after = scan_recurrence(
        MultiplicativeRecurrence, context.pool, context.backend, projected, *state, factors, w_hm, w_mh
    )
    # a copy, as operations may change outputs in place
    return outputs, (outputs[-1].clone(), after)


class MultiplicativeRecurrence:
    """The hidden state reaches the gates through the intermediate state; see `Recurrence`.

    Args:
        tensors: factors (T, B, M), the input's part of the intermediate state; w_hm (M, H); w_mh (4H, M).
        workspace: where memory is allocated.
        steps: for how many steps intermediate values are kept.
        dtype: of matmul inputs.
    """

    def __init__(self, tensors: Sequence[Tensor], workspace: Workspace, *, steps: int, dtype: torch.dtype) -> None:
        self.factors, self.w_hm, self.w_mh = (workspace.cast(tensor, dtype) for tensor in tensors)
        shape = (steps, *self.factors.shape[1:])
        self.projections = workspace.allocate(shape, dtype)  # hidden @ w_hm.T
        self.intermediate = workspace.allocate(shape, dtype)
        self.d_projections = workspace.allocate(shape, dtype)
        self._factors = self.factors.unbind()
        self._projections = self.projections.unbind()
        self._intermediate = self.intermediate.unbind()
        self._to_intermediate = self.w_hm.T
        self._to_gates = self.w_mh.T
        self._d_factors: Tensor | None = None

    def forward(self, step: int, hidden: Tensor, out: Tensor) -> None:
        """The recurrent part of the gates; see `Recurrence.forward`."""
        index = step % len(self._projections)
        torch.mm(hidden, self._to_intermediate, out=self._projections[index])
        torch.mul(self._factors[step], self._projections[index], out=self._intermediate[index])
        torch.mm(self._intermediate[index], self._to_gates, out=out)

    def backward(self, step: int, d_gates: Tensor, out: Tensor) -> None:
        """The gradient of the hidden state before a step; see `Recurrence.backward`."""
        if self._d_factors is None:
            self._d_factors = torch.empty_like(self.factors)
            self._d_intermediate = torch.empty_like(self.factors[0])
        torch.mm(d_gates, self.w_mh, out=self._d_intermediate)
        torch.mul(self._d_intermediate, self._projections[step], out=self._d_factors[step])
        d_projection = torch.mul(self._d_intermediate, self._factors[step], out=self.d_projections[step])
        torch.mm(d_projection, self.w_hm, out=out)

    def gradients(self, d_gates: Tensor, hidden: Tensor) -> tuple[Tensor, ...]:
        """The gradients of the factors and of both weights; see `Recurrence.gradients`."""
        assert self._d_factors is not None
        d_w_hm = self.d_projections.flatten(0, 1).T @ hidden.flatten(0, 1)
        d_w_mh = d_gates.flatten(0, 1).T @ self.intermediate.flatten(0, 1)
        return self._d_factors, d_w_hm, d_w_mh
