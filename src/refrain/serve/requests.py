"""The requests of the server, which are validated and documented by these classes."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from .fields import WHOLE, Message, Name, Seed, Text, limited

Model = Annotated[Name | None, Field(description="The name of a model; null is the first of the needed kind.")]
Count = Annotated[
    int,
    Field(ge=0, json_schema_extra=limited("candidates"), description="The number of candidates for the next token."),
    WHOLE,
]
Beginning = Annotated[
    Text, Field(description="Letters of the next token that are typed already: only candidates with them are returned.")
]
AllowUnknown = Annotated[bool, Field(description="Whether the unknown token may be drawn or returned.")]


class ScoreRequest(Message):
    """Texts to score. Each line of a text is scored independently, after a line end, with its own line end."""

    model: Model = None
    texts: Annotated[list[Text], Field(min_length=1, json_schema_extra=limited("texts"))]


class HypothesisRequest(Message):
    """A hypothesis of a recogniser."""

    text: Text
    score: Annotated[float, Field(description="The logarithm of its probability by the recogniser; larger is better.")]


class NBestList(Message):
    """The hypotheses of an utterance."""

    id: Name
    hypotheses: Annotated[list[HypothesisRequest], Field(min_length=1, json_schema_extra=limited("texts"))]


class NBestRequest(Message):
    """N-best lists to choose from."""

    model: Model = None
    lists: Annotated[list[NBestList], Field(min_length=1, json_schema_extra=limited("texts"))]
    lm_scale: Annotated[float, Field(ge=0, description="The factor of the log-likelihood of the language model.")] = 0.5


class SurprisalRequest(Message):
    """Sentences whose words are measured."""

    model: Model = None
    sentences: Annotated[list[Text], Field(min_length=1, json_schema_extra=limited("texts"))]
    context: Annotated[
        Literal["sentence", "document"], Field(description="Whether sentences are read independently, or in order.")
    ] = "sentence"
    after: Annotated[Text, Field(description="A text that is read before the sentences.")] = ""


class NextRequest(Message):
    """A text whose next token is asked for."""

    model: Model = None
    text: Text = ""
    count: Count = 10
    beginning: Beginning = ""
    allow_unknown: AllowUnknown = True


class HeldUnit(Message):
    """A unit that is held at a value while text is drawn."""

    unit: Annotated[int, Field(ge=0, lt=2**31), WHOLE]
    layer: Annotated[int | None, Field(ge=0, lt=2**31, description="Null is the last layer."), WHOLE] = None
    value: Annotated[float, Field(ge=-1e6, le=1e6)]


class GenerateRequest(Message):
    """A text to continue."""

    model: Model = None
    prompt: Text = ""
    tokens: Annotated[int, Field(ge=1, json_schema_extra=limited("tokens")), WHOLE] = 100
    samples: Annotated[int, Field(ge=1, json_schema_extra=limited("samples")), WHOLE] = 1
    temperature: Annotated[float, Field(ge=0, le=1000, description="0 chooses the most probable token.")] = 1.0
    top_k: Annotated[int | None, Field(ge=1, lt=2**31, description="No effect with temperature 0."), WHOLE] = None
    top_p: Annotated[float | None, Field(gt=0, le=1, description="No effect with temperature 0.")] = None
    seed: Annotated[Seed | None, Field(description="The same seed gives the same text; null draws one.")] = None
    stop_at_line_end: bool = False
    allow_unknown: AllowUnknown = True
    clamp: Annotated[list[HeldUnit], Field(max_length=100, default_factory=list)]
    alternatives: Annotated[
        int,
        Field(ge=0, json_schema_extra=limited("candidates"), description="Candidates shown beside each token."),
        WHOLE,
    ] = 0
    stream: Annotated[bool, Field(description="Send an event for each token, as server-sent events.")] = False


class TagRequest(Message):
    """A plain text, or sentences that are divided into words already: one of the two."""

    model: Model = None
    text: Text | None = None
    sentences: Annotated[
        list[Annotated[list[Text], Field(json_schema_extra=limited("texts"))]] | None,
        Field(json_schema_extra=limited("texts")),
    ] = None
    probabilities: Annotated[bool, Field(description="Whether each tag comes with its probability.")] = False

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["text"], "properties": {"text": {"type": "string"}, "sentences": {"type": "null"}}},
                {"required": ["sentences"], "properties": {"sentences": {"type": "array"}, "text": {"type": "null"}}},
            ]
        }
    )

    @model_validator(mode="after")
    def _one(self) -> "TagRequest":
        if (self.text is None) == (self.sentences is None):
            raise ValueError("give either text or sentences")
        return self


class SessionRequest(Message):
    """A session to open."""

    model: Model = None
    count: Count = 10
    beginning: Beginning = ""
    allow_unknown: AllowUnknown = True


class ReadRequest(Message):
    """What a session reads next, such as a word. An empty text reads nothing and returns the candidates again."""

    text: Text
    count: Count = 10
    beginning: Beginning = ""
    allow_unknown: AllowUnknown = True
    score: Annotated[bool, Field(description="Whether the log-probability of each token is returned.")] = False


class UnitsRequest(Message):
    """A text along which units are followed."""

    model: Model = None
    text: Text
    units: Annotated[list[Annotated[int, Field(ge=0, lt=2**31), WHOLE]], Field(min_length=1, max_length=100)]
    layer: Annotated[int | None, Field(ge=0, lt=2**31, description="Null is the last layer."), WHOLE] = None
    state: Annotated[Literal["cell", "hidden"] | None, Field(description="Null is the cell state where it exists.")] = (
        None
    )
