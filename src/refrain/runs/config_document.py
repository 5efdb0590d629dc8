"""The content of `config.json`: the settings of a run."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from refrain.config import AnyExperiment, Experiment, TaggerExperiment, upgraded
from refrain.config.upgrade import FORMAT
from refrain.errors import CheckpointError, shown

from .own_names import MARK

TASKS: dict[type[AnyExperiment], str] = {Experiment: "language-model", TaggerExperiment: "tagger"}
"""Type of the settings -> the name of the task in `config.json`."""


def config_document(experiment: AnyExperiment, own: dict[str, str] | None = None) -> dict[str, Any]:
    """The content of `config.json`.

    Args:
        experiment: the settings of the run.
        own: the names of a network given by the user, which the settings do not describe.
    """
    document = {"format": FORMAT, "task": TASKS[type(experiment)], "experiment": experiment.model_dump(mode="json")}
    return document if own is None else document | {MARK: own}


def experiment_from(document: Any, path: Path) -> AnyExperiment:
    """Read the settings from the content of a `config.json` of this version or of version 0.1.

    Raises:
        CheckpointError: when it is damaged or was written by a later version.
    """
    if not isinstance(document, dict) or "experiment" not in document:
        raise CheckpointError(f"{path}: config.json contains no experiment")
    if document.get("format") not in (1, FORMAT):
        raise CheckpointError(
            f"{path}: config.json has format {shown(document.get('format'))}, but this version reads format {FORMAT}; "
            "update refrain-lm"
        )
    try:
        document = upgraded(document) if document["format"] == 1 else document
        # the first runs were language models and have no task
        task = document.get("task", TASKS[Experiment])
        for settings, name in TASKS.items():
            if name == task:
                return settings.model_validate(document["experiment"])
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise CheckpointError(f"{path}: config.json was written by another version ({name}: {first['msg']})") from None
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: config.json has the format of version 0.1, but not its contents ({error})"
        ) from None
    raise CheckpointError(f"{path}: config.json has an unknown task, {shown(task)}; update refrain-lm")
