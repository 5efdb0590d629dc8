"""Linear interpolation of a network with an n-gram model (Jelinek & Mercer, 1980).

p(w | h) = (1 - weight) p_network(w | h) + weight p_ngram(w | h)

T steps in a window, B batch size, C words of a context, V words in the vocabulary, M ids to score.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refrain.data import TokenSource, WordVocabulary
from refrain.models.scorer import AnyStepper, Scorer
from refrain.nn.kernels.packed_linear import WeightType
from refrain.progress import Track, untracked

from .ngram.backoff import NONE, Floats
from .ngram.words import BEGIN, WordModel
from .perplexity import WHAT, Figure, Tally, protocol_windows

# a difference of weights that is negligible, and rounds after which the search ends in any case
CLOSE = 1e-6
ROUNDS = 500


class MixedState(NamedTuple):
    """The state of a mixture: that of the network, and the last words of each line (B, C), the newest at the end."""

    network: Any
    contexts: Tensor


class MixedStepper:
    """A stepper whose probabilities are those of a network and of an n-gram model, interpolated.

    Args:
        stepper: the network.
        ngrams: the n-gram model, over the network's vocabulary.
        vocabulary: the vocabulary of the network.
        weight: of the n-gram model, at least 0 and less than 1.

    Attributes:
        device: the device on which ids are expected.
        weight: of the n-gram model.
        weights: `float32` or `int8`, those of the network.

    Raises:
        ValueError: when the weight is out of range.
    """

    def __init__(self, stepper: AnyStepper, ngrams: WordModel, vocabulary: WordVocabulary, weight: float) -> None:
        if not 0 <= weight < 1:
            raise ValueError(f"the weight of the n-gram model must be at least 0 and less than 1 (got {weight})")
        self.weight = weight
        self._stepper = stepper
        self._scorer: Scorer = stepper.scorer
        self._ngrams = ngrams
        self._line_end = vocabulary.line_end
        self._log_weights = math.log1p(-weight), math.log(weight) if weight else -math.inf
        self.device = stepper.device
        self.weights: WeightType = getattr(stepper, "weights", "float32")

    @property
    def scorer(self) -> "MixedStepper":
        """This object; see `Stepper`."""
        return self

    @property
    def shares_prefixes(self) -> bool:
        """Whether the network does; see `AnyStepper`."""
        return self._stepper.shares_prefixes

    def initial_state(self, batch_size: int) -> MixedState:
        """The state before the first token, which is taken to begin a line."""
        return MixedState(self._stepper.initial_state(batch_size), first_contexts(batch_size, self._ngrams.order - 1))

    def step(self, ids: Tensor, state: MixedState) -> tuple[Tensor, MixedState]:
        """Map ids (B,) to natural log-probabilities of the next tokens (B, V) and the state after them."""
        found, network = self._stepper.step(ids, state.network)
        contexts = contexts_after(ids[None], state.contexts, self._line_end)[0]
        others = np.stack([self._ngrams.distribution(context) for context in contexts.numpy()])
        return self._mixed(found, others).float(), MixedState(network, contexts)

    def token_nats(self, inputs: Tensor, targets: Tensor, state: MixedState) -> tuple[Tensor, MixedState]:
        """The negative log-likelihood in nats of each target (T, B), and the state after the window."""
        nats, others, state = self.both_nats(inputs, targets, state)
        return -self._mixed(-nats, -others), state

    def both_nats(
        self, inputs: Tensor, targets: Tensor, state: MixedState
    ) -> tuple[Tensor, NDArray[np.float64], MixedState]:
        """As `token_nats`, but by the network and by the n-gram model, apart."""
        nats, network = self._scorer.token_nats(inputs, targets, state.network)
        contexts = contexts_after(inputs, state.contexts, self._line_end)
        found = self._ngrams.log_probabilities(contexts.flatten(0, 1).numpy(), targets.flatten().cpu().numpy())
        return nats, -found.reshape(targets.shape), MixedState(network, contexts[-1])

    def following_nats(
        self, ids: Tensor, state: MixedState, rows: Tensor, following: Tensor
    ) -> tuple[Tensor, MixedState]:
        """The nats (M,) of ids that may follow each of a batch of sequences, and the state after it; see `Scorer`."""
        nats, network = self._scorer.following_nats(ids, state.network, rows, following)
        contexts = contexts_after(ids[None], state.contexts, self._line_end)[0]
        others = self._ngrams.log_probabilities(contexts[rows.cpu()].numpy(), following.cpu().numpy())
        return -self._mixed(-nats, others), MixedState(network, contexts)

    def _mixed(self, network: Tensor, others: Floats) -> Tensor:
        of_network, of_ngrams = self._log_weights
        there = torch.from_numpy(others).to(network.device)
        return torch.logaddexp(network.double() + of_network, there + of_ngrams)


class Mixed(NamedTuple):
    """A mixture, and how its weight was chosen.

    Attributes:
        stepper: the mixture.
        fitted: the choice of the weight; None for a weight that was given.
    """

    stepper: MixedStepper
    fitted: "Fitted | None"


def mixed_with(
    stepper: AnyStepper,
    vocabulary: WordVocabulary,
    ngrams: WordModel,
    weight: float | None,
    validation: Callable[[], TokenSource],
    *,
    track: Track = untracked,
) -> Mixed:
    """Interpolate a network with an n-gram model.

    Args:
        stepper: the network.
        vocabulary: the vocabulary of the network.
        ngrams: the n-gram model, over the network's vocabulary.
        weight: of the n-gram model; None chooses it on the validation text.
        validation: returns the validation text; it is called when the weight has to be chosen.
        track: reports the loop over the validation text.

    Raises:
        ValueError: when the weight is out of range.
    """
    if weight is not None:
        return Mixed(MixedStepper(stepper, ngrams, vocabulary, weight), None)
    fitted = fit_weight(MixedStepper(stepper, ngrams, vocabulary, 0.0), validation(), track=track)
    return Mixed(MixedStepper(stepper, ngrams, vocabulary, fitted.weight), fitted)


def first_contexts(batch_size: int, count: int) -> Tensor:
    """The contexts (B, C) of `count` words at the beginning of lines."""
    contexts = torch.full((batch_size, count), NONE)
    contexts[:, -1:] = BEGIN
    return contexts


def contexts_after(inputs: Tensor, before: Tensor, line_end: int) -> Tensor:
    """The context (T, B, C) after each of the ids (T, B) that are read, from that before them (B, C).

    Args:
        inputs: the ids.
        before: the contexts before the window.
        line_end: the id after which a line begins.
    """
    read = torch.where(inputs == line_end, BEGIN, inputs).cpu()
    count = before.shape[1]
    if not count:
        return before.new_empty((*read.shape, 0))
    whole = torch.cat([before.T, read])
    contexts = whole.unfold(0, count, 1)[1:].clone()
    # what is before the beginning of a line is not in its contexts
    begins = (contexts == BEGIN).int()
    later = begins.flip(-1).cumsum(-1).flip(-1) - begins
    return contexts.masked_fill(later > 0, NONE)


def ngram_nats(ngrams: WordModel, vocabulary: WordVocabulary, texts: Sequence[str]) -> float:
    """The nats of lines by an n-gram model alone, each after a line end and with its own.

    Args:
        ngrams: the n-gram model, over the words of the vocabulary.
        vocabulary: the vocabulary.
        texts: the lines, without their ends.
    """
    ids = torch.tensor(vocabulary.encode("".join(f"{text}\n" for text in texts)))
    read = torch.cat([torch.tensor([vocabulary.line_end]), ids[:-1]])
    contexts = contexts_after(read[:, None], first_contexts(1, ngrams.order - 1), vocabulary.line_end)[:, 0]
    return -float(ngrams.log_probabilities(contexts.numpy(), ids.numpy()).sum())


def mixed_figure(
    stepper: MixedStepper, source: TokenSource, vocabulary: WordVocabulary, *, track: Track = untracked
) -> Figure:
    """The nats and the number of tokens of a text by the protocol `exact`.

    Args:
        stepper: the mixture.
        source: the text, in the ids of the vocabulary.
        vocabulary: the vocabulary of the network.
        track: reports the loop over the text.
    """
    tally = Tally(vocabulary)
    state = stepper.initial_state(1)
    for inputs, targets in _windows(source, track):
        nats, state = stepper.token_nats(inputs.to(stepper.device), targets.to(stepper.device), state)
        tally.add(targets, nats.cpu())
    return tally.figure()


def _windows(source: TokenSource, track: Track) -> Iterator[tuple[Tensor, Tensor]]:
    windows = protocol_windows(source, "exact", split="the text", window_steps=0)
    for index in track(range(len(windows)), WHAT, len(windows)):
        yield windows[index]


class Fitted(NamedTuple):
    """A weight that was chosen on a text.

    Attributes:
        weight: of the n-gram model.
        mixed: the figure of the text by the mixture.
        network: the figure by the network alone.
        ngrams: the figure by the n-gram model alone.
    """

    weight: float
    mixed: Figure
    network: Figure
    ngrams: Figure


def fit_weight(stepper: MixedStepper, source: TokenSource, *, track: Track = untracked) -> Fitted:
    """Choose the weight of the n-gram model on a text.

    Args:
        stepper: a mixture with any weight.
        source: the text, which neither model was trained on.
        track: reports the loop over the text.
    """
    state = stepper.initial_state(1)
    of_network, of_ngrams = [], []
    for inputs, targets in _windows(source, track):
        nats, others, state = stepper.both_nats(inputs.to(stepper.device), targets.to(stepper.device), state)
        of_network.append(-nats[:, 0].double().cpu().numpy())
        of_ngrams.append(-others[:, 0])
    network, ngrams = np.concatenate(of_network), np.concatenate(of_ngrams)
    weight = best_weight(network, ngrams)
    mixed = np.logaddexp(network + math.log1p(-weight), ngrams + math.log(weight))
    return Fitted(weight, *(Figure(-float(part.sum()), len(part)) for part in (mixed, network, ngrams)))


def best_weight(network: NDArray[np.float64], ngrams: NDArray[np.float64]) -> float:
    """The weight of the second of two models with the largest likelihood, by expectation maximisation.

    Each round replaces the weight by the mean share that the second model has in the probability of a token, which
    never makes the likelihood smaller. The likelihood has a single maximum.

    Args:
        network: (N,), the natural log-probabilities of tokens by the first model.
        ngrams: (N,), those by the second.
    """
    weight = 0.5
    for _ in range(ROUNDS):
        of_network, of_ngrams = network + math.log1p(-weight), ngrams + math.log(weight)
        shares = np.exp(of_ngrams - np.logaddexp(of_network, of_ngrams))
        # neither model is left out entirely, so that logarithms stay finite
        updated = min(max(float(shares.mean()), CLOSE), 1 - CLOSE)
        if abs(updated - weight) < CLOSE:
            break
        weight = updated
    return updated
