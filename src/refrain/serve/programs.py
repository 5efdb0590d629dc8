"""The programs of requests that draw tokens.

V tokens in the vocabulary.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refrain.data import Vocabulary
from refrain.errors import UserError
from refrain.generation import Part, Sampler, hold_units
from refrain.generation.units import check_units, chosen_layer, chosen_part

from .refused import Refused
from .requests import GenerateRequest
from .served import ServedModel
from .slots import Slot
from .work import Emit, Program, Step, Stepped, Steps, Window


class Pieces:
    """The text of ids that come one by one after a prompt.

    Args:
        vocabulary: the vocabulary.
        prompt: the text before them.
    """

    def __init__(self, vocabulary: Vocabulary, prompt: str) -> None:
        self._ids: deque[int] = deque()
        self._pieces = vocabulary.continuation(prompt, self._coming())

    def _coming(self) -> Iterator[int]:
        while True:
            yield self._ids.popleft()

    def add(self, index: int) -> str:
        """The text that an id adds; empty where it ends inside a character."""
        self._ids.append(index)
        return next(self._pieces)


class Drawing(NamedTuple):
    """How tokens are drawn.

    Attributes:
        sampler: draws from log-probabilities.
        generator: the random numbers.
        hold: maps the state of a batch to the one that is used.
    """

    sampler: Sampler
    generator: torch.Generator
    hold: Callable[[Any], Any] | None = None


def drawing_of(model: ServedModel, request: GenerateRequest, seed: int) -> Drawing:
    """How the tokens of a request are drawn.

    Args:
        model: the model.
        request: the request.
        seed: the seed.

    Raises:
        Refused: when a unit that is to be held does not exist.
        UserError: when one is named twice.
    """
    unknown = model.vocabulary.unknown
    greedy = request.temperature == 0
    sampler = Sampler(
        temperature=request.temperature,
        top_k=None if greedy else request.top_k,
        top_p=None if greedy else request.top_p,
        banned=[] if request.allow_unknown or unknown is None else [unknown],
    )
    clamp: dict[int | tuple[int, int], float] = {}
    for each in request.clamp:
        units_of(model, each.layer, [each.unit], None, "clamp")
        key = each.unit if each.layer is None else (each.layer, each.unit)
        if key in clamp:
            raise UserError(f"clamp: unit {each.unit} is named twice")
        clamp[key] = each.value
    generator = torch.Generator()
    generator.manual_seed(seed)
    return Drawing(sampler, generator, hold_units(model.trained.model, clamp) if clamp else None)


def units_of(
    model: ServedModel, layer: int | None, units: Sequence[int], state: Part | None, field: str
) -> tuple[int, Part]:
    """The index of a layer, and the part of its state that is followed.

    Args:
        model: the model.
        layer: the index of the layer; None is the last.
        units: the units.
        state: the part of the state; None is the cell state where there is one.
        field: the field of the request that names them.

    Raises:
        Refused: when the model has no such layer, unit or state.
    """
    try:
        found = chosen_layer(model.trained.model, layer)
        check_units(model.trained.model, found, units)
        return found, chosen_part(model.trained.model, found, state)
    except UserError as error:
        raise Refused(404, str(error), code="unknown_unit", field=field) from None


def drawing(model: ServedModel, state: Slot, last: int, tokens: int, samples: int, how: Drawing) -> Program:
    """Draw tokens, and emit a list of (id, row) for each step; see `refrain.generation.generate`.

    Args:
        model: the model.
        state: the state before the last id.
        last: the last id that is read before the first token is drawn.
        tokens: the number of tokens.
        samples: the number of samples.
        how: how they are drawn.
    """
    states, ids = [state] * samples, [last] * samples
    for _ in range(tokens):
        steps = [Step(*each) for each in zip(ids, states, strict=True)]
        found: list[Stepped] = yield Steps(model, steps, how.hold)
        rows = torch.stack([each.row for each in found])
        ids = how.sampler(rows, how.generator).tolist()
        states = [each.state for each in found]
        yield Emit(list(zip(ids, rows, strict=True)))


def generating(model: ServedModel, request: GenerateRequest, seed: int) -> Program:
    """Draw texts: emits each token, and returns the samples.

    Args:
        model: the model.
        request: the request.
        seed: the seed.
    """
    vocabulary = model.vocabulary
    how = drawing_of(model, request, seed)
    context = [vocabulary.line_end, *vocabulary.encode(request.prompt)]
    pieces = [Pieces(vocabulary, request.prompt) for _ in range(request.samples)]
    texts: list[list[dict[str, Any]]] = [[] for _ in range(request.samples)]
    # the last character of each text; what a token adds depends on it
    endings = [request.prompt[-1:]] * request.samples
    ended = [False] * request.samples
    state = model.states.zero
    if len(context) > 1:
        state = yield Window(model, context[:-1], state)

    def drawn(step: list[tuple[int, Tensor]]) -> Iterator[dict[str, Any]]:
        for sample, (index, row) in enumerate(step):
            ended[sample] |= request.stop_at_line_end and index == vocabulary.line_end
            if not ended[sample]:
                alternatives = model.shown(endings[sample], model.candidates(row, request.alternatives))
                text = pieces[sample].add(index)
                endings[sample] = (endings[sample] + text)[-1:]
                token = {
                    "sample": sample,
                    "text": text,
                    "token": vocabulary.token(index),
                    "id": index,
                    "log_probability": finite(float(row[index])),
                    "alternatives": alternatives,
                }
                texts[sample].append(token)
                yield token

    yield from emitting(drawing(model, state, context[-1], request.tokens, request.samples, how), drawn, ended)
    return [
        {
            "text": "".join(token["text"] for token in text),
            "tokens": text,
            "finish_reason": "line-end" if over else "length",
        }
        for text, over in zip(texts, ended, strict=True)
    ]


def emitting(program: Program, values: Callable[[Any], Iterator[Any]], ended: list[bool]) -> Program:
    """Run a program, and emit several values for each that it emits.

    Args:
        program: the program.
        values: maps what the program emits to the values.
        ended: whether each sample has ended; the program is left when all have.
    """
    result = None
    while not all(ended):
        try:
            part = program.send(result)
        except StopIteration:
            return
        if isinstance(part, Emit):
            result = None
            for value in values(part.value):
                yield Emit(value)
        else:
            result = yield part


def finite(value: float) -> float | None:
    """A number, or None for an infinite one, which JSON does not have."""
    return value if math.isfinite(value) else None
