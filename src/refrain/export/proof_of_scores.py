"""Compares an exported scorer of whole texts with the library on random and on real text.

L tokens in the longest text, N texts, R tokens of the recogniser.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from refrain.data import TokenSource
from refrain.models import LanguageModel
from refrain.nn.kernels.packed_linear import WeightType
from refrain.nn.step_graph import StepGraph
from refrain.progress import Track, untracked

from .proof import (
    TIMED,
    Proof,
    Reference,
    check_growth,
    checked,
    first_tokens,
    initial_states,
    milliseconds,
    perplexity,
)
from .recogniser_tokens import TokenIds, same_ids

SHAPES = ((1, 0), (1, 1), (1, 40), (3, 5), (8, 2), (2, 17))
"""Numbers of texts and the length of the longest, of the random text."""
LONGEST = 100
"""Longer lines of real text are cut, since a scorer holds the log-probabilities of all tokens."""
AT_ONCE = 4


class Scorer(Protocol):
    """Scores whole texts by an exported model."""

    def __call__(self, given: Any, lengths: Any) -> Any:
        """Tokens (N, L), of which each text has the first `lengths` (N,) -> nats (N,), the end of a text included."""
        ...


def compare_scores(
    score: Scorer,
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
    """Compare an exported scorer with the library's model; see `refrain.export.proof.compare`.

    Args:
        score: scores texts.
        model: the library's model.
        graph: its step.
        text: real text, whose first lines are scored.
        weights: of the exported model.
        tolerance: the largest difference that is allowed of the nats of a text, divided by its tokens with its end.
        tokens: how many tokens of the text are scored at most.
        ids: the model's token for each token that is scored; None where they are the same.
        track: reports the loop over the text.

    Raises:
        CheckpointError: when the two do not agree.
    """
    ids = ids or same_ids(graph.vocabulary_size, 0)
    same = library_scorer(Reference(model, weights), graph, ids)
    scorers = [score, same]
    if weights == "int8":
        scorers.append(library_scorer(Reference(model, "float32"), graph, ids))
    worst = 0.0
    for given, lengths in random_texts(len(ids.read)):
        worst = max(worst, checked(_difference(score(given, lengths), same(given, lengths), lengths), tolerance))
    lines = _lines(first_tokens(text, tokens, ids), ids.line_end)
    nats, count = np.zeros(len(scorers)), 0
    starts = range(0, len(lines), AT_ONCE)
    for start in track(starts, "comparing the exported model with the run's, in lines", len(starts)):
        given, lengths = _padded(lines[start : start + AT_ONCE])
        found = [each(given, lengths) for each in scorers]
        worst = max(worst, checked(_difference(found[0], found[1], lengths), tolerance))
        nats += [float(each.astype(np.float64).sum()) for each in found]
        count += int((lengths + 1).sum())
    exported, *_, library = (perplexity(total, count) for total in nats)
    check_growth(exported, library, weights)
    few = first_tokens(text, TIMED, ids)
    few = few[few < len(ids.read)]
    timed = few[None], np.array([len(few)])
    own, library_ms = milliseconds(lambda: score(*timed), lambda: same(*timed), len(few) + 1)
    return Proof(worst, count, exported, library, own, library_ms)


def library_scorer(run: Reference, graph: StepGraph, ids: TokenIds) -> Scorer:
    """The library's model as a scorer of texts of a recogniser's tokens."""

    def score(given: Any, lengths: Any) -> Any:
        own = ids.read[given]
        end = np.full((len(own), 1), ids.read_line_end)
        log_probabilities, _ = run(np.concatenate([end, own], 1), initial_states(graph, len(own)))
        nats = []
        for row, line, length in zip(log_probabilities, own, lengths, strict=True):
            targets = [*line[:length], ids.read_line_end]
            nats.append(-row[np.arange(length + 1), targets].astype(np.float64).sum())
        return np.array(nats, np.float32)

    return score


def _difference(ours: Any, theirs: Any, lengths: Any) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    found = float(np.abs((ours - theirs) / (lengths + 1)).max(initial=0.0))
    return found if np.isfinite(found) else float("inf")


def random_texts(vocabulary_size: int) -> Iterator[tuple[Any, Any]]:
    """Random tokens (N, L) and the lengths (N,) of the texts, in several shapes."""
    draw = np.random.default_rng(1)
    for texts, steps in SHAPES:
        lengths = draw.integers(0, steps + 1, texts)
        lengths[-1] = steps
        yield draw.integers(0, vocabulary_size, (texts, steps)), lengths


def _lines(ids: Any, line_end: int) -> list[Any]:
    """The lines of a text, the last of which may be cut off."""
    parts = np.split(ids, np.flatnonzero(ids == line_end) + 1)
    lines = [part[part != line_end][:LONGEST] for part in parts]
    return [line for line in lines if len(line)]


def _padded(lines: list[Any]) -> tuple[Any, Any]:
    lengths = np.array([len(line) for line in lines])
    given = np.zeros((len(lines), lengths.max()), np.int64)
    for row, line in zip(given, lines, strict=True):
        row[: len(line)] = line
    return given, lengths
