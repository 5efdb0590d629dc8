"""The programs of requests that read a text, and get the candidates for the next token."""

from typing import NamedTuple, TypeAlias

from refrain.data.units.protocol import encode_within

from .requests import NextRequest, ReadRequest, SessionRequest
from .served import Candidate, ServedModel
from .slots import Slot
from .work import Program, Step, Stepped, Steps, Window

# tokens that are read step by step, in batches with those of others, instead of in a window
FEW_TOKENS = 4

Asking: TypeAlias = NextRequest | SessionRequest | ReadRequest


class Place(NamedTuple):
    """Where a text has been read to: the state after all ids but the last, the last id, and the state after it.

    From the state before the last id, the last id can be read again to compute what the model expects next.
    """

    before: Slot
    last: int
    after: Slot


class Read(NamedTuple):
    """What a session has read.

    Attributes:
        ids: the ids.
        scores: the log-probability of each, where they were asked for.
        place: the place after them.
        candidates: the candidates for the next token.
    """

    ids: list[int]
    scores: list[float]
    place: Place
    candidates: list[Candidate]


def predicting(model: ServedModel, request: NextRequest) -> Program:
    """The candidates for the token after a text.

    Args:
        model: the model.
        request: the text.
    """
    vocabulary = model.vocabulary
    ids = vocabulary.encode(request.text)
    state = model.states.zero
    context = [vocabulary.line_end, *ids]
    if len(context) > FEW_TOKENS:
        state = yield Window(model, context[:-1], state)
        context = context[-1:]
    for index in context:
        (stepped,) = yield Steps(model, [Step(index, state, _count(request))])
        state = stepped.state
    return {
        "model": model.name,
        "tokens": len(ids),
        "unknown": vocabulary.count_unseen(request.text, ids),
        "candidates": model.shown(request.text[-1:], _candidates(model, stepped, request)),
    }


def advancing(model: ServedModel, place: Place, request: SessionRequest | ReadRequest) -> Program:
    """Read the text of a request after a place, and return a `Read`.

    Args:
        model: the model.
        place: the place.
        request: the text, if there is one, and the candidates that are returned. For the log-probability of the first
            id, the last id of the place is read again.
    """
    before, last, after = place
    ids: list[int] = []
    if isinstance(request, ReadRequest):
        vocabulary = model.vocabulary
        begins = last == vocabulary.line_end
        ids = vocabulary.encode(request.text) if begins else encode_within(vocabulary, request.text)
    score = isinstance(request, ReadRequest) and request.score
    scores: list[float] = []
    rest = ids
    if score or not ids:
        (stepped,) = yield Steps(model, [Step(last, before, _count(request))])
        after = stepped.state
    elif len(ids) > FEW_TOKENS:
        after = yield Window(model, ids[:-1], after)
        rest = ids[-1:]
    for index in rest:
        if score:
            scores.append(float(stepped.row[index]))
        (stepped,) = yield Steps(model, [Step(index, after, _count(request))])
        before, last, after = after, index, stepped.state
    return Read(ids, scores, Place(before, last, after), _candidates(model, stepped, request))


def _count(request: Asking) -> int:
    """The number of tokens that have to be found for the candidates: the unknown one may have to be left out."""
    return 0 if request.beginning else request.count + (not request.allow_unknown)


def _candidates(model: ServedModel, stepped: Stepped, request: Asking) -> list[Candidate]:
    """The candidates that a request asks for."""
    if request.beginning:
        return model.candidates(
            stepped.row, request.count, beginning=request.beginning, allow_unknown=request.allow_unknown
        )
    unknown = None if request.allow_unknown else model.vocabulary.unknown
    return [each for each in stepped.best if each.token_id != unknown][: request.count]
