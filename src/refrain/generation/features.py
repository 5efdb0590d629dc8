"""The states of a layer after each text, and the values of single units along it (Radford et al., 2017, section 3).

A batch has texts of similar length. A text leaves the batch where it ends, so there is no padding and the result does
not depend on the other texts.

N texts, B batch size, T_n tokens of a text, T steps in a window, H width of the layer, U units that are followed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.arguments import at_least_one, ids_of
from refrain.errors import UserError
from refrain.models import Network, NetworkStepper, Stepper, stepper_of
from refrain.progress import Track, untracked

from .units import Part, State, check_units, chosen_layer, chosen_part, state_parts, units_of

# the largest T * B of a window, which bounds the memory for long texts
WINDOW_TOKENS = 1 << 14


class Features(NamedTuple):
    """The states of one layer for some texts, as float32 on the CPU, in the order of the texts."""

    hidden: Tensor  # (N, H): after the last token
    cell: Tensor | None  # (N, H): after the last token; None if the layer has no cell state
    traces: list[Tensor]  # (T_n, U): the followed units after each token; empty if no unit is followed

    def part(self, name: Part) -> Tensor:
        """The final cell or hidden states (N, H).

        Raises:
            UserError: when the layer has no cell state.
        """
        found = self.cell if name == "cell" else self.hidden
        if found is None:
            raise UserError("the layer has no cell state")
        return found


def features(
    model: Network | Stepper | NetworkStepper,
    texts: Sequence[Sequence[int]],
    *,
    layer: int | None = None,
    units: Sequence[int] = (),
    which: Part | None = None,
    batch_size: int = 64,
    track: Track = untracked,
) -> Features:
    """Run a model over each text from the zero state.

    Args:
        model: the model, whose mode is not changed.
        texts: the ids of each text, at least one; begin with the line end of the vocabulary, as training texts do.
        layer: the index of the layer, counting from 0 at the bottom; None is the last layer.
        units: units of that layer to follow over time, which takes longer because steps are computed one by one.
        which: the part of the state that is followed; None is the cell state, or the hidden state if there is no other.
        batch_size: B, the number of texts in a batch; it affects speed and memory, not the result.
        track: reports the loop over the batches.

    Raises:
        UserError: when the layer, a unit or the part of the state does not exist, a text is empty, the batch size is
            not positive, or an argument is of another type.
    """
    units, batch_size = units_of(units), at_least_one(batch_size, "batch_size")
    texts = [ids_of(text, "texts") for text in texts]
    if not all(texts):
        raise UserError("texts: each needs at least one token, for example the vocabulary's line_end")
    stepper = stepper_of(model)
    network: Network = stepper.model
    layer = chosen_layer(network, layer)
    check_units(network, layer, units)
    part = chosen_part(network, layer, which)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]), reverse=True)
    template = state_parts(network, layer, network.initial_state(1))
    finals = {name: torch.empty(len(texts), *each.shape[1:], dtype=torch.float32) for name, each in template.items()}
    pieces: list[list[Tensor]] = [[] for _ in texts]

    def follow(state: State) -> Tensor:
        values = state_parts(network, layer, state)[part][:, units]
        return values.float().cpu()

    starts = range(0, len(order), batch_size)
    for first in track(starts, "reading the texts, in batches", len(starts)):
        batch = order[first : first + batch_size]
        for active, state, followed in _windows(stepper, [texts[index] for index in batch], follow if units else None):
            for name, tensor in state_parts(network, layer, state).items():
                # the last value that is written is the state at the end of the text
                finals[name][batch[:active]] = tensor.float().cpu()
            for row, index in enumerate(batch[:active]):
                pieces[index] += [values[row] for values in followed]
    return Features(finals["hidden"], finals.get("cell"), [torch.stack(piece) for piece in pieces if piece])


def _windows(
    stepper: Stepper | NetworkStepper, texts: Sequence[Sequence[int]], follow: Callable[[State], Tensor] | None
) -> Iterator[tuple[int, State, list[Tensor]]]:
    """Run over texts, sorted from long to short, in windows that end with the shortest text or by the memory limit.

    Yields:
        The number of texts of the window, their state after it, and the results of `follow` after each step.
    """
    state = stepper.initial_state(len(texts))
    active = len(texts)
    at = 0
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
