"""`/v1/completions`: the interface of OpenAI for completions, so that programs for it can use the models.

A model reads a line end before the prompt, so that the first token of a prompt has a log-probability too.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from refrain.generation import Sampler

from .choices import Reported, StoppedText
from .fields import WHOLE, Answer, Message, Name, Seed, Text, check_rows, limited, too_large
from .jobs import Event
from .limits import Limits
from .programs import Drawing, Pieces, drawing, emitting
from .refused import Refused
from .served import ServedModel
from .service import Answer as Answered
from .service import Asked, Service, Stream
from .work import Emit, Program, Step, Steps, Window

PROMPTS_AT_ONCE = 8
"""The prompts of a request that are continued at a time."""

Ids = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**31), WHOLE]], Field(min_length=1, json_schema_extra=limited("characters"))
]
Texts = Annotated[list[Text], Field(min_length=1, json_schema_extra=limited("texts"))]
Prompts = Annotated[list[Ids], Field(min_length=1, json_schema_extra=limited("texts"))]
Zero = Annotated[float, Field(ge=0, le=0)]
Stop = Annotated[Text, Field(min_length=1, max_length=100)]


class CompletionRequest(Message):
    """Prompts to continue, as texts or as ids of tokens. Fields that are not listed have no effect."""

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
    suffix: Annotated[str | None, Field(max_length=0)] = None
    logit_bias: Annotated[dict[str, float] | None, Field(max_length=0)] = None


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
    start = len(text) if request.echo else 0
    reported = [Reported(model, request.logprobs, 0 if request.echo else start) for _ in range(request.n)]
    state = model.states.zero
    if request.echo and request.logprobs is not None:
        pieces = vocabulary.pieces(text) if text else []
        pieces = pieces if len(pieces) == len(ids) else [""] * len(ids)
        for index, following, piece in zip(context, ids, pieces, strict=False):
            (stepped,) = yield Steps(model, [Step(index, state)])
            state = stepped.state
            for each in reported:
                each.add(following, stepped.row, piece)
    elif len(context) > 1:
        state = yield Window(model, context[:-1], state)
    for sample, each in enumerate(reported):
        each.offset = start
        if request.echo:
            yield Emit({"index": sample, "text": text, "logprobs": each.take(), "finish_reason": None})
    held = [StoppedText(stops) for _ in reported]
    grown = [Pieces(vocabulary, text) for _ in reported]
    ended = [False] * request.n
    drawn = 0

    def parts(step: list[tuple[int, Tensor]]) -> Iterator[dict[str, Any]]:
        nonlocal drawn
        for sample, (index, row) in enumerate(step):
            if ended[sample]:
                continue
            drawn += 1
            piece = grown[sample].add(index)
            reported[sample].add(index, row, piece)
            certain = held[sample].add(piece)
            ended[sample] = held[sample].stopped
            yield {"index": sample, "text": certain, "logprobs": reported[sample].take(), "finish_reason": None}

    sampler = Sampler(
        temperature=request.temperature, top_p=request.top_p if request.temperature and request.top_p < 1 else None
    )
    generator = torch.Generator()
    generator.manual_seed(seed)
    how = Drawing(sampler, generator)
    yield from emitting(drawing(model, state, context[-1], request.max_tokens, request.n, how), parts, ended)
    for sample, grew in enumerate(held):
        reason = "stop" if grew.stopped else "length"
        last = {"index": sample, "text": grew.rest(), "logprobs": reported[sample].take(), "finish_reason": reason}
        yield Emit(last)
    return drawn


def prompts_of(model: ServedModel, prompt: Any) -> list[tuple[str, list[int]]]:
    """The text and the ids of each prompt.

    Args:
        model: the model.
        prompt: a text, ids, or several of either.

    Raises:
        Refused: when an id is not in the vocabulary.
    """
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    found = []
    for each in prompt if several else [prompt]:
        if isinstance(each, str):
            found.append((each, model.vocabulary.encode(each)))
            continue
        if max(each) >= len(model.vocabulary):
            raise Refused(
                422, f"prompt: an id must be less than {len(model.vocabulary):,} (got {max(each)})", field="prompt"
            )
        found.append((model.vocabulary.decode(each), each))
    return found


async def complete(service: Service, asked: Asked) -> Answered:
    """Continue prompts."""
    request: CompletionRequest = asked.message
    model = service.models.language_model(request.model)
    prompts = prompts_of(model, request.prompt)
    seed = secrets.randbelow(2**31) if request.seed is None else request.seed
    head = {
        "id": f"cmpl-{secrets.token_hex(12)}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model.name,
    }
    _check_size(request, prompts, service.limits)
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


def _check_size(request: CompletionRequest, prompts: list[tuple[str, list[int]]], limits: Limits) -> None:
    """Check that all prompts together are within the limits of samples and of the answer.

    Raises:
        Refused: when they are not.
    """
    samples = len(prompts) * request.n
    if samples > limits.samples:
        raise too_large("n times the number of prompts", "samples", samples, limits.samples, status=413)
    tokens = samples * request.max_tokens
    if request.echo and request.logprobs is not None:
        tokens += request.n * sum(len(ids) for _, ids in prompts)
    check_rows(tokens * (1 + (request.logprobs or 0)), limits)


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
