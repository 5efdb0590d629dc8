"""The parts of a request that a model computes. A program yields them one after another and gets their results.

A program is a generator that runs on the model thread. Parts of one kind that several programs wait for are computed
together, in one batch.

V tokens in the vocabulary.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from .served import Candidate, ServedModel, ServedTagger
from .slots import Slot


class Step(NamedTuple):
    """A token that is read after a state.

    Attributes:
        token_id: the id of the token.
        state: the state before it.
        candidates: the number of most probable next tokens that are looked for, for the whole batch at once.
    """

    token_id: int
    state: Slot
    candidates: int = 0


class Stepped(NamedTuple):
    """The result of a `Step`.

    Attributes:
        row: the log-probabilities (V,) of the next token, which share the memory of the batch.
        state: the state after the token.
        best: at least as many of the most probable next tokens as were asked for, the first ones first.
    """

    row: Tensor
    state: Slot
    best: Sequence[Candidate] = ()


class Steps(NamedTuple):
    """One token for each of some sequences; the result is a `Stepped` for each.

    Attributes:
        model: the model.
        steps: the tokens.
        hold: maps the state of a batch to the one that is used.
    """

    model: ServedModel
    steps: list[Step]
    hold: Callable[[Any], Any] | None = None


class Window(NamedTuple):
    """Tokens that are read without their log-probabilities; the result is the state after them."""

    model: ServedModel
    ids: list[int]
    state: Slot


class Lines(NamedTuple):
    """The ids of lines, each with its end; the result is the nats of each."""

    model: ServedModel
    encoded: list[list[int]]


class Sentences(NamedTuple):
    """Words of sentences; the result is the tag of each word with its probability."""

    model: ServedTagger
    sentences: list[list[str]]


class Call(NamedTuple):
    """A function of the library that computes for long.

    Its argument is called between its steps, so that other requests have their turn.
    """

    function: Callable[[Callable[[], None]], Any]


class Emit(NamedTuple):
    """A value that is sent to the client before the program ends."""

    value: Any


Part: TypeAlias = Steps | Window | Lines | Sentences | Call
Program: TypeAlias = Generator[Part | Emit, Any, Any]
