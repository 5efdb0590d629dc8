"""The responses of the server, which are documented by these classes."""

from typing import Literal

from .fields import Answer


class ErrorDetail(Answer):
    """Why a request was not answered.

    `message` names the cause and the remedy, `code` is a word for programs, and `param` is the field that is wrong.
    """

    message: str
    type: Literal["invalid_request_error", "server_error"]
    param: str | None
    code: str


class ErrorAnswer(Answer):
    """A request that was not answered."""

    error: ErrorDetail


class HealthAnswer(Answer):
    """The state of the server."""

    status: Literal["ok", "stopping"]
    version: str
    models: int
    sessions: int
    in_work: int


class ModelAnswer(Answer):
    """A model of the server. `hidden_sizes` has the number of units of each layer; null where it is not known.

    `tags` is null for language models.
    """

    name: str
    kind: Literal["language-model", "tagger"]
    unit: str
    vocabulary: int
    parameters: int
    hidden_sizes: list[int] | None
    weights: Literal["float32", "int8"]
    tags: list[str] | None


class ModelsAnswer(Answer):
    """The models of the server."""

    models: list[ModelAnswer]


class ScoreRow(Answer):
    """The score of a text: negative log-likelihood in nats, summed over its tokens and the ends of its lines."""

    nats: float | None
    tokens: int
    unknown: int
    nats_per_token: float | None
    perplexity: float | None


class ScoreAnswer(Answer):
    """The scores of texts, in order."""

    model: str
    scores: list[ScoreRow]


class HypothesisRow(Answer):
    """A hypothesis: its score by the language model, and `total`, its score plus `lm_scale` times log-likelihood."""

    nats: float | None
    tokens: int
    unknown: int
    total: float | None


class NBestRow(Answer):
    """The hypotheses of an utterance; `best` is the index of the one with the largest total."""

    id: str
    best: int
    text: str
    hypotheses: list[HypothesisRow]


class NBestAnswer(Answer):
    """The lists, in order."""

    model: str
    lm_scale: float
    lists: list[NBestRow]


class SurprisalWord(Answer):
    """A word of a sentence. Sentences and words are counted from 1; `docs/surprisal.md` describes the columns."""

    sentence: int
    word_number: int
    word: str
    surprisal_bits: float | None
    frequency: int | None
    unknown: bool
    entropy_bits: float | None
    reduction_bits: float | None


class SurprisalAnswer(Answer):
    """The words of all sentences, in order."""

    model: str
    words: list[SurprisalWord]


class CandidateRow(Answer):
    """A token that may come next. `text` is what it adds to the text before it."""

    token: str
    text: str
    id: int
    probability: float
    log_probability: float | None


class NextAnswer(Answer):
    """The candidates, the most probable first; `tokens` and `unknown` count those of the text."""

    model: str
    tokens: int
    unknown: int
    candidates: list[CandidateRow]


class DrawnToken(Answer):
    """A token that was drawn, with its log-probability by the model, and the candidates beside it."""

    sample: int
    text: str
    token: str
    id: int
    log_probability: float | None
    alternatives: list[CandidateRow]


class Sample(Answer):
    """A text that was drawn; `text` does not repeat the prompt."""

    text: str
    tokens: list[DrawnToken]
    finish_reason: Literal["length", "line-end"]


class GenerateAnswer(Answer):
    """The texts; `seed` draws them again."""

    model: str
    prompt: str
    seed: int
    samples: list[Sample]


class TaggedWord(Answer):
    """A word with its tag; the probability is null where it was not asked for."""

    word: str
    tag: str
    probability: float | None


class TagAnswer(Answer):
    """The words of the sentences."""

    model: str
    sentences: list[list[TaggedWord]]


class SessionAnswer(Answer):
    """A session: `tokens` counts what it has read. `idle_seconds` is the time after which it is closed."""

    session: str
    model: str
    tokens: int
    idle_seconds: float


class OpenedAnswer(SessionAnswer):
    """A session that was opened, with the candidates for its first token."""

    candidates: list[CandidateRow]


class ReadToken(Answer):
    """A token that a session has read; the log-probability is null where it was not asked for."""

    token: str
    id: int
    unknown: bool
    log_probability: float | None


class ReadAnswer(Answer):
    """What a session has read, and the candidates for its next token."""

    session: str
    tokens: int
    read: list[ReadToken]
    candidates: list[CandidateRow]


class ClosedAnswer(Answer):
    """A session that was closed."""

    session: str
    closed: bool


class UnitsAnswer(Answer):
    """The values of the units after each token of a text. `pieces` has the part of the text that each token spells."""

    model: str
    units: list[int]
    tokens: list[str]
    pieces: list[str]
    values: list[list[float]]
