"""`/v1/completions`: the interface of OpenAI for completions, so that programs for it can use the models.

A model reads a line end before the prompt, so that the first token of a prompt has a log-probability too.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from refrain.data.units.alignment import token_places
from refrain.generation import Sampler

from .choices import GrowingChoice, Reported
from .fields import WHOLE, Answer, Name, NullableMessage, Seed, Text, check_rows, limited, only, too_large
from .jobs import Event
from .limits import Limits
from .programs import Drawing, Pieces, drawing, emitting
from .refused import Refused
from .served import ServedModel
from .service import Answer as Answered
from .service import Asked, Service, Stream
from .work import Call, Emit, Program, Step, Steps, Window

PROMPTS_AT_ONCE = 8
"""The prompts of a request that are continued at a time."""

BEST_OF = "leave it out, ask for as many samples with n, and choose by their logprobs"

Ids = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**31), WHOLE]], Field(min_length=1, json_schema_extra=limited("characters"))
]
Texts = Annotated[list[Text], Field(min_length=1, json_schema_extra=limited("texts"))]
Prompts = Annotated[list[Ids], Field(min_length=1, json_schema_extra=limited("texts"))]
Zero = Annotated[float, Field(ge=0, le=0), only(0, remedy="leave it out, or give 0")]
Stop = Annotated[Text, Field(min_length=1, max_length=100)]


class CompletionRequest(NullableMessage):
    """Prompts to continue, as texts or as ids of tokens. Fields that are null or not listed have no effect."""

    model_config = ConfigDict(extra="ignore")

    model: Name
    prompt: Text | Texts | Ids | Prompts = ""
    max_tokens: Annotated[int, Field(ge=0, json_schema_extra=limited("tokens")), WHOLE] = 16
    temperature: Annotated[float, Field(ge=0, le=1000)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    n: Annotated[int, Field(ge=1, json_schema_extra=limited("samples")), WHOLE] = 1
    logprobs: Annotated[int | None, Field(ge=0, le=20), WHOLE] = None
    echo: bool = False
    stop: Stop | Annotated[list[Stop], Field(max_length=4)] | None = None
    seed: Seed | None = None
    stream: bool = False
    presence_penalty: Zero = 0.0
    frequency_penalty: Zero = 0.0
    suffix: Annotated[str | None, Field(max_length=0), only("", None, remedy="leave it out")] = None
    logit_bias: Annotated[dict[str, float] | None, Field(max_length=0), only({}, None, remedy="leave it out")] = None
    best_of: Annotated[int | None, Field(ge=1, le=1), WHOLE, only(1, None, remedy=BEST_OF)] = None


class Logprobs(Answer):
    """The tokens of a text, their log-probabilities, the most probable tokens at each, and where each begins."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float | None]] | None
    text_offset: list[int]


class Choice(Answer):
    """A text."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: Literal["stop", "length"] | None


class Usage(Answer):
    """The number of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionAnswer(Answer):
    """The texts of all prompts, `n` for each."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None


class ModelEntry(Answer):
    """A model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(Answer):
    """The language models."""

    object: Literal["list"]
    data: list[ModelEntry]


def completing(model: ServedModel, text: str, ids: list[int], request: CompletionRequest, seed: int) -> Program:
    """Continue a prompt: emits the parts of each choice, and returns the number of tokens that were drawn.

    Args:
        model: the model.
        text: the prompt.
        ids: the ids of the prompt.
        request: the request.
        seed: the seed.
    """
    vocabulary = model.vocabulary
    context = [vocabulary.line_end, *ids]
    stops = [request.stop] if isinstance(request.stop, str) else list(request.stop or [])
    reported = [Reported(model, request.logprobs, 0) for _ in range(request.n)]
    state = model.states.zero
    if request.echo and request.logprobs is not None:
        places = token_places(vocabulary, text) if text else []
        places = places if len(places) == len(ids) else [len(text)] * len(ids)
        ends = [*places[1:], len(text)]
        for index, following, place, end in zip(context, ids, places, ends, strict=False):
            (stepped,) = yield Steps(model, [Step(index, state)])
            state = stepped.state
            for each in reported:
                each.offset = place
                each.add(following, stepped.row, text[place:end])
    elif len(context) > 1:
        state = yield Window(model, context[:-1], state)
    if request.echo:
        for sample, each in enumerate(reported):
            each.offset = len(text)
            yield Emit({"index": sample, "text": text, "logprobs": each.take(), "finish_reason": None})
    choices = [GrowingChoice(number, stops, Pieces(vocabulary, text), own) for number, own in enumerate(reported)]
    ended = [False] * request.n
    drawn = 0

    def parts(step: list[tuple[int, Tensor]]) -> Iterator[dict[str, Any]]:
        nonlocal drawn
        for sample, token in enumerate(step):
            if not ended[sample]:
                drawn += 1
                yield choices[sample].add(*token)
                ended[sample] = choices[sample].stopped

    top_p = request.top_p if request.temperature and request.top_p < 1 else None
    generator = torch.Generator()
    generator.manual_seed(seed)
    how = Drawing(Sampler(temperature=request.temperature, top_p=top_p), generator)
    yield from emitting(drawing(model, state, context[-1], request.max_tokens, request.n, how), parts, ended)
    for choice in choices:
        yield Emit(choice.last())
    return drawn


def encoding(model: ServedModel, request: CompletionRequest, limits: Limits) -> Program:
    """The text and the ids of each prompt. A long text takes some time; other programs have their turn between prompts.

    Args:
        model: the model.
        request: the request, whose prompt is a text, ids, or several of either.
        limits: the limits of the server.

    Raises:
        Refused: when an id is not in the vocabulary, or all prompts together have too many samples or tokens.
    """
    prompt: Any = request.prompt
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    prompts = prompt if several else [prompt]
    samples = len(prompts) * request.n
    if samples > limits.samples:
        raise too_large("n times the number of prompts", "samples", samples, limits.samples, status=413)

    def encode(between: Callable[[], None]) -> list[tuple[str, list[int]]]:
        found = []
        for each in prompts:
            between()
            found.append((each, model.vocabulary.encode(each)) if isinstance(each, str) else _spelled(model, each))
        return found

    found = yield Call(encode)
    tokens = samples * request.max_tokens
    if request.echo and request.logprobs is not None:
        tokens += request.n * sum(len(ids) for _, ids in found)
    check_rows(tokens * (1 + (request.logprobs or 0)), limits)
    return found


def _spelled(model: ServedModel, ids: list[int]) -> tuple[str, list[int]]:
    """The text of ids, and the ids.

    Raises:
        Refused: when one is not in the vocabulary.
    """
    most = len(model.vocabulary)
    if max(ids) >= most:
        raise Refused(422, f"prompt: an id must be less than {most:,} (got {max(ids)})", field="prompt")
    return model.vocabulary.decode(ids), ids


async def complete(service: Service, asked: Asked) -> Answered:
    """Continue prompts."""
    request: CompletionRequest = asked.message
    model = service.models.language_model(request.model)
    prompts = await service.engine.run(encoding(model, request, service.limits), asked.deadline)
    seed = secrets.randbelow(2**31) if request.seed is None else request.seed
    head = {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model.name,
    }
    programs = [completing(model, text, ids, request, seed + number) for number, (text, ids) in enumerate(prompts)]
    if request.stream:
        return Stream(_chunks(service, request, programs, head, asked.deadline), named=False)
    service.engine.check_room()
    turns = asyncio.Semaphore(PROMPTS_AT_ONCE)

    async def choices_of(program: Program) -> tuple[list[dict[str, Any]], int]:
        async with turns:
            return await _choices(service, program, request.n, asked.deadline)

    tasks = [asyncio.create_task(choices_of(program)) for program in programs]
    try:
        found = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    choices = [choice for own, _ in found for choice in own]
    given, drawn = sum(len(ids) for _, ids in prompts), sum(count for _, count in found)
    usage = {"prompt_tokens": given, "completion_tokens": drawn, "total_tokens": given + drawn}
    return {**head, "choices": [{**each, "index": index} for index, each in enumerate(choices)], "usage": usage}


async def _choices(service: Service, program: Program, count: int, deadline: float) -> tuple[list[dict[str, Any]], int]:
    """The choices of a prompt, whose parts are joined, and the number of tokens that were drawn."""
    parts: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    drawn = 0
    async for event in service.engine.stream(program, deadline, admitted=True):
        if event.ended:
            drawn = event.value
        else:
            parts[event.value["index"]].append(event.value)
    return [_joined(own) for own in parts], drawn


def _joined(parts: list[dict[str, Any]]) -> dict[str, Any]:
    reported = [part["logprobs"] for part in parts]
    logprobs: dict[str, Any] | None = None
    if reported[0] is not None:
        logprobs = {name: [value for each in reported for value in each[name] or []] for name in reported[0]}
        if all(each["top_logprobs"] is None for each in reported):
            logprobs["top_logprobs"] = None
    text = "".join(part["text"] for part in parts)
    return {"text": text, "logprobs": logprobs, "finish_reason": parts[-1]["finish_reason"]}


async def _chunks(
    service: Service, request: CompletionRequest, programs: list[Program], head: dict[str, Any], deadline: float
) -> AsyncIterator[Event]:
    """The parts of all prompts, one prompt after another."""
    for number, program in enumerate(programs):
        async for event in service.engine.stream(program, deadline, admitted=number > 0):
            if not event.ended:
                choice = {**event.value, "index": number * request.n + event.value["index"]}
                yield Event({**head, "choices": [choice], "usage": None})


async def list_models(service: Service, asked: Asked) -> Answered:
    """The language models."""
    names = service.models.names("language-model")
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "refrain"} for name in names]
    return {"object": "list", "data": data}
