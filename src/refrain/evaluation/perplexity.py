"""Perplexity of a text: nats are summed, tokens counted, and the sum divided once.

T steps in a window, B batch size.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from refrain.arguments import at_least_one, check_choice
from refrain.data import TextSize, TokenSource, Vocabulary, Windows
from refrain.data.text.splits import SPLITS
from refrain.errors import DataError, quantity
from refrain.models import Network, evaluating
from refrain.models.perplexity import perplexity
from refrain.models.protocol import device_of, offers, token_nats
from refrain.parallel import ALONE, Ranks
from refrain.progress import Track, perplexity_text, untracked

Protocol = Literal["exact", "zaremba", "awd"]

EXACT_WINDOW = 512
WHAT = "measuring the text, in windows"
DIVERGED = 1e6
"""How many times the perplexity of equal probabilities only a model whose training has diverged exceeds."""


@dataclass(frozen=True)
class Figure:
    """A sum of nats over a number of tokens.

    Attributes:
        nats: the sum.
        tokens: the number of tokens.
        unknown: the number of tokens among them that are `<unk>`; None where they were not counted.
        unknown_nats: the nats of these tokens.
    """

    nats: float
    tokens: int
    unknown: int | None = None
    unknown_nats: float = 0.0

    @property
    def nats_per_token(self) -> float:
        """Cross-entropy in nats."""
        return self.nats / self.tokens

    @property
    def bits_per_token(self) -> float:
        """Cross-entropy in bits."""
        return self.nats_per_token / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp of the nats per token; infinity on overflow."""
        return perplexity(self.nats_per_token)

    @property
    def without_unknown(self) -> "Figure | None":
        """The figure of the other tokens; None where unknown ones were not counted, or there are no others."""
        if self.unknown is None or self.unknown >= self.tokens:
            return None
        return Figure(self.nats - self.unknown_nats, self.tokens - self.unknown)

    def document(self, text: TextSize | None = None) -> dict[str, Any]:
        """The figure as plain data, with the figure without unknown tokens where these were counted.

        Args:
            text: the size of the text that the tokens are of; adds `bits_per_byte`, `bits_per_character` and
                `perplexity_per_word`. Their denominators are those of the whole text, so that figures of different
                units can be compared: a token that was not scored, such as the first, counts as the mean of the others.
        """
        figures: dict[str, Any] = {
            "tokens": self.tokens,
            "nats_per_token": self.nats_per_token,
            "bits_per_token": self.bits_per_token,
            "perplexity": self.perplexity,
        }
        if text is not None:
            figures["bits_per_byte"] = self.bits_per_token * (text.tokens / text.bytes)
            figures["bits_per_character"] = self.bits_per_token * (text.tokens / max(text.characters, 1))
            figures["perplexity_per_word"] = perplexity(self.nats_per_token * (text.tokens / max(text.words, 1)))
        if self.unknown is not None:
            others = self.without_unknown
            figures["unknown"] = self.unknown
            figures["nats_per_token_without_unknown"] = others and others.nats_per_token
            figures["perplexity_without_unknown"] = others and others.perplexity
        return figures


class Tally:
    """Sums nats over the targets of a text.

    Args:
        vocabulary: decides what is counted apart: its unknown token; None counts nothing apart.
    """

    def __init__(self, vocabulary: Vocabulary | None) -> None:
        self._unknown = None if vocabulary is None else vocabulary.unknown
        self._nats = self._unknown_nats = 0.0
        self._tokens = self._unknowns = 0

    def add(self, targets: Tensor, nats: Tensor) -> None:
        """Add the nats of some targets: of the same shape, or their sum, which does not count unknown words."""
        self._nats += float(nats.double().sum())
        self._tokens += targets.numel()
        if nats.shape != targets.shape:
            self._unknown = None
        if self._unknown is not None:
            apart = targets == self._unknown
            self._unknowns += int(apart.sum())
            self._unknown_nats += float(nats[apart.to(nats.device)].double().sum())

    def figure(self) -> Figure:
        """The sums so far."""
        return Figure(
            self._nats,
            self._tokens,
            None if self._unknown is None else self._unknowns,
            self._unknown_nats,
        )


def protocol_windows(
    source: TokenSource, protocol: Protocol, *, split: str, window_steps: int, name: str = "the corpus"
) -> Windows:
    """The windows that a protocol of evaluation scores.

    * `exact`: batch size 1; every token but the first is scored.
    * `zaremba`: on `test` the same as `exact`, as in the PTB tutorial; on other splits batch size 20, and a last
      partial window is dropped.
    * `awd`: on `test` the same as `exact`; on other splits batch size 10, and a last partial window is scored.

    Each protocol divides by the number of tokens that it scores.

    Args:
        source: the tokens.
        protocol: one of the above.
        split: the name of the split: `train`, `valid`, `test`, or `all` for a text without splits. For `exact`, which
            reads all of them alike, it can be any other name.
        window_steps: the number of steps of a training window, which only `zaremba` depends on. `exact` has its own.
        name: the name of the text, for messages.

    Raises:
        UserError: when the protocol or the split is unknown, or `window_steps` is less than 1.
        DataError: when the text is too short for the protocol.
    """
    check_choice("protocol", protocol, get_args(Protocol))
    if protocol != "exact":
        check_choice("split", split, (*SPLITS, "all"))
        window_steps = at_least_one(window_steps, "window_steps")
    if protocol == "exact" or split == "test":
        return Windows(source, batch_size=1, window_steps=EXACT_WINDOW, tail="keep", name=name)
    streams = 20 if protocol == "zaremba" else 10
    needed = streams * (window_steps + 1 if protocol == "zaremba" else 2)
    if len(source) < needed:
        raise DataError(
            f"{name}: has {quantity(len(source), 'token')}, too few for the protocol {protocol!r}, which reads "
            f"{streams} streams and needs {needed} tokens; give more text, or use the protocol 'exact' (when "
            "training, training.validation=exact)"
        )
    tail: Literal["drop", "keep"] = "drop" if protocol == "zaremba" else "keep"
    return Windows(source, batch_size=streams, window_steps=window_steps, tail=tail, name=name)


def stream_nats(
    model: Network, windows: Windows, *, track: Track = untracked, what: str = WHAT
) -> Iterator[tuple[Tensor, Tensor]]:
    """Score windows one after another, carrying the state from each to the next.

    The model is in evaluation mode during each window and in its previous mode between windows.

    Args:
        model: the model.
        windows: the windows of a text.
        track: reports the loop over the windows.
        what: what the loop does, for the report.

    Yields:
        The targets of a window and their nats, each (T, B).

    Raises:
        UserError: when a network of one's own has neither `token_nats` nor `step`.
    """
    device = device_of(model)
    state = model.initial_state(windows.batch_size)
    for index in track(range(len(windows)), what, len(windows)):
        inputs, targets = windows[index]
        with evaluating(model):
            nats, state = token_nats(model, inputs.to(device), targets.to(device), state)
        yield targets, nats


def evaluate(
    model: Network,
    windows: Windows,
    vocabulary: Vocabulary | None = None,
    *,
    track: Track = untracked,
    what: str = WHAT,
    ranks: Ranks = ALONE,
) -> Figure:
    """The nats and the number of tokens of the windows of a text.

    Args:
        model: the model.
        windows: the windows of the text.
        vocabulary: the vocabulary of the model, to count unknown tokens apart.
        track: reports the loop over the windows.
        what: what the loop does, for the report.
        ranks: processes that have the same model, among which the streams of the text are divided; rank 0 alone reads a
            text that has fewer streams than there are ranks.

    Raises:
        UserError: when the model is no network, for example a loaded model instead of its `model`.
    """
    if ranks.size > 1:
        return _evaluated_by(ranks, model, windows, vocabulary, track, what)
    if not offers(model, "token_nats"):
        return Figure(_summed_nats(model, windows, track, what), windows.predicted)
    tally = Tally(vocabulary)
    for targets, nats in stream_nats(model, windows, track=track, what=what):
        tally.add(targets, nats)
    return tally.figure()


def _evaluated_by(
    ranks: Ranks, model: Network, windows: Windows, vocabulary: Vocabulary | None, track: Track, what: str
) -> Figure:
    columns = ranks.columns(windows.batch_size)
    if columns is None:
        own = evaluate(model, windows, vocabulary, track=track, what=what) if ranks.first else None
        return Figure(**ranks.from_first(own and asdict(own)))
    figure = evaluate(model, windows.columns(columns.first, columns.number), vocabulary, track=track, what=what)
    nats, tokens, unknown, unknown_nats = ranks.sums(
        figure.nats, figure.tokens, figure.unknown or 0, figure.unknown_nats
    )
    return Figure(nats, int(tokens), None if figure.unknown is None else int(unknown), unknown_nats)


@torch.no_grad()
def _summed_nats(model: Network, windows: Windows, track: Track, what: str) -> float:
    """The nats of all windows by `forward`, which every network has."""
    device = device_of(model)
    state = model.initial_state(windows.batch_size)
    total = 0.0
    for index in track(range(len(windows)), what, len(windows)):
        inputs, targets = windows[index]
        with evaluating(model):
            nats, _, state = model(inputs.to(device), targets.to(device), state)
        total += float(nats)
    return total


def guessing_concerns(figures: Mapping[str, Mapping[str, Any]], tokens: int) -> list[str]:
    """Warnings about perplexities that equal probabilities for all tokens would undercut, each one line.

    Args:
        figures: the `perplexity` of each text by name, and its `perplexity_without_unknown`, if any.
        tokens: the number of tokens in the vocabulary, which is the perplexity of equal probabilities.
    """
    return [
        f"the perplexity of {name} ({perplexity_text(found, 1)}) is above {tokens:,}, that of equal probabilities for "
        f"all tokens: {_cause(found, figure.get('perplexity_without_unknown'), tokens)}"
        for name, figure in figures.items()
        if (found := figure["perplexity"]) > tokens
    ]


def _cause(perplexity: float, without_unknown: float | None, tokens: int) -> str:
    """Why a perplexity is above that of equal probabilities, and what to do."""
    if without_unknown is not None and without_unknown <= tokens:
        return "unknown words cost that much, of which the model knows nothing; compare figures without unknown words"
    if has_diverged(perplexity, tokens):
        return "the training has diverged; train again with a lower training.learning_rate"
    return "the model has learned too little of such text; train it longer, or check that text and model fit each other"


def has_diverged(perplexity: float, tokens: int) -> bool:
    """Whether a perplexity is infinite, or so large that the training of the model must have diverged.

    Args:
        perplexity: the perplexity per token of a text.
        tokens: the number of tokens in the vocabulary.
    """
    return perplexity > DIVERGED * tokens
