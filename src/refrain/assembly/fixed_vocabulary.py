"""The vocabulary that `data.vocabulary` names: of a file of words, or of a run."""

from pathlib import Path

from refrain.config import AnyExperiment, Data, Experiment
from refrain.data import UNITS, TextOptions, Vocabulary, vocabulary_from
from refrain.errors import CheckpointError, DataError
from refrain.storage.checkpoint import Checkpoint
from refrain.storage.run_layout import best_of

RUN_REMEDY = "give the folder of a run, or of one of its checkpoints"


def fixed_vocabulary(data: Data, options: TextOptions) -> Vocabulary | None:
    """The vocabulary that is fixed by the settings; None where it is made of the text.

    Args:
        data: the data settings.
        options: the same as options of the unit.

    Raises:
        DataError: when it cannot be read, or has another unit.
        CheckpointError: when the checkpoint with it is damaged.
    """
    if data.vocabulary is None:
        return None
    path = Path(data.vocabulary)
    if not path.is_dir():
        return UNITS[data.unit].read_vocabulary(path, options)
    try:
        found = vocabulary_from(Checkpoint(best_of(path) or path).document("vocabulary"))
    except (CheckpointError, DataError) as error:
        raise CheckpointError(f"data.vocabulary: {error}; {RUN_REMEDY}") from None
    if found.unit != data.unit:
        raise DataError(
            f"{path}: has a vocabulary of {found.unit}s, but data.unit is {data.unit}; give data.unit={found.unit}"
        )
    return found


def with_own_vocabulary(experiment: AnyExperiment, checkpoint: Path) -> AnyExperiment:
    """The settings of a run that is resumed, by which its fixed vocabulary is read from its own checkpoint.

    Args:
        experiment: the settings of the run.
        checkpoint: the folder of its checkpoint.
    """
    if not isinstance(experiment, Experiment) or experiment.data.vocabulary is None:
        return experiment
    data = experiment.data.model_copy(update={"vocabulary": str(checkpoint)})
    return experiment.model_copy(update={"data": data})
