"""The options --mix and --mix-weight: a network interpolated with an n-gram model."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from refrain.data import Corpus
    from refrain.evaluation.interpolation import MixedStepper
    from refrain.progress import Reporter
    from refrain.runs import SavedModel
    from refrain.trained import TrainedLanguageModel

AUTO = "auto"


def mixing_of(mix: Path | None, weight: str | None) -> "Mixing | None":
    """The two options, checked before a model is loaded; None where nothing is mixed.

    Raises:
        DataError: when the file is missing or empty.
        UserError: when the weight is no number in its range, or there is nothing to mix.
    """
    from refrain.data.text.files import whole
    from refrain.errors import DataError, UserError

    if mix is None:
        if weight is not None:
            raise UserError("--mix-weight cannot take effect without --mix")
        return None
    try:
        whole(mix)
    except DataError as error:
        raise DataError(f"{error}; give an ARPA file or a binary file of KenLM") from None
    if weight in (None, AUTO):
        return Mixing(mix, None)
    try:
        number = float(weight or "")
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise UserError(f"--mix-weight must be auto, or at least 0 and less than 1 (got {weight!r})")
    return Mixing(mix, number)


def check_words(saved: "SavedModel", what: str) -> None:
    """Check that a run is one of a model of words.

    Raises:
        UserError: when it is not.
    """
    from refrain.errors import UserError

    data: Any = saved.experiment.data
    if data.unit != "word":
        raise UserError(f"{what} needs a model of words, because n-gram models are read by words ({data.unit}s here)")


class Mixing(NamedTuple):
    """What is mixed with a network.

    Attributes:
        path: the file of the n-gram model.
        weight: of the n-gram model; None chooses it on the validation text.
    """

    path: Path
    weight: float | None

    def check_unit(self, saved: "SavedModel") -> None:
        """Check that a run is one of a model of words.

        Raises:
            UserError: when it is not.
        """
        check_words(saved, "--mix")

    def check_method(
        self, protocol: str, methods: Sequence[str], per_token: Path | None, split: str | None, data: object
    ) -> None:
        """Check that `refrain evaluate` measures in the only way that has a mixture.

        Raises:
            UserError: when it does not.
        """
        from refrain.errors import UserError

        if protocol != "exact" or list(methods) != ["static"] or per_token is not None:
            raise UserError("--mix requires --protocol exact and --method static, without --per-token")
        self.note_choice(split, data)

    def note_choice(self, split: str | None, data: object) -> None:
        """Log that the weight is chosen on the text that is measured, where it is.

        Args:
            split: the split that is measured, if it is given.
            data: another corpus, if one is given.
        """
        from .evaluate_methods import note_choice

        if self.weight is None:
            note_choice("weight of --mix is", split, data)

    def stepper(self, lm: "TrainedLanguageModel", saved: "SavedModel", reports: "Reporter") -> "MixedStepper":
        """The model interpolated with the n-gram model.

        Args:
            lm: the model, of words.
            saved: its run, whose validation text chooses the weight.
            reports: reports what takes long.

        Raises:
            DataError: when the file is damaged, or the validation text is missing.
            UserError: when KenLM is needed and not installed.
        """
        from refrain.evaluation.interpolation import mixed_with
        from refrain.evaluation.ngram.words import read_word_model

        from .output import log

        vocabulary: Any = lm.vocabulary

        def validation() -> Any:
            return validation_text(saved, vocabulary)

        with reports.step(f"reading {self.path}"):
            ngrams = read_word_model(self.path, vocabulary)
        mixed = mixed_with(lm.stepper, vocabulary, ngrams, self.weight, validation, track=reports.track)
        if mixed.fitted is not None:
            weight, figure, network, other = mixed.fitted
            log(
                f"--mix-weight {weight:.4f}: validation perplexity {figure.perplexity:,.2f}; the network alone "
                f"{network.perplexity:,.2f}, the n-gram model alone {other.perplexity:,.2f}"
            )
        return mixed.stepper

    def measure(
        self, lm: "TrainedLanguageModel", saved: "SavedModel", corpus: "Corpus", split: str, reports: "Reporter"
    ) -> dict[str, Any]:
        """The figures of a split by the mixture, as plain data, with the weight.

        Args:
            lm: the model.
            saved: its run.
            corpus: the text.
            split: the split that is measured.
            reports: reports what takes long.
        """
        from refrain.data import text_size
        from refrain.evaluation.interpolation import mixed_figure

        mixture = self.stepper(lm, saved, reports)
        vocabulary: Any = lm.vocabulary
        started = time.monotonic()
        figure = mixed_figure(mixture, corpus.splits[split].tokens, vocabulary, track=reports.track)
        seconds = max(time.monotonic() - started, 1e-9)
        found = {"mix": str(self.path), "mix_weight": mixture.weight, **figure.document(text_size(corpus, split))}
        return {**found, "tokens_per_second": round(figure.tokens / seconds, 1)}


def validation_text(saved: "SavedModel", vocabulary: Any) -> Any:
    """The validation text of a run, in the ids of its vocabulary.

    Raises:
        DataError: when the corpus of the run is missing.
    """
    from refrain.errors import DataError

    from .texts import split_of

    try:
        return split_of(saved, vocabulary, "valid")
    except DataError as error:
        raise DataError(f"{error}; --mix-weight auto reads the validation text of the run, or give a number") from None
