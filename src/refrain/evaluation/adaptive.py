"""The surprisal of words by a model that is trained on each sentence while it reads it.

van Schijndel & Linzen (2018), A Neural Model of Adaptation in Reading: the weights are updated with what has been read.
The updates are those of dynamic evaluation (see dynamic.py), after each window of a few tokens, which is scored first.

V tokens in the vocabulary.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from refrain.data import TokenSource, Vocabulary
from refrain.models import Network, NetworkStepper
from refrain.progress import Track, untracked

from .dynamic import GradientStatistics, Update, differentiable, restored, trained_parameters
from .kept_statistics import kept_statistics
from .methods import Dynamics
from .surprisal import Context, SurprisalRow, surprisal_rows

# tokens of a window
STEPS = 5


class AdaptiveStepper:
    """A stepper for one sequence whose model is trained on the tokens that it has read; made by `adapting`.

    Args:
        model: the model, whose weights change.
        update: how they change.
        steps: the number of tokens of a window.

    Attributes:
        device: the device on which ids are expected.
    """

    def __init__(self, model: Network, update: Update, steps: int) -> None:
        self._model, self._update, self._steps = model, update, steps
        self._stepper = NetworkStepper(model)
        self._inputs: list[Tensor] = []
        self._targets: list[Tensor] = []
        self._before: Any = None
        self.device = self._stepper.device

    def initial_state(self, batch_size: int) -> Any:
        """The state before the first token of a sequence.

        Raises:
            ValueError: when the batch size is not 1.
        """
        if batch_size != 1:
            raise ValueError(f"an adaptive model reads one sequence (got {batch_size})")
        return self._model.initial_state(1)

    def step(self, ids: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Learn from the window that an id completes, then map the id (1,) to log-probabilities (1, V) and the state.

        The state is that of the weights before the update, as in dynamic evaluation.
        """
        if self._inputs:
            self._targets.append(ids)
            if len(self._targets) == self._steps:
                self.learn()
        if not self._inputs:
            self._before = state
        self._inputs.append(ids)
        log_probabilities, state = self._stepper.step(ids, state)
        return log_probabilities, state

    def learn(self) -> None:
        """Update the weights with the tokens since the last update."""
        if self._targets:
            count = len(self._targets)
            inputs, targets = torch.stack(self._inputs[:count]), torch.stack(self._targets)
            with torch.enable_grad(), differentiable(self._model):
                loss, _, _ = self._model(inputs, targets, self._before)
                self._update.step(torch.autograd.grad(loss / count, self._update.parameters, materialize_grads=True))
        self._inputs, self._targets = [], []

    def forget(self) -> None:
        """Restore the trained weights, and drop what has been read since the last update."""
        self._update.restore()
        self._inputs, self._targets = [], []


@contextmanager
def adapting(
    model: Network, statistics: GradientStatistics, dynamics: Dynamics, *, steps: int = STEPS
) -> Iterator[AdaptiveStepper]:
    """A model that adapts to what it reads; its weights are restored at the end.

    Args:
        model: the trained model.
        statistics: the result of `gather_statistics` for the same weights.
        dynamics: the settings of the updates.
        steps: the number of tokens of a window.
    """
    with restored(model):
        yield AdaptiveStepper(model, Update(trained_parameters(model), statistics, dynamics), steps)


def adaptive_rows(
    stepper: AdaptiveStepper,
    vocabulary: Vocabulary,
    sentences: Iterable[str],
    *,
    context: Context = "sentence",
    after: str = "",
    carry: bool = False,
) -> Iterator[SurprisalRow]:
    """The surprisal of each word of sentences, as `surprisal_rows` computes it, by a model that adapts to them.

    Args:
        stepper: the adaptive model.
        vocabulary: the vocabulary of the model.
        sentences: see `surprisal_rows`.
        context: `sentence` begins each sentence with the state of the beginning, `document` with that after the
            sentence before.
        after: see `surprisal_rows`; the model adapts to it as well.
        carry: whether the weights are carried from each sentence to the next; otherwise each begins with the trained
            weights.

    Yields:
        A row for each word, in order.
    """

    def forgetting() -> Iterator[str]:
        for number, sentence in enumerate(sentences):
            # a sentence is asked for when all of the one before has been read
            if number and not carry:
                stepper.forget()
            yield sentence

    if context == "document":
        yield from surprisal_rows(stepper, vocabulary, forgetting(), context=context, after=after)
        return
    for number, sentence in enumerate(forgetting(), 1):
        for row in surprisal_rows(stepper, vocabulary, [sentence], after=after):
            yield row._replace(sentence=number)
        # what follows has another state, so that a window ends here
        stepper.learn()


def adapted_rows(
    model: Network,
    vocabulary: Vocabulary,
    sentences: Iterable[str],
    train: TokenSource,
    *,
    learning_rate: float | None = None,
    steps: int | None = None,
    context: Context = "sentence",
    after: str = "",
    carry: bool = False,
    track: Track = untracked,
) -> Iterator[SurprisalRow]:
    """The surprisal of each word of sentences by a trained model that adapts to them.

    The statistics that this needs are ready when the function returns, and the weights are restored after the last row.

    Args:
        model: the trained model.
        vocabulary: the vocabulary of the model.
        sentences: see `surprisal_rows`.
        train: the training text, for the statistics of the gradients, which are kept in the cache.
        learning_rate: of the updates; None is that of `Dynamics`.
        steps: the number of tokens of a window; None is 5.
        context: see `adaptive_rows`.
        after: see `adaptive_rows`.
        carry: see `adaptive_rows`.
        track: reports the loop over the training text.

    Returns:
        A row for each word, in order.

    Raises:
        DataError: when the training text is too short, or its statistics in the cache are damaged.
        ValueError: when the learning rate is out of range.
    """
    steps = STEPS if steps is None else steps
    dynamics = Dynamics() if learning_rate is None else Dynamics(learning_rate=learning_rate)
    statistics = kept_statistics(model, train, steps, track=track)

    def rows() -> Iterator[SurprisalRow]:
        with adapting(model, statistics, dynamics, steps=steps) as stepper:
            yield from adaptive_rows(stepper, vocabulary, sentences, context=context, after=after, carry=carry)

    return rows()
