"""The operations of the server in one table, by which requests are routed, validated, answered and documented."""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel

from . import answers, completions, requests, service
from .measuring import choosing, scoring, surprising
from .reading import predicting
from .service import Action, running


@dataclass(frozen=True)
class Operation:
    """An operation.

    Attributes:
        name: by which the programs that use standard input, and the metrics, call it.
        method: of HTTP.
        path: of HTTP; `{session}` is the id of a session.
        summary: what it does, in a line.
        answer: the form of the answer.
        act: answers a request.
        request: the form of the request; None for an operation without a body.
        kind: the kind of model that it needs; None for any.
        streams: whether the request may ask for a stream of events.
        open: whether it is answered without the token.
    """

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    summary: str
    answer: type[BaseModel]
    act: Action
    request: type[BaseModel] | None = None
    kind: Literal["language-model", "tagger"] | None = None
    streams: bool = False
    open: bool = False

    @property
    def has_session(self) -> bool:
        """Whether the path names a session."""
        return "{session}" in self.path


LM: Literal["language-model"] = "language-model"
OPERATIONS = (
    Operation(
        "read", "POST", "/sessions/{session}/read", "Read the next words of a session, and get the candidates.",
        answers.ReadAnswer, service.read, requests.ReadRequest, LM,
    ),
    Operation(
        "next", "POST", "/next", "The most probable next tokens after a text.",
        answers.NextAnswer, running(predicting), requests.NextRequest, LM,
    ),
    Operation(
        "score", "POST", "/score", "Score texts in nats, each line independently.",
        answers.ScoreAnswer, running(scoring), requests.ScoreRequest, LM,
    ),
    Operation(
        "nbest", "POST", "/nbest", "Choose from n-best lists of a recogniser.",
        answers.NBestAnswer, running(choosing), requests.NBestRequest, LM,
    ),
    Operation(
        "surprisal", "POST", "/surprisal", "The surprisal of each word of sentences, in bits.",
        answers.SurprisalAnswer, running(surprising), requests.SurprisalRequest, LM,
    ),
    Operation(
        "generate", "POST", "/generate", "Continue a text, at once or as a stream of events.",
        answers.GenerateAnswer, service.generate, requests.GenerateRequest, LM, streams=True,
    ),
    Operation(
        "units", "POST", "/units", "The values of units of a layer along a text.",
        answers.UnitsAnswer, service.units, requests.UnitsRequest, LM,
    ),
    Operation(
        "tag", "POST", "/tag", "Tag a text or sentences.",
        answers.TagAnswer, service.tag, requests.TagRequest, "tagger",
    ),
    Operation(
        "open-session", "POST", "/sessions", "Open a session, which keeps what it has read.",
        answers.OpenedAnswer, service.open_session, requests.SessionRequest, LM,
    ),
    Operation(
        "session", "GET", "/sessions/{session}", "What a session has read so far.",
        answers.SessionAnswer, service.look_at_session, None, LM,
    ),
    Operation(
        "close-session", "DELETE", "/sessions/{session}", "Close a session.",
        answers.ClosedAnswer, service.close_session, None, LM,
    ),
    Operation("models", "GET", "/models", "The models of the server.", answers.ModelsAnswer, service.models),
    Operation(
        "health", "GET", "/health", "Whether the server is there, and how busy it is.",
        answers.HealthAnswer, service.health, open=True,
    ),
    Operation(
        "complete", "POST", "/v1/completions", "Continue prompts, by the interface of OpenAI.",
        completions.CompletionAnswer, completions.complete, completions.CompletionRequest, LM, streams=True,
    ),
    Operation(
        "list-models", "GET", "/v1/models", "The language models, by the interface of OpenAI.",
        completions.ModelList, completions.list_models,
    ),
)  # fmt: skip
"""All operations; those that are called most often come first."""
