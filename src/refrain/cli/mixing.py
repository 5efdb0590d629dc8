"""The options --mix and --mix-weight: a network interpolated with an n-gram model."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refrain.data import Corpus
    from refrain.evaluation.interpolation import MixedStepper
    from refrain.progress import Reporter
    from refrain.runs import SavedModel
    from refrain.trained import TrainedLanguageModel

AUTO = "auto"


def check_mix(mix: Path | None, weight: str | None) -> float | None:
    """Check the options before a model is loaded, and return the weight that was given, None for auto.

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
        return None
    try:
        number = float(weight or "")
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise UserError(f"--mix-weight must be auto, or at least 0 and less than 1 (got {weight!r})")
    return number


def check_words(saved: "SavedModel", mix: Path | None, what: str = "--mix") -> None:
    """Check that a model can be mixed with an n-gram model of words.

    Raises:
        UserError: when it is no model of words.
    """
    from refrain.errors import UserError

    if mix is None:
        return
    data: Any = saved.experiment.data
    unit = data.unit
    if unit != "word":
        raise UserError(f"{what} needs a model of words, because n-gram models are read by words ({unit}s here)")


def mixed_stepper(
    lm: "TrainedLanguageModel", saved: "SavedModel", mix: Path, weight: float | None, reports: "Reporter"
) -> "MixedStepper":
    """The model interpolated with an n-gram model.

    Args:
        lm: the model, of words.
        saved: its run, whose validation text chooses the weight.
        mix: the file of the n-gram model.
        weight: of the n-gram model; None chooses it.
        reports: reports what takes long.

    Raises:
        DataError: when the file is damaged, or the validation text is missing.
        UserError: when KenLM is needed and not installed.
    """
    from refrain.evaluation.interpolation import MixedStepper, fit_weight
    from refrain.evaluation.ngram.words import read_word_model

    from .output import log

    vocabulary: Any = lm.vocabulary
    with reports.step(f"reading {mix}"):
        ngrams = read_word_model(mix, vocabulary)
    if weight is None:
        mixture = MixedStepper(lm.stepper, ngrams, vocabulary, 0.0)
        fitted = fit_weight(mixture, validation_text(saved, vocabulary), track=reports.track)
        weight = fitted.weight
        log(
            f"--mix-weight {weight:.4f}: validation perplexity {fitted.mixed.perplexity:,.2f}; the network alone "
            f"{fitted.network.perplexity:,.2f}, the n-gram model alone {fitted.ngrams.perplexity:,.2f}"
        )
    return MixedStepper(lm.stepper, ngrams, vocabulary, weight)


def measure_mixed(
    mixture: "MixedStepper", lm: "TrainedLanguageModel", corpus: "Corpus", split: str, reports: "Reporter"
) -> dict[str, Any]:
    """The figures of a split by a mixture, as plain data, with the weight.

    Args:
        mixture: the model interpolated with an n-gram model.
        lm: the model.
        corpus: the text.
        split: the split that is measured.
        reports: reports the loop over the text.
    """
    from refrain.data import text_size
    from refrain.evaluation.interpolation import mixed_figure

    vocabulary: Any = lm.vocabulary
    started = time.monotonic()
    figure = mixed_figure(mixture, corpus.splits[split].tokens, vocabulary, track=reports.track)
    seconds = max(time.monotonic() - started, 1e-9)
    found = {"mix_weight": mixture.weight, **figure.document(text_size(corpus, split))}
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
