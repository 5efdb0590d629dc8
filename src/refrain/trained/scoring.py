"""Scores of texts, words and single tokens by a trained language model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args, overload

import torch
from torch import Tensor

from refrain.data import Vocabulary
from refrain.errors import UserError
from refrain.evaluation import Figure, SurprisalRow, score_lines, surprisal_rows
from refrain.evaluation.surprisal import Context
from refrain.models import NetworkStepper, Stepper
from refrain.models.states import StateBatch

from .texts import check_choice, text_of, texts_of


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


class ScoresTexts:
    """The methods of `TrainedLanguageModel` that score texts."""

    vocabulary: Vocabulary

    @property
    def stepper(self) -> Stepper | NetworkStepper:
        """The model with packed weights."""
        raise NotImplementedError

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
        self, texts: str | Iterable[str], *, context: Context = "sentence", after: str = ""
    ) -> list[SurprisalRow]:
        """Compute the surprisal of each word of a sentence or several, the first word included.

        Args:
            texts: a sentence or several, as they are written; a newline inside is read as a blank.
            context: `sentence` reads each sentence independently, after a line end. `document` reads them one after
                another, with a line end after each.
            after: a text that is read before each sentence, or before the first with the context `document`.

        Returns:
            A row for each word, in order; see `refrain.evaluation.SurprisalRow`.

        Raises:
            UserError: when the context is unknown, or an argument is of another type.
        """
        check_choice("context", context, get_args(Context))
        given, after = texts_of(texts), text_of(after, "after")
        return list(surprisal_rows(self.stepper, self.vocabulary, given, context=context, after=after))

    def score_batch(self, states: Sequence[Any], ids: Sequence[int] | Tensor) -> tuple[Tensor, list[Any]]:
        """Read one token after each of several states, as a beam search does, in one step of the model.

        Args:
            states: N states, each of batch size 1: `initial_state()`, or what this method has returned.
            ids: the N ids that are read, one after each state.

        Returns:
            The natural log-probabilities of the next tokens (N, V), and the N states after the ids.

        Raises:
            UserError: when there is not one id for each state, or an id is not in the vocabulary.
        """
        read = torch.as_tensor(ids, dtype=torch.int64, device=self.stepper.device)
        if read.shape != (len(states),):
            raise UserError(f"ids: one is needed for each of the {len(states)} states (got {tuple(read.shape)})")
        if not len(states):
            return torch.empty((0, len(self.vocabulary)), device=self.stepper.device), []
        if int(read.min()) < 0 or int(read.max()) >= len(self.vocabulary):
            raise UserError(f"ids: each must be at least 0 and less than {len(self.vocabulary)}")
        batch = StateBatch(self.stepper)
        log_probabilities, after = self.stepper.step(read, batch.join(states))
        return log_probabilities, batch.split(after, len(states))
