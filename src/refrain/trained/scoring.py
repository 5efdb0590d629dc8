"""Scores of texts, words and single tokens by a trained language model."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, overload

import torch
from torch import Tensor

from refrain.arguments import check_choice, path_of, real_of, text_of, texts_of, whole_of
from refrain.data import TokenSource, Vocabulary, WordVocabulary
from refrain.errors import DataError, UserError, shown
from refrain.evaluation import Figure, SurprisalRow, score_lines, surprisal_rows
from refrain.evaluation.adaptive import adapted_rows
from refrain.evaluation.interpolation import MixedStepper, mixed_with
from refrain.evaluation.ngram.words import read_word_model
from refrain.evaluation.surprisal import Context
from refrain.models import NetworkStepper, Stepper
from refrain.models.states import StateBatch
from refrain.pictures.notebook import ScoredWord, surprisal_html
from refrain.progress import Track, untracked

SurprisalMethod = Literal["static", "dynamic"]
"""Whether the weights of a model adapt to what it reads."""
Splits = Callable[[Vocabulary, str], TokenSource]
"""Returns a split of a corpus, of the given name, in the ids of a vocabulary."""


@dataclass(frozen=True)
class Score:
    """The score of a text.

    Attributes:
        nats: the negative log-likelihood, summed over the tokens.
        tokens: the number of scored tokens, line ends included.
        unknown: the number of words that are not in the vocabulary, which are scored as `<unk>`.
    """

    nats: float
    tokens: int
    unknown: int

    @property
    def perplexity(self) -> float:
        """The exponential of the nats per token."""
        return Figure(self.nats, self.tokens).perplexity


class ScoredText(list[SurprisalRow]):
    """The rows of the words of a text. A notebook shows them as a heat map, in which stronger is more surprising."""

    def _repr_html_(self) -> str:
        return surprisal_html(ScoredWord(row.sentence, row.word, row.surprisal_bits, row.unknown) for row in self)


class ScoresTexts:
    """The methods of `TrainedLanguageModel` that score texts."""

    model: Any
    vocabulary: Vocabulary
    _splits: Splits | None = None

    @property
    @abstractmethod
    def stepper(self) -> Stepper | NetworkStepper:
        """The model with packed weights."""

    @overload
    def score(self, text: str) -> Score: ...  # type: ignore[overload-overlap]

    @overload
    def score(self, text: Iterable[str]) -> list[Score]: ...

    def score(self, text: str | Iterable[str]) -> Score | list[Score]:
        """Score each line of a text independently, after a line end. The end of each line is scored as well.

        Args:
            text: words separated by blanks for a word model, any text for a byte model; or several texts.

        Returns:
            The score of the text, or of several texts a list with that of each.
        """
        scores = [self._score(each) for each in texts_of(text, "text")]
        return scores[0] if isinstance(text, str) else scores

    def _score(self, text: str) -> Score:
        lines = text.removesuffix("\n").split("\n")
        scores = list(score_lines(self.stepper, self.vocabulary, lines))
        return Score(
            nats=sum(score.figure.nats for score in scores),
            tokens=sum(score.figure.tokens for score in scores),
            unknown=sum(score.unknown for score in scores),
        )

    def surprisal(
        self,
        texts: str | Iterable[str],
        *,
        context: Context = "sentence",
        after: str = "",
        method: SurprisalMethod = "static",
        carry: bool = False,
        dynamic_rate: float | None = None,
        dynamic_steps: int | None = None,
        mix: str | Path | None = None,
        mix_weight: float | None = None,
        track: Track = untracked,
    ) -> "ScoredText":
        """Compute the surprisal of each word of a sentence or several, the first word included.

        Args:
            texts: a sentence or several, as they are written; a newline inside is read as a blank.
            context: `sentence` reads each sentence independently, after a line end. `document` reads them one after
                another, with a line end after each.
            after: a text that is read before each sentence, or before the first with the context `document`.
            method: `static`, or `dynamic`, with which the weights adapt to each sentence while it is read and are
                restored afterwards. It needs statistics of the training text of the run, which are gathered first, in
                minutes, and kept in the cache.
            carry: whether the weights that have adapted to a sentence are carried to the next.
            dynamic_rate: the learning rate of `dynamic`; None is 5e-5.
            dynamic_steps: the number of tokens after which the weights adapt; None is 5.
            mix: the file of an n-gram model, ARPA or a binary file of KenLM, with which a model of words is
                interpolated.
            mix_weight: of the n-gram model; None chooses it on the validation text of the run.
            track: reports the loop over the training text or the validation text; see `refrain.progress`.

        Returns:
            A list with a row for each word, in order; see `refrain.evaluation.SurprisalRow`.

        Raises:
            UserError: when an argument is unknown, out of range, of another type or cannot take effect.
            DataError: when the file of the n-gram model is damaged, or a text of the run is missing.
        """
        check_choice("context", context, get_args(Context))
        check_choice("method", method, get_args(SurprisalMethod))
        given, after = texts_of(texts), text_of(after, "after")
        mixing = None if mix is None else path_of(mix, "mix", "the path of an n-gram model")
        dynamic_steps = None if dynamic_steps is None else whole_of(dynamic_steps, "dynamic_steps")
        dynamic_rate = None if dynamic_rate is None else real_of(dynamic_rate, "dynamic_rate")
        mix_weight = None if mix_weight is None else real_of(mix_weight, "mix_weight")
        settings = {"carry": carry or None, "dynamic_rate": dynamic_rate, "dynamic_steps": dynamic_steps}
        _check_methods(method, mixing, mix_weight, settings)
        if method == "dynamic":
            rows = adapted_rows(
                self.model,
                self.vocabulary,
                given,
                self._split("train"),
                learning_rate=dynamic_rate,
                steps=dynamic_steps,
                context=context,
                after=after,
                carry=carry,
                track=track,
            )
        else:
            stepper = self.stepper if mixing is None else self._mixed(mixing, mix_weight, track)
            rows = surprisal_rows(stepper, self.vocabulary, given, context=context, after=after)
        return ScoredText(rows)

    def _mixed(self, path: Path, weight: float | None, track: Track) -> MixedStepper:
        if not isinstance(self.vocabulary, WordVocabulary):
            raise UserError(
                f"mix needs a model of words, because n-gram models are read by words ({self.vocabulary.unit}s here)"
            )
        ngrams = read_word_model(path, self.vocabulary)

        def validation() -> TokenSource:
            try:
                return self._split("valid")
            except DataError as error:
                raise DataError(
                    f"{error}; mix_weight=None reads the validation text of the run, or give a number"
                ) from None

        return mixed_with(self.stepper, self.vocabulary, ngrams, weight, validation, track=track).stepper

    def _split(self, split: str) -> TokenSource:
        """A split of the corpus that the model was trained on.

        Raises:
            DataError: when it is missing.
        """
        if self._splits is None:
            raise DataError(f"the split {split!r} of the text that this model was trained on is not known")
        return self._splits(self.vocabulary, split)

    def score_batch(self, states: Sequence[Any], ids: Sequence[int] | Tensor) -> tuple[Tensor, list[Any]]:
        """Read one token after each of several states, as a beam search does, in one step of the model.

        Args:
            states: N states, each of batch size 1: `initial_state()`, or what this method has returned.
            ids: the N ids that are read, one after each state.

        Returns:
            The natural log-probabilities of the next tokens (N, V), and the N states after the ids.

        Raises:
            UserError: when there is not one id for each state, or an id is no whole number or not in the vocabulary.
        """
        read = _ids_of(ids).to(self.stepper.device)
        if read.shape != (len(states),):
            raise UserError(f"ids: one is needed for each of the {len(states)} states (got {tuple(read.shape)})")
        if not len(states):
            return torch.empty((0, len(self.vocabulary)), device=self.stepper.device), []
        if int(read.min()) < 0 or int(read.max()) >= len(self.vocabulary):
            raise UserError(f"ids: each must be at least 0 and less than {len(self.vocabulary)}")
        batch = StateBatch(self.stepper)
        log_probabilities, after = self.stepper.step(read, batch.join(states))
        return log_probabilities, batch.split(after, len(states))


def _ids_of(given: Sequence[int] | Tensor) -> Tensor:
    """Ids as a tensor of int64.

    Raises:
        UserError: when they are no whole numbers.
    """
    try:
        found = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        found = None
    if found is not None and not found.numel():
        return found.long()
    if found is None or found.dtype == torch.bool or found.is_floating_point() or found.is_complex():
        raise UserError(f"ids: each must be a whole number (got {shown(given)})")
    return found.long()


def _check_methods(
    method: SurprisalMethod, mix: Path | None, mix_weight: float | None, dynamic: Mapping[str, float | None]
) -> None:
    """Check settings of the surprisal against each other, and their ranges.

    Raises:
        UserError: when one is out of range or cannot take effect.
    """
    if mix is None and mix_weight is not None:
        raise UserError("mix_weight cannot take effect without mix")
    if mix_weight is not None and not 0 <= mix_weight < 1:
        raise UserError(f"mix_weight must be at least 0 and less than 1 (got {mix_weight})")
    if method != "dynamic":
        if idle := [name for name, value in dynamic.items() if value is not None]:
            raise UserError(f"{idle[0]} cannot take effect without method='dynamic'")
        return
    if mix is not None:
        raise UserError("mix cannot be combined with method='dynamic'")
    rate, steps = dynamic["dynamic_rate"], dynamic["dynamic_steps"]
    if steps is not None and steps < 1:
        raise UserError(f"dynamic_steps must be at least 1 (got {steps})")
    if rate is not None and not 0 <= rate < math.inf:
        raise UserError(f"dynamic_rate must be at least 0 and finite (got {rate})")
