"""Loading a model for a command: the run is found before torch is imported, and then a report shows that it loads."""

import contextlib
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .options import Device, Weights

if TYPE_CHECKING:
    from refrain.progress import Reporter
    from refrain.runs import SavedModel
    from refrain.trained import TrainedLanguageModel, TrainedTagger


def load_language_model(
    run: "Path | SavedModel",
    reports: "Reporter",
    *,
    device: Device = "cpu",
    weights: Weights | None = None,
    lowercase: bool = False,
    tokenise: bool = False,
    packed: bool = True,
) -> "TrainedLanguageModel":
    """Load a language model.

    Args:
        run: the run folder or one of its checkpoints, or what `refrain.runs.find` has found there.
        reports: reports that the model is loaded.
        device: the device to compute on.
        weights: whether matrices are rounded; None for what the run has.
        lowercase: whether the model reads texts in lower case; see `fitted`.
        tokenise: whether the model reads words separated from punctuation; see `fitted`.
        packed: whether the command computes with packed weights, which alone have int8 kernels.

    Raises:
        CheckpointError: when there is no such run, or it is that of a tagger.
        UserError: when the texts cannot be changed so for the model.
    """
    from refrain import runs

    saved = runs.find_language_model(run) if isinstance(run, Path) else run
    with reports.step(f"loading {saved.path}"), _uncollected():
        lm = runs.load_language_model(saved, device=device, weights=weights)
    if lm.weights == "int8":
        _log_rounding(lm, packed=packed)
    if lowercase or tokenise:
        from refrain.data.units.protocol import fitted

        lm.vocabulary = fitted(lm.vocabulary, lowercase=lowercase, tokenise=tokenise)
    return lm


def load_tagger(
    run: "Path | SavedModel", reports: "Reporter", *, device: Device = "cpu", weights: Weights | None = None
) -> "TrainedTagger":
    """Load a tagger.

    Args:
        run: the run folder or one of its checkpoints, or what `refrain.runs.find` has found there.
        reports: reports that the model is loaded.
        device: the device to compute on.
        weights: whether matrices are rounded; None for what the run has.

    Raises:
        CheckpointError: when there is no such run, or it is that of a language model.
    """
    from refrain import runs

    saved = runs.find_tagger(run) if isinstance(run, Path) else run
    with reports.step(f"loading {saved.path}"), _uncollected():
        tagger = runs.load_tagger(saved, device=device, weights=weights)
    if tagger.weights == "int8":
        _log_rounding(tagger)
    return tagger


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Load without collections of garbage, and leave what is loaded out of later ones: little of torch is garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def _log_rounding(trained: "TrainedLanguageModel | TrainedTagger", *, packed: bool = True) -> None:
    """Say what of a model with int8 weights is computed in float32."""
    from refrain.trained.rounding import int8_note

    from .output import log

    note = int8_note(trained) if packed else "this command computes in float32; score and generate have int8 kernels"
    if note:
        log(f"int8 weights: the weights are rounded, but {note}")
