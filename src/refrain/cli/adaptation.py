"""The options of `refrain surprisal --method dynamic`: a model that adapts to the sentences that it reads."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .options import Weights

if TYPE_CHECKING:
    from refrain.evaluation import SurprisalRow
    from refrain.evaluation.surprisal import Context
    from refrain.progress import Reporter
    from refrain.runs import SavedModel
    from refrain.trained import TrainedLanguageModel


class Adaptation(NamedTuple):
    """The options of the method.

    Attributes:
        chosen: whether it is dynamic.
        rate: the learning rate; None is the default.
        steps: the number of tokens of a window; None is the default.
        carry: whether weights are carried from sentence to sentence.
    """

    chosen: bool
    rate: float | None
    steps: int | None
    carry: bool

    def check(self, mix: Path | None, weights: Weights | None) -> None:
        """Check the options before a model is loaded.

        Args:
            mix: the file of an n-gram model, which cannot be mixed in.
            weights: as they were asked for; rounding the weights that adapt is refused. None for what the run has.

        Raises:
            UserError: when one is out of range or cannot take effect.
        """
        from refrain.errors import UserError

        given = {"--carry": self.carry or None, "--dynamic-rate": self.rate, "--dynamic-steps": self.steps}
        if not self.chosen:
            if idle := [name for name, value in given.items() if value is not None]:
                raise UserError(f"{idle[0]} cannot take effect without --method dynamic")
            return
        if mix is not None or weights == "int8":
            raise UserError(f"{'--weights int8' if mix is None else '--mix'} cannot be combined with --method dynamic")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--dynamic-steps must be at least 1 (got {self.steps})")
        if self.rate is not None and not 0 <= self.rate < math.inf:
            raise UserError(f"--dynamic-rate must be at least 0 and finite (got {self.rate})")

    def rows(
        self,
        lm: "TrainedLanguageModel",
        saved: "SavedModel",
        sentences: Sequence[str],
        context: "Context",
        after: str,
        reports: "Reporter",
    ) -> "Iterator[SurprisalRow]":
        """The rows of sentences by a model that adapts to them. What is read first is ready when this returns.

        Args:
            lm: the model.
            saved: its run, whose training text is read for the statistics of the gradients.
            sentences: the sentences.
            context: what the model has read before a sentence.
            after: a text that sentences continue.
            reports: reports the loop over the training text.

        Raises:
            DataError: when the training text is missing.
        """
        from refrain.evaluation.adaptive import adapted_rows

        from .texts import split_of

        return adapted_rows(
            lm.model,
            lm.vocabulary,
            sentences,
            split_of(saved, lm.vocabulary, "train"),
            learning_rate=self.rate,
            steps=self.steps,
            context=context,
            after=after,
            carry=self.carry,
            track=reports.track,
        )
