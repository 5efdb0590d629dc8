"""Compares an exported model with the library's on random and on real text, before the export counts as made.

T steps in a window, B batch size, V tokens in the vocabulary.
"""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from refrain.data import TokenSource
from refrain.errors import CheckpointError, DataError
from refrain.models import LanguageModel, Stepper, evaluating
from refrain.nn import fold_weight_norm
from refrain.nn.kernels.packed_linear import WeightType, round_weights
from refrain.nn.recurrent.protocol import state_like, state_tensors
from refrain.nn.step_graph import StepGraph
from refrain.progress import Track, untracked

from .recogniser_tokens import TokenIds, same_ids

Network = TypeVar("Network", bound=nn.Module)

SHAPES = ((1, 1), (1, 40), (3, 5), (8, 2), (2, 17))
"""Batch sizes and lengths of the random text, each read twice, from the initial state and from the state after that."""
WINDOW = 50
TIMED = 100
FLOAT32_TOLERANCE = 1e-4
INT8_GROWTH = 0.01
"""The largest difference of the perplexity of int8 weights from that of float32, as a fraction."""


class Runner(Protocol):
    """Runs an exported model."""

    def __call__(self, ids: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        """ids (B, T) and states (B, size) -> log-probabilities (B, T, V) and the states after the window."""
        ...


@dataclass(frozen=True)
class Proof:
    """What the comparison found.

    Attributes:
        max_difference: the largest difference of log-probabilities and states from the library's, with the same
            weights; of the mean for each token where whole texts are scored.
        tokens: the number of tokens of real text, read in one stream with the states carried over, or line by line
            where whole texts are scored.
        perplexity: of the exported model on that text.
        library_perplexity: of the library's model on it, in float32.
        ms_per_token: of the exported model, one token at a time; of one that scores whole texts, a text in one call.
        library_ms_per_token: of the library with the same weights: of its stepper, or of its model on the whole text.
    """

    max_difference: float
    tokens: int
    perplexity: float
    library_perplexity: float
    ms_per_token: float
    library_ms_per_token: float

    def document(self) -> dict[str, Any]:
        """The figures as plain data."""
        return asdict(self)


def float32_copy(model: Network, weights: WeightType) -> Network:
    """A copy of a model for evaluation on the CPU, in float32 and without weight norm; `int8` rounds its matrices."""
    copied = copy.deepcopy(model).cpu().float().eval()
    fold_weight_norm(copied)
    if weights == "int8":
        round_weights(copied)
    return copied


class Reference:
    """The library's model behind the interface of an exported one.

    Args:
        model: the model, which is copied.
        weights: `int8` rounds the matrices.
    """

    def __init__(self, model: LanguageModel, weights: WeightType) -> None:
        self._model = float32_copy(model, weights)

    @torch.no_grad()
    def __call__(self, ids: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        """See `Runner`."""
        template = self._model.initial_state(len(ids))
        state = state_like(template, [torch.from_numpy(np.array(part)) for part in states])
        with evaluating(self._model):
            outputs, state = self._model.hidden(torch.from_numpy(np.array(ids)).T, state)
            log_probabilities = self._model.head.log_probabilities(outputs.dropped)
        return log_probabilities.transpose(0, 1).numpy(), [part.numpy() for part in state_tensors(state)]


def compare(
    run: Runner,
    model: LanguageModel,
    graph: StepGraph,
    text: TokenSource,
    *,
    weights: WeightType,
    tolerance: float | None,
    tokens: int,
    ids: TokenIds | None = None,
    track: Track = untracked,
) -> Proof:
    """Compare an exported model with the library's.

    Args:
        run: runs the exported model.
        model: the library's model.
        graph: its step.
        text: real text, of which the first tokens are read.
        weights: of the exported model.
        tolerance: the largest difference of log-probabilities that is allowed, from the model with the same weights;
            None where inputs are rounded as well.
        tokens: how many tokens of the text are scored at most.
        ids: the model's token for each token that the exported model reads and scores; None where they are the same.
        track: reports the loop over the text.

    Raises:
        CheckpointError: when the two do not agree.
    """
    ids = ids or same_ids(graph.vocabulary_size, 0)
    same = renamed(Reference(model, weights), ids)
    worst = checked(_random_difference(run, same, graph, len(ids.read)), tolerance)
    runners = [run, same] if weights == "float32" else [run, same, renamed(Reference(model, "float32"), ids)]
    found = _read(first_tokens(text, tokens, ids), runners, graph, track)
    worst = max(worst, checked(found.difference, tolerance))
    exported, *_, library = found.perplexities
    check_growth(exported, library, weights)
    few = found.ids[:TIMED]

    def read() -> None:
        states = initial_states(graph, 1)
        for token in few:
            _, states = run(token[None, None], states)

    stepper = Stepper(model, weights=weights)

    def library_read() -> None:
        state = stepper.initial_state(1)
        for token in torch.from_numpy(ids.read[few])[:, None].to(stepper.device):
            _, state = stepper.step(token, state)

    own, library_ms = milliseconds(read, library_read, len(few))
    return Proof(worst, len(found.ids) - 1, exported, library, own, library_ms)


def renamed(run: Runner, tokens: TokenIds) -> Runner:
    """A model behind the tokens of a recogniser, which it reads and whose log-probabilities it returns."""

    if not tokens.renames:
        return run

    def recogniser(ids: Any, states: Sequence[Any]) -> tuple[Any, list[Any]]:
        log_probabilities, after = run(tokens.read[ids], states)
        return log_probabilities[..., tokens.read], after

    return recogniser


def first_tokens(text: TokenSource, tokens: int, ids: TokenIds) -> Any:
    """The first tokens of a text as a recogniser numbers them, without those that it does not have.

    Raises:
        DataError: when fewer than two are left, so that nothing could be compared.
    """
    found = ids.write[np.array(text.read(0, min(len(text), tokens + 1))).astype(np.int64)]
    found = found[found >= 0]
    if len(found) < 2:
        raise DataError(
            f"the exported model has {len(found)} of the first {tokens:,} tokens of the text, too few to compare; "
            "give the tokens.txt of a recogniser for this language with --tokens, another text with --data, or write "
            "the model without the comparison: --no-proof"
        )
    return found


def check_growth(exported: float, library: float, weights: WeightType) -> None:
    """Check that rounded weights did not change the perplexity by much.

    Raises:
        CheckpointError: when they did.
    """
    if weights == "int8" and not abs(exported / library - 1) <= INT8_GROWTH:
        raise CheckpointError(
            f"the perplexity is {exported:.2f} in int8 and {library:.2f} in float32, which differ by more than "
            f"{INT8_GROWTH:.0%}; nothing was written; export it with --weights float32"
        )


def initial_states(graph: StepGraph, batch_size: int) -> list[Any]:
    """The states before the first token, each (B, size)."""
    return [np.tile(state.initial.astype(np.float32), (batch_size, 1)) for state in graph.states]


def checked(difference: float, tolerance: float | None) -> float:
    """The difference, if it is allowed.

    Raises:
        CheckpointError: when it is not, or a result is not a number or has another shape.
    """
    if not math.isfinite(difference) or difference > (math.inf if tolerance is None else tolerance):
        allowed = "" if tolerance is None else f", more than {tolerance:g}"
        raise CheckpointError(
            "the exported model does not compute what the run's model computes: its log-probabilities or states differ "
            f"by {difference:.2g}{allowed}; nothing was written; please report this"
        )
    return difference


def _random_difference(run: Runner, same: Runner, graph: StepGraph, vocabulary_size: int) -> float:
    draw = np.random.default_rng(1)
    worst = 0.0
    for batch, steps in SHAPES:
        ours = theirs = initial_states(graph, batch)
        for _ in range(2):
            ids = draw.integers(0, vocabulary_size, (batch, steps))
            a, ours = same(ids, ours)
            b, theirs = run(ids, theirs)
            worst = max(worst, *(_difference(*pair) for pair in zip([a, *ours], [b, *theirs], strict=True)))
    return worst


def _difference(a: Any, b: Any) -> float:
    """The largest difference of two arrays; infinite where one is not finite or has another shape."""
    if a.shape != b.shape:
        return math.inf
    found = float(np.abs(a - b).max(initial=0.0))
    return found if math.isfinite(found) else math.inf


@dataclass(frozen=True)
class _Reading:
    ids: Any
    difference: float
    perplexities: list[float]


def _read(ids: Any, runners: Sequence[Runner], graph: StepGraph, track: Track) -> _Reading:
    """Read a text with several runners, of which the first two are compared."""
    states = [initial_states(graph, 1) for _ in runners]
    nats = [0.0] * len(runners)
    worst = 0.0
    starts = range(0, len(ids) - 1, WINDOW)
    for start in track(starts, "comparing the exported model with the run's, in windows", len(starts)):
        inputs, targets = ids[start : start + WINDOW], ids[start + 1 : start + WINDOW + 1]
        inputs = inputs[: len(targets)]
        found = []
        for index, run in enumerate(runners):
            log_probabilities, states[index] = run(inputs[None], states[index])
            nats[index] -= float(log_probabilities[0, np.arange(len(targets)), targets].astype(np.float64).sum())
            found.append(log_probabilities)
        worst = max(worst, _difference(found[0], found[1]))
    return _Reading(ids, worst, [perplexity(total, len(ids) - 1) for total in nats])


def perplexity(nats: float, tokens: int) -> float:
    """The perplexity of tokens with so many nats in all."""
    return math.exp(min(nats / max(tokens, 1), 700))


def milliseconds(read: Callable[[], Any], library: Callable[[], Any], count: int) -> tuple[float, float]:
    """The time of a token for the exported model and for the library, in turns; the shortest of three passes.

    Args:
        read: reads some tokens by the exported model.
        library: reads them by the library.
        count: the number of these tokens.
    """
    seconds: list[list[float]] = [[], []]
    for _ in range(3):
        for own, pass_ in zip(seconds, (read, library), strict=True):
            start = time.perf_counter()
            pass_()
            own.append(time.perf_counter() - start)
    return min(seconds[0]) / max(count, 1) * 1000, min(seconds[1]) / max(count, 1) * 1000
