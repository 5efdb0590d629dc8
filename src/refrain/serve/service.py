"""What a server does, whether it is asked over a socket or over standard input."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple, TypeAlias

from refrain._version import __version__

from .engine import Engine
from .fields import check_rows
from .jobs import Event
from .limits import Limits
from .measuring import following_units, tagging
from .metrics import Metrics
from .programs import generating
from .reading import Place, Read, advancing
from .requests import GenerateRequest, ReadRequest, SessionRequest, TagRequest, UnitsRequest
from .served import Models, ServedModel
from .sessions import Session, Sessions
from .work import Program


class Asked(NamedTuple):
    """A request that is being answered.

    Attributes:
        message: its body, which fits the form of the operation.
        session: the id of the session that it names.
        deadline: the time, by the monotonic clock, until which it has to be answered.
    """

    message: Any
    session: str
    deadline: float


class Stream(NamedTuple):
    """An answer that comes in parts.

    Attributes:
        events: the parts; the last one is the result.
        named: whether each part has a name, or is of the form of OpenAI's interface.
    """

    events: AsyncIterator[Event]
    named: bool = True


Answer: TypeAlias = dict[str, Any] | Stream
Action: TypeAlias = Callable[["Service", Asked], Awaitable[Answer]]


class Service:
    """The models of a server, its sessions and its model thread.

    Args:
        models: the models.
        limits: the limits.

    Attributes:
        models: the models.
        limits: the limits.
        engine: the model thread.
        sessions: the open sessions.
        metrics: counts requests.
        stopping: whether the server was asked to stop.
    """

    def __init__(self, models: Models, limits: Limits) -> None:
        self.models = models
        self.limits = limits
        self.engine = Engine(limits)
        self.sessions = Sessions(limits)
        self.metrics = Metrics()
        self.stopping = False

    def start(self) -> None:
        """Start the model thread. It is called on the event loop."""
        self.engine.start(asyncio.get_running_loop())

    def stop(self) -> None:
        """End the model thread; what is still in work is refused."""
        self.engine.stop()


async def health(service: Service, asked: Asked) -> Answer:
    """Whether the server is there, and how busy it is.

    Raises:
        Refused: when the model thread has ended by an error.
    """
    service.engine.check_thread()
    return {
        "status": "stopping" if service.stopping else "ok",
        "version": __version__,
        "models": len(service.models.names()),
        "sessions": len(service.sessions),
        "in_work": service.engine.unfinished,
    }


async def models(service: Service, asked: Asked) -> Answer:
    """The models of the server."""
    return {"models": service.models.documents()}


def running(program: Callable[[ServedModel, Any], Program]) -> Action:
    """The action of an operation that runs one program of a language model, and answers with its result.

    Args:
        program: makes the program of a model and a request.
    """

    async def act(service: Service, asked: Asked) -> Answer:
        model = service.models.language_model(asked.message.model)
        found: Answer = await service.engine.run(program(model, asked.message), asked.deadline)
        return found

    return act


async def tag(service: Service, asked: Asked) -> Answer:
    """Tag words."""
    request: TagRequest = asked.message
    program = tagging(service.models.tagger(request.model), request, service.limits.texts)
    found: Answer = await service.engine.run(program, asked.deadline)
    return found


async def units(service: Service, asked: Asked) -> Answer:
    """Follow units along a text."""
    request: UnitsRequest = asked.message
    program = following_units(service.models.language_model(request.model), request, service.limits)
    found: Answer = await service.engine.run(program, asked.deadline)
    return found


async def generate(service: Service, asked: Asked) -> Answer:
    """Continue a text."""
    request: GenerateRequest = asked.message
    model = service.models.language_model(request.model)
    check_rows(request.tokens * request.samples * (1 + request.alternatives), service.limits)
    seed = secrets.randbelow(2**31) if request.seed is None else request.seed
    program = generating(model, request, seed)

    def result(samples: Any) -> dict[str, Any]:
        return {"model": model.name, "prompt": request.prompt, "seed": seed, "samples": samples}

    if not request.stream:
        return result(await service.engine.run(program, asked.deadline))

    async def events() -> AsyncIterator[Event]:
        async for event in service.engine.stream(program, asked.deadline):
            yield event._replace(value=result(event.value)) if event.ended else event

    return Stream(events())


async def _turn(service: Service, asked: Asked) -> Session:
    """The session of a request, once the requests for it that came before are done; see `Sessions.turn`."""
    session = service.sessions.get(asked.session)
    if session.lock.locked():
        service.engine.check_room(service.sessions.waiting)
    return await service.sessions.turn(session, asked.deadline)


async def open_session(service: Service, asked: Asked) -> Answer:
    """Open a session."""
    request: SessionRequest = asked.message
    model = service.models.language_model(request.model)
    service.sessions.check_room()
    place = Place(model.states.zero, model.vocabulary.line_end, model.states.zero)
    found: Read = await service.engine.run(advancing(model, place, request), asked.deadline)
    session = service.sessions.open(model, found.place)
    return {**_document(service, session), "candidates": model.shown("", found.candidates)}


async def read(service: Service, asked: Asked) -> Answer:
    """Read the next words of a session."""
    request: ReadRequest = asked.message
    with await _turn(service, asked) as session:
        model, vocabulary = session.model, session.model.vocabulary
        found: Read = await service.engine.run(advancing(model, session.place, request), asked.deadline)
        # the state changes only when everything was read
        session.place = found.place
        session.tokens += len(found.ids)
        session.ending = request.text[-1:] or session.ending
        tokens, ending = session.tokens, session.ending
    return {
        "session": session.id,
        "tokens": tokens,
        "read": [
            {
                "token": vocabulary.token(index),
                "id": index,
                "unknown": index == vocabulary.unknown,
                "log_probability": found.scores[number] if found.scores else None,
            }
            for number, index in enumerate(found.ids)
        ],
        "candidates": model.shown(ending, found.candidates),
    }


async def look_at_session(service: Service, asked: Asked) -> Answer:
    """What a session has read so far."""
    with await _turn(service, asked) as session:
        return _document(service, session)


async def close_session(service: Service, asked: Asked) -> Answer:
    """Close a session."""
    with await _turn(service, asked):
        return {"session": service.sessions.close(asked.session).id, "closed": True}


def _document(service: Service, session: Session) -> dict[str, Any]:
    return {
        "session": session.id,
        "model": session.model.name,
        "tokens": session.tokens,
        "idle_seconds": service.limits.idle_seconds,
    }
