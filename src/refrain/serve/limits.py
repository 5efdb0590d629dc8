"""The limits of a server."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a server accepts. A request beyond a limit is refused with a message that names the limit.

    Attributes:
        body_bytes: the size of the body of a request.
        characters: the length of a text, and of all texts of a request together.
        texts: the number of texts, sentences, hypotheses or prompts of a request, and of words of a sentence to tag.
        tokens: the number of tokens that a request draws for each sample.
        samples: the number of samples of a request, of all its prompts together.
        candidates: the number of candidates for the next token.
        rows: the number of tokens, candidates beside them and values of units in the answer of a request.
        sessions: the number of open sessions.
        idle_seconds: a session that is not used for this time is closed.
        request_seconds: the time that a request may take, its body and its turn in the queue included.
        waiting: the number of requests that may be in work or wait at a time.
        stop_seconds: the time that requests in work have to finish after the server was asked to stop.
    """

    body_bytes: int = 1 << 20
    characters: int = 100_000
    texts: int = 1000
    tokens: int = 2000
    samples: int = 64
    candidates: int = 100
    rows: int = 200_000
    sessions: int = 1000
    idle_seconds: float = 900.0
    request_seconds: float = 60.0
    waiting: int = 1000
    stop_seconds: float = 10.0
