"""Sessions: what a client has read stays on the server, so that it sends one word at a time."""

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from refrain.errors import shown

from .limits import Limits
from .reading import Place
from .refused import Refused, too_slow
from .served import ServedModel


class SessionWords(NamedTuple):
    """How clients open and close a session, in the words of messages.

    Attributes:
        opening: what opens one.
        closing: what closes one.
    """

    opening: str
    closing: str


OVER_HTTP = SessionWords("POST /sessions", "DELETE /sessions/ID")
BY_LINES = SessionWords("the operation open-session", "the operation close-session")


@dataclass
class Session:
    """What a client has read. As a context, it releases the lock at the end.

    Attributes:
        id: a random name that nobody can guess.
        model: the model that reads.
        place: the state.
        tokens: the number of tokens that were read.
        ending: the last character that was read; empty at the beginning.
        used: the time of the last use, by the monotonic clock.
        lock: held by the request that uses the session, so that requests of a session follow each other.
    """

    id: str
    model: ServedModel
    place: Place
    tokens: int = 0
    ending: str = ""
    used: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: Any) -> None:
        self.lock.release()


class Sessions:
    """The open sessions.

    Args:
        limits: the limits of the server.

    Attributes:
        waiting: the number of requests that wait for another one of their session.
        words: how messages name what clients do.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.waiting = 0
        self.words = OVER_HTTP
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
                f"{self._limits.sessions:,} sessions are open, which is the limit; close one with "
                f"{self.words.closing}, wait until one has been idle for {self._limits.idle_seconds:g} s, or "
                "raise --max-sessions",
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

    async def turn(self, session: Session, deadline: float) -> Session:
        """Wait until the requests for a session that came before are done.

        Args:
            session: an open session.
            deadline: the time, by the monotonic clock, until which the request waits.

        Returns:
            The session, whose lock is held. It is a context, at the end of which the lock is released.

        Raises:
            Refused: when the session was closed in the meantime, or the deadline has passed.
        """
        if not (self.waiting or session.lock.locked()):
            # this does not wait, and so needs no timer
            await session.lock.acquire()
            return session
        self.waiting += 1
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await session.lock.acquire()
        except TimeoutError:
            raise too_slow(self._limits) from None
        finally:
            self.waiting -= 1
        try:
            return self.get(session.id)
        except Refused:
            session.lock.release()
            raise

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
                f"session: unknown session {shown(name)}, or it was closed after "
                f"{self._limits.idle_seconds:g} s without a request; open one with {self.words.opening}",
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
