"""Sampling text from a language model, one token of every sample at a time."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from refrain.arguments import at_least_one, ids_of, whole_of
from refrain.errors import UserError
from refrain.models import Network, NetworkStepper, Stepper, stepper_of

from .sampling import Sampler
from .units import State


def generate(
    model: Network | Stepper | NetworkStepper,
    context: Sequence[int],
    draw: Callable[[Tensor, torch.Generator], Tensor],
    *,
    tokens: int,
    samples: int = 1,
    generator: torch.Generator,
    stop: int | None = None,
    hold: Callable[[State], State] | None = None,
) -> Iterator[list[int | None]]:
    """Sample continuations of a context.

    Args:
        model: the model, used with the weights that it has when the first token is drawn; its mode is not changed.
        context: the ids that precede the samples, at least one.
        draw: maps log-probabilities (B, V) and the generator to ids (B,), for example a `Sampler`, which also takes
            logits.
        tokens: the largest number of tokens to draw.
        samples: B, the number of continuations.
        generator: a generator on the CPU, which is advanced.
        stop: the id that ends a sample and is not part of it.
        hold: maps the state before each token to the state that is used, for example the result of `hold_units`.

    Returns:
        An iterator over the steps, with the next id of each sample, or None for a sample that has ended.

    Raises:
        UserError: when the context is empty, there are fewer than 0 tokens or 1 sample, an argument is of another type,
            or a network of one's own has no `step`.
    """
    tokens, samples = whole_of(tokens, "tokens"), at_least_one(samples, "samples")
    if tokens < 0:
        raise UserError(f"tokens must be at least 0 (got {tokens})")
    ids = ids_of(context, "context")
    if not ids:
        raise UserError("context: at least one token is needed, for example the vocabulary's line_end")
    return _drawn(model, ids, draw, tokens, samples, generator, stop, hold)


def _drawn(
    model: Network | Stepper | NetworkStepper,
    context: Sequence[int],
    draw: Callable[[Tensor, torch.Generator], Tensor],
    tokens: int,
    samples: int,
    generator: torch.Generator,
    stop: int | None,
    hold: Callable[[State], State] | None,
) -> Iterator[list[int | None]]:
    stepper = stepper_of(model)
    ids = torch.tensor(context, device=stepper.device)[:, None].expand(-1, samples)
    state = stepper.initial_state(samples)
    ended = torch.zeros(samples, dtype=torch.bool)
    if len(context) > 1:
        state = stepper.read(ids[:-1], state)
    # a sampler needs no softmax over all words
    advance = stepper.logits if isinstance(draw, Sampler) and isinstance(stepper, Stepper) else stepper.step
    current = ids[-1]
    for _ in range(tokens):
        if hold is not None:
            state = hold(state)
        scores, state = advance(current, state)
        drawn = draw(scores, generator)
        if stop is not None:
            ended |= drawn == stop
            if ended.all():
                return
        yield [None if over else int(index) for index, over in zip(drawn, ended, strict=True)]
        current = drawn.to(stepper.device)
