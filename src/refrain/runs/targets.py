"""A size target that was given as a percentage: the run has the number, and its manifest what was asked for."""

from collections.abc import Mapping
from typing import Any

from refrain.config import AnyExperiment, Experiment

KEY = "target"
"""The key of `manifest.json` with the measure and the percentage."""


def target_asked(experiment: AnyExperiment) -> dict[str, Any]:
    """The entry of a manifest for a target that is a percentage; empty for any other.

    Args:
        experiment: the settings as they were given.
    """
    if not isinstance(experiment, Experiment) or experiment.sparsity.target is None:
        return {}
    measure, value = experiment.sparsity.target.chosen()
    return {KEY: {measure: value}} if isinstance(value, str) else {}


def with_recorded_target(
    given: AnyExperiment | None, own: AnyExperiment, manifest: Mapping[str, Any]
) -> AnyExperiment | None:
    """Settings with which a run is resumed, in which a percentage that the run was started with is its number.

    Args:
        given: the settings; None for those of the run.
        own: the settings of the run.
        manifest: of the run.
    """
    if not isinstance(given, Experiment) or not isinstance(own, Experiment):
        return given
    asked = target_asked(given)
    if not asked or own.sparsity.target is None or asked != {KEY: manifest.get(KEY)}:
        return given
    measure, _ = given.sparsity.target.chosen() if given.sparsity.target is not None else ("", 0)
    number = {measure: getattr(own.sparsity.target, measure)}
    assert given.sparsity.target is not None
    target = given.sparsity.target.model_copy(update=number)
    return given.model_copy(update={"sparsity": given.sparsity.model_copy(update={"target": target})})
