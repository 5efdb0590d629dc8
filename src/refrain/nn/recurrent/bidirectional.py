"""Two recurrent layers over a batch of sequences of different lengths, one from each end (Schuster & Paliwal, 1997).

T steps of the longest sequence, B batch, I input width, H hidden width of each direction.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from refrain.axes import AxisTable
from refrain.nn.ids import checked_lengths
from refrain.nn.step_graph.builder import GraphBuilder, Value

from .given import check_tensor

Direction = Callable[[Tensor, Any], tuple[Tensor, Any]]
"""inputs (T, B, I) and a state -> outputs (T, B, H) and the state after them."""


def reversed_within(inputs: Tensor, lengths: Tensor) -> Tensor:
    """Each sequence reversed, with its padding in place. Its own inverse.

    Args:
        inputs: (T, B, ...).
        lengths: (B,), each in 1 to T.
    """
    steps = torch.arange(len(inputs), device=inputs.device)[:, None]  # (T, 1)
    source = torch.where(steps < lengths, lengths - 1 - steps, steps)  # (T, B)
    return inputs[source, torch.arange(inputs.shape[1], device=inputs.device)]


def both_directions(ahead: Direction, back: Direction, inputs: Tensor, lengths: Tensor, state: Any) -> Tensor:
    """Read sequences from their first and from their last step, each from the same state.

    Args:
        ahead: reads forward.
        back: reads the reversed sequences.
        inputs: (T, B, I), each sequence from step 0 on.
        lengths: (B,), each in 1 to T.
        state: zero, of both directions.

    Returns:
        (T, B, 2H): the output of `ahead`, then that of `back`. Outputs past the end of a sequence have no meaning.

    Raises:
        ValueError: as `checked_lengths`.
    """
    lengths = checked_lengths(inputs, lengths)
    first, _ = ahead(inputs, state)
    second, _ = back(reversed_within(inputs, lengths), state)
    return torch.cat([first, reversed_within(second, lengths)], dim=-1)


class Bidirectional(nn.Module):
    """Reads each sequence from its first step and from its last, and concatenates both outputs.

    Each direction starts with the zero state at its own end of the sequence. Padding comes after the last step, so it
    reaches neither.

    Args:
        ahead: reads from the first step; a `RecurrentLayer`.
        back: reads from the last step; of the same class and widths.

    Raises:
        ValueError: when the classes or the widths of the two differ.
    """

    input_size: int
    hidden_size: int

    def __init__(self, ahead: nn.Module, back: nn.Module) -> None:
        super().__init__()
        layers: list[Any] = [ahead, back]
        if type(ahead) is not type(back):
            raise ValueError(
                f"the two directions need layers of one class, got {type(ahead).__name__} and {type(back).__name__}"
            )
        widths = [(layer.input_size, layer.hidden_size) for layer in layers]
        if widths[0] != widths[1]:
            raise ValueError(f"the two directions need the same widths, got {widths[0]} and {widths[1]}")
        self.ahead, self.back = layers
        self.input_size, self.hidden_size = widths[0]

    def forward(self, inputs: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """Whole sequences.

        Args:
            inputs: (T, B, I), each sequence from step 0 on.
            lengths: (B,), each in 1 to T.

        Returns:
            (T, B, 2H): the output of `ahead`, then that of `back`. Outputs past the end of a sequence have no meaning.

        Raises:
            ValueError: when inputs are no tensor, lengths on a CPU are out of range, or there is not one for each
                sequence.
        """
        check_tensor(inputs)
        lengths = checked_lengths(inputs, lengths)
        return both_directions(self.ahead, self.back, inputs, lengths, self.ahead.initial_state(inputs.shape[1]))

    def describe(self, build: GraphBuilder, x: Value, states: tuple[Any, Any]) -> Value:
        """Both directions as operations over whole sentences, each from its own state; see `Describable`."""
        with build.part("ahead"):
            first, _ = self.ahead.describe(build, x, states[0])
        with build.part("back"):
            second, _ = self.back.describe(build, build.reverse(x), states[1])
        return build.concat([first, build.reverse(second)])

    @property
    def inner_widths(self) -> tuple[str, ...]:
        """Those of each direction."""
        return cast("tuple[str, ...]", self.ahead.inner_widths)

    def axes(self, input_width: str, hidden_width: str, input_copies: int = 1, **inner: str) -> AxisTable:
        """The axes of each parameter. A unit of the hidden width is one of each direction, as they are read together.

        Args:
            input_width: name of the width below.
            hidden_width: name of the width of each direction.
            input_copies: 2 where the layer below is bidirectional, else 1.
            **inner: a name for each of `inner_widths`; both directions share it.
        """
        table: AxisTable = {}
        for direction in ("ahead", "back"):
            for name, axes in getattr(self, direction).axes(input_width, hidden_width, **inner).items():
                table[f"{direction}.{name}"] = tuple(
                    axis._replace(copies=axis.copies * input_copies) if axis.width == input_width else axis
                    for axis in axes
                )
        return table
