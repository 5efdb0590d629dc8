"""What a model holds after a text, as vectors, and what single units hold along it (Radford et al., 2017, section 3).

Texts of like length are read side by side. Where one ends its column leaves the batch, so no padding ever enters and
each text is read as if it were alone.

N texts, B of them side by side, T_n tokens of a text, H width of the layer, U units that are followed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.models import Network, NetworkStepper, Stepper, stepper_of

from .units import Part, State, check_units, chosen_layer, chosen_part, state_parts

# of a window, over all its columns: what bounds the memory for long texts
WINDOW_TOKENS = 1 << 14


class Features(NamedTuple):
    """What one layer holds of some texts: float32 on the CPU, in the order of the texts."""

    hidden: Tensor  # (N, H): after the last token
    cell: Tensor | None  # (N, H): the same; None where the layer has no cell state
    traces: list[Tensor]  # (T_n, U): the followed units after each token; empty when none is followed

    def part(self, name: Part) -> Tensor:
        """The final states (N, H) of that name.

        Raises:
            ValueError: when the layer has no cell state.
        """
        found = self.cell if name == "cell" else self.hidden
        if found is None:
            raise ValueError("the layer has no cell state")
        return found


def features(
    model: Network | Stepper | NetworkStepper,
    texts: Sequence[Sequence[int]],
    *,
    layer: int | None = None,
    units: Sequence[int] = (),
    which: Part | None = None,
    batch_size: int = 64,
) -> Features:
    """Read each text from the zero state.

    Args:
        model: its mode stays.
        texts: ids, at least one each: begin with the vocabulary's line end, which training texts have between lines.
        layer: which layer, counting from 0 at the bottom; None is the last.
        units: units of that layer to follow over time. Followed texts are read a step at a time, which is slower.
        which: what of these units is followed; None is the cell state, or the hidden state where there is no other.
        batch_size: B, how many texts are read side by side; decides speed and memory, not the result.

    Raises:
        UserError: when there is no such layer, unit or part.
        ValueError: when a text is empty or the batch size not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1 (got {batch_size})")
    if not all(texts):
        raise ValueError("texts: each needs at least one token, for example the vocabulary's line_end")
    stepper = stepper_of(model)
    network: Network = stepper.model
    layer = chosen_layer(network, layer)
    check_units(network, layer, units)
    part = chosen_part(network, layer, which)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
    template = state_parts(network, layer, network.initial_state(1))
    finals = {name: torch.empty(len(texts), *each.shape[1:]) for name, each in template.items()}
    pieces: list[list[Tensor]] = [[] for _ in texts]

    def follow(state: State) -> Tensor:
        values = state_parts(network, layer, state)[part][:, list(units)]
        return values.float().cpu()

    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        for active, state, followed in _windows(stepper, [texts[index] for index in batch], follow if units else None):
            for name, tensor in state_parts(network, layer, state).items():
                # what is written last is what the text held when its column left the batch
                finals[name][batch[:active]] = tensor.float().cpu()
            for column, index in enumerate(batch[:active]):
                pieces[index] += [values[column] for values in followed]
    return Features(finals["hidden"], finals.get("cell"), [torch.stack(piece) for piece in pieces if piece])


def _windows(
    stepper: Stepper | NetworkStepper, texts: Sequence[Sequence[int]], follow: Callable[[State], Tensor] | None
) -> Iterator[tuple[int, State, list[Tensor]]]:
    """Read texts, the longest first, in windows that end where the shortest ends or memory asks for it.

    Yields:
        How many texts were still read; their state after the window; what `follow` made of it after each step.
    """
    state, at, active = stepper.initial_state(len(texts)), 0, len(texts)
    while active:
        stop = min(len(texts[active - 1]), at + max(1, WINDOW_TOKENS // active))
        ids = torch.tensor([text[at:stop] for text in texts[:active]], device=stepper.device).T  # (T, B)
        followed = []
        for window in [ids] if follow is None else ids.split(1):
            _, state = stepper.hidden(window, state)
            if follow is not None:
                followed.append(follow(state))  # (B, U)
        yield active, state, followed
        at = stop
        active = sum(len(text) > at for text in texts[:active])
        state = _first(state, active)


def _first(state: Any, count: int) -> Any:
    """The state of the first texts, whatever the nesting of tuples."""
    if isinstance(state, Tensor):
        return state[:count]
    parts = [_first(part, count) for part in state]
    return tuple(parts) if type(state) is tuple else type(state)(*parts)
