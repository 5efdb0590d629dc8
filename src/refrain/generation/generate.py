"""Drawing text from a language model, a token of every sample at a time."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from refrain.models import LanguageModel, evaluating

from .units import State


def generate(
    model: LanguageModel,
    context: Sequence[int],
    draw: Callable[[Tensor, torch.Generator], Tensor],
    *,
    tokens: int,
    samples: int = 1,
    generator: torch.Generator,
    stop: int | None = None,
    hold: Callable[[State], State] | None = None,
) -> Iterator[list[int | None]]:
    """Continue a context.

    Args:
        model: is put in evaluation mode for each step.
        context: ids that come before, at least one.
        draw: maps log-probabilities (B, V) and the generator to ids (B,), for example a `Sampler`.
        tokens: how many to draw at most.
        samples: B, how many continuations.
        generator: on the CPU.
        stop: a sample ends where this id is drawn, which is not part of it.
        hold: maps the state before each drawn token to the one that is used, for example by `hold_units`.

    Yields:
        The next id of each sample; None for one that has ended.

    Raises:
        ValueError: when the context is empty.
    """
    if not context:
        raise ValueError("context: at least one token is needed, for example the vocabulary's line_end")
    device = next(model.parameters()).device
    ids = torch.tensor(context, device=device)[:, None].expand(-1, samples)
    state = model.initial_state(samples)
    ended = torch.zeros(samples, dtype=torch.bool)
    with torch.no_grad(), evaluating(model):
        if len(context) > 1:
            _, state = model.hidden(ids[:-1], state)
    current = ids[-1]
    for _ in range(tokens):
        if hold is not None:
            state = hold(state)
        with evaluating(model):
            log_probabilities, state = model.step(current, state)
        drawn = draw(log_probabilities, generator)
        if stop is not None:
            ended |= drawn == stop
            if ended.all():
                return
        yield [None if over else int(index) for index, over in zip(drawn, ended, strict=True)]
        current = drawn.to(device)
