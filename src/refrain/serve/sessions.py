"""Sessions: what a client has read stays on the server, so that it sends one word at a time."""

import asyncio
import secrets
import time
from dataclasses import dataclass, field

from .limits import Limits
from .programs import Place
from .refused import Refused
from .served import ServedModel


@dataclass
class Session:
    """What a client has read.

    Attributes:
        id: a random name that nobody can guess.
        model: the model that reads.
        place: the state.
        tokens: the number of tokens that were read.
        used: the time of the last use, by the monotonic clock.
        lock: held by the request that uses the session, so that requests of a session follow each other.
    """

    id: str
    model: ServedModel
    place: Place
    tokens: int = 0
    used: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Sessions:
    """The open sessions.

    Args:
        limits: the limits of the server.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # in the order of the last use, the oldest first
        self._open: dict[str, Session] = {}

    def __len__(self) -> int:
        self.expire()
        return len(self._open)

    def check_room(self) -> None:
        """Check that another session may be opened.

        Raises:
            Refused: when there are too many.
        """
        if len(self) >= self._limits.sessions:
            raise Refused(
                429,
                f"{self._limits.sessions:,} sessions are open, which is the limit; close one with DELETE /sessions/ID, "
                f"wait until one has been idle for {self._limits.idle_seconds:g} s, or raise --max-sessions",
                headers={"Retry-After": "5"},
            )

    def open(self, model: ServedModel, place: Place) -> Session:
        """Open a session.

        Args:
            model: the model that reads.
            place: the state before the first token.

        Raises:
            Refused: when there are too many.
        """
        self.check_room()
        session = Session(secrets.token_urlsafe(16), model, place)
        self._open[session.id] = session
        return session

    def get(self, name: str) -> Session:
        """The session of an id, which counts as its use.

        Raises:
            Refused: when there is none.
        """
        self.expire()
        # the end of the dict has what was used last
        session = self._open.pop(name, None)
        if session is None:
            raise Refused(
                404,
                "session: there is none of this id, or it was closed after "
                f"{self._limits.idle_seconds:g} s without a request; open one with POST /sessions",
                code="unknown_session",
                field="session",
            )
        session.used = time.monotonic()
        self._open[name] = session
        return session

    def close(self, name: str) -> Session:
        """Close a session.

        Raises:
            Refused: when there is none.
        """
        session = self.get(name)
        del self._open[name]
        return session

    def expire(self) -> None:
        """Close the sessions that have been idle for too long."""
        oldest = time.monotonic() - self._limits.idle_seconds
        while self._open:
            session = next(iter(self._open.values()))
            # one in use is not idle, and those after it are younger
            if session.used >= oldest or session.lock.locked():
                return
            del self._open[session.id]
