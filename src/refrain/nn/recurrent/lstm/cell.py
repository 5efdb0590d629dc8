"""An LSTM cell for your own loop over time: weight drop, peepholes, clipping, projection.

Equations: `lstm_step` in layer.py, extended by peepholes (Gers & Schmidhuber, 2000) and a recurrent projection (Sak et
al., 2014). Gates are packed in the order input, forget, candidate, output.

B batch, I input width, H cell width, P output width: H, or that of the projection.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from refrain.axes import Axis, AxisTable
from refrain.nn.given_module import WEIGHT_DROPOUT, module_or_identity, transformed
from refrain.nn.recurrent.gated import draw_uniform, gated_axes
from refrain.nn.recurrent.given import drop_held_masks, is_plain, with_any_state
from refrain.nn.recurrent.protocol import check_window

from .layer import lstm_output, next_cell
from .state import LSTMState


class LSTMCell(nn.Module):
    """One step of an LSTM, with the options of the classic cells.

    Args:
        input_size: I.
        hidden_size: H.
        forget_bias: added to the forget gate's pre-activation.
        peepholes: the gates see the cell, through a weight per unit.
        cell_clip: the cell is kept within [-cell_clip, cell_clip]; None leaves it free.
        projection_size: P; None for no projection.
        projection_clip: the projected output is kept within [-projection_clip, projection_clip].
        input_transform: maps the (4H, I) input weight to the one used, for example `WeightDropout`.
        recurrent_transform: maps the (4H, P) recurrent weight to the one used. A fresh mask is drawn at each step
            unless the transform holds its own until `resample()`.

    Raises:
        ValueError: when a size or clip is not positive, a clip has nothing to act on, or a transform is no module.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        forget_bias: float = 0.0,
        peepholes: bool = False,
        cell_clip: float | None = None,
        projection_size: int | None = None,
        projection_clip: float | None = None,
        input_transform: nn.Module | None = None,
        recurrent_transform: nn.Module | None = None,
    ) -> None:
        super().__init__()
        output_size = hidden_size if projection_size is None else projection_size
        if min(input_size, hidden_size, output_size) < 1:
            raise ValueError(f"LSTMCell widths must be positive, got {input_size=}, {hidden_size=}, {projection_size=}")
        for name, clip in (("cell_clip", cell_clip), ("projection_clip", projection_clip)):
            if clip is not None and clip <= 0:
                raise ValueError(f"{name} must be greater than 0 (got {clip})")
        if projection_clip is not None and projection_size is None:
            raise ValueError("projection_clip cannot take effect without projection_size")
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.forget_bias, self.cell_clip, self.projection_clip = forget_bias, cell_clip, projection_clip
        self.weight_ih = nn.Parameter(torch.empty(4 * hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(4 * hidden_size, output_size))
        self.bias = nn.Parameter(torch.empty(4 * hidden_size))
        self.peephole = nn.Parameter(torch.empty(3, hidden_size)) if peepholes else None
        self.projection = None if projection_size is None else nn.Parameter(torch.empty(projection_size, hidden_size))
        self.input_transform = module_or_identity("input_transform", input_transform, WEIGHT_DROPOUT)
        self.recurrent_transform = module_or_identity("recurrent_transform", recurrent_transform, WEIGHT_DROPOUT)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights from U(-1/sqrt(H), 1/sqrt(H)); weight norms start at their norms. In place."""
        draw_uniform(self, self.hidden_size)

    @property
    def transforms(self) -> dict[str, nn.Module]:
        """Weight name -> its transform."""
        return {"weight_ih": self.input_transform, "weight_hh": self.recurrent_transform}

    def initial_state(self, batch_size: int) -> LSTMState:
        """Zeros: hidden (B, P) and cell (B, H)."""
        zeros = self.weight_hh.new_zeros
        return LSTMState(zeros(batch_size, self.output_size), zeros(batch_size, self.hidden_size))

    def resample(self) -> None:
        """Draw anew the held masks of the transforms; call it once a window or sequence.

        Raises:
            ValueError: when no transform holds a mask.
        """
        transforms = [t for t in (self.input_transform, self.recurrent_transform) if isinstance(t, nn.Module)]
        parts = [part for transform in transforms for part in transform.modules()]
        held = [part for part in parts if getattr(part, "held", None) is not None]
        if not held:
            raise ValueError("resample() is for held masks; give a transform such as WeightDropout(rate, held=True)")
        for transform in held:
            transform.resample()  # type: ignore[operator]

    def forward(self, x: Tensor, state: LSTMState | Sequence[Tensor] | None = None) -> tuple[Tensor, LSTMState]:
        """x (B, I) -> output (B, P), which is also the new hidden state, and the new state.

        Without a state, the step starts from zeros. An input x (I,) is one step without a batch.

        Raises:
            ValueError: when a width or the batch does not fit.
        """
        if not is_plain(x, state, LSTMState, 2):
            return with_any_state(self.forward, self.initial_state, x, state, 2)
        state = cast(LSTMState, state)
        check_window(self.input_size, self.output_size, x, [state.hidden])
        check_window(self.input_size, self.hidden_size, x, [state.cell])
        w_ih = transformed("input_transform", self.input_transform, self.weight_ih)
        w_hh = transformed("recurrent_transform", self.recurrent_transform, self.weight_hh)
        gates = x @ w_ih.T + state.hidden @ w_hh.T + self.bias  # (B, 4H): input, forget, candidate, output
        i, f, g, o = gates.chunk(4, dim=-1)
        if self.peephole is not None:
            i = i + self.peephole[0] * state.cell
            f = f + self.peephole[1] * state.cell
        cell = next_cell(i, f + self.forget_bias, g, state.cell)
        if self.cell_clip is not None:
            cell = cell.clamp(-self.cell_clip, self.cell_clip)
        if self.peephole is not None:
            o = o + self.peephole[2] * cell
        hidden = lstm_output(o, cell)
        if self.projection is not None:
            hidden = hidden @ self.projection.T
            if self.projection_clip is not None:
                hidden = hidden.clamp(-self.projection_clip, self.projection_clip)
        return hidden, LSTMState(hidden, cell)

    def axes(self, input_width: str, cell_width: str, output_width: str) -> AxisTable:
        """The axes of each parameter; without a projection, cell and output are one width and share its name."""
        transforms = {"input_transform": self.input_transform, "recurrent_transform": self.recurrent_transform}
        table = gated_axes(4, input_width, cell_width, **transforms)
        table["weight_hh"] = (Axis(cell_width, 4), Axis(output_width, role="reads"))
        if self.peephole is not None:
            table["peephole"] = (Axis("gates", removable=False), Axis(cell_width))
        if self.projection is not None:
            table["projection"] = (Axis(output_width), Axis(cell_width, role="reads"))
        return table

    def extra_repr(self) -> str:
        """The widths and options, for print."""
        options = {
            "forget_bias": self.forget_bias or None,
            "peepholes": True if self.peephole is not None else None,
            "cell_clip": self.cell_clip,
            "projection_size": None if self.projection is None else self.output_size,
            "projection_clip": self.projection_clip,
        }
        given = [f"{name}={value}" for name, value in options.items() if value is not None]
        return ", ".join([str(self.input_size), str(self.hidden_size), *given])

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        drop_held_masks(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *rest)
