"""Finds trained models in run folders and checkpoints, and loads them. Finding one imports no torch.

That a path is wrong is found before the settings of models are imported.
"""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, overload

from refrain.errors import CheckpointError, UserError, shown
from refrain.storage.checkpoint import MANIFEST, Checkpoint
from refrain.storage.checkpoint_manifest import UnreadableError
from refrain.storage.run_folder import RunFolder
from refrain.storage.run_layout import BEST, best_of, check_parts, series_in

from .missing import check_is_there
from .named import named_run
from .own_names import check_given

if TYPE_CHECKING:
    from refrain.config import AnyExperiment
    from refrain.nn.kernels.packed_linear import WeightType
    from refrain.trained import TrainedLanguageModel, TrainedTagger

    from .own_network import OwnNetwork


MOST_NAMED = 5
"""The number of runs in a folder that a message names."""


class SavedModel(NamedTuple):
    """A trained model on the disk, whose checkpoint was verified and whose settings were read.

    Attributes:
        path: the run folder or checkpoint folder, as given, or the folder of a named run.
        checkpoint: the checkpoint to load.
        document: the content of `config.json`.
        experiment: the settings of the run.
    """

    path: Path
    checkpoint: Checkpoint
    document: dict[str, Any]
    experiment: "AnyExperiment"

    @property
    def is_tagger(self) -> bool:
        """Whether the model is a tagger, and not a language model."""
        from refrain.config import TaggerExperiment

        return isinstance(self.experiment, TaggerExperiment)


def find(path: str | Path) -> SavedModel:
    """Find a trained model: everything that `load` does without torch.

    Args:
        path: the run folder or checkpoint folder, or the name of a run; see `named_run`.

    Raises:
        CheckpointError: when the folder has no complete checkpoint, or the checkpoint does not fit this version.
    """
    place = named_run(path)
    checkpoint = find_checkpoint(place)
    document = checkpoint.document("config")
    from .config_document import experiment_from

    return SavedModel(place, checkpoint, document, experiment_from(document, checkpoint.folder))


def find_language_model(path: str | Path) -> SavedModel:
    """Find a language model, as `find` does.

    Args:
        path: the run folder or checkpoint folder.

    Raises:
        CheckpointError: when the run is that of a tagger, or as in `find`.
    """
    found = find(path)
    _check_kind(found, "language-model")
    check_given(found.document, None, found.path)
    return found


def _check_kind(found: SavedModel, kind: str | None) -> None:
    if kind == "language-model" and found.is_tagger:
        raise CheckpointError(
            f"{found.path}: is the run of a tagger, but a language model is needed; use it with refrain tag or "
            "refrain evaluate"
        )
    if kind == "tagger" and not found.is_tagger:
        raise CheckpointError(
            f"{found.path}: is the run of a language model, but a tagger is needed; train one with "
            "refrain train pos-default --data PATH/TO/SENTENCES"
        )


def find_tagger(path: str | Path) -> SavedModel:
    """Find a tagger, as `find` does.

    Args:
        path: the run folder or checkpoint folder.

    Raises:
        CheckpointError: when the run is that of a language model, or as in `find`.
    """
    found = find(path)
    _check_kind(found, "tagger")
    return found


@overload
def load(
    path: str | Path | SavedModel,
    *,
    kind: Literal["language-model"],
    model: "OwnNetwork | None" = None,
    device: str = "cpu",
    weights: "WeightType | None" = None,
) -> "TrainedLanguageModel": ...


@overload
def load(
    path: str | Path | SavedModel,
    *,
    kind: Literal["tagger"],
    model: "OwnNetwork | None" = None,
    device: str = "cpu",
    weights: "WeightType | None" = None,
) -> "TrainedTagger": ...


@overload
def load(
    path: str | Path | SavedModel,
    *,
    kind: None = None,
    model: "OwnNetwork | None" = None,
    device: str = "cpu",
    weights: "WeightType | None" = None,
) -> "TrainedLanguageModel | TrainedTagger": ...


def load(
    path: str | Path | SavedModel,
    *,
    kind: Literal["language-model", "tagger"] | None = None,
    model: "OwnNetwork | None" = None,
    device: str = "cpu",
    weights: "WeightType | None" = None,
) -> "TrainedLanguageModel | TrainedTagger":
    """Load a trained model from the best checkpoint of a run folder, or from a checkpoint folder.

    If the best checkpoint is damaged, the newest complete one is loaded, with a warning.

    Args:
        path: the run folder or checkpoint folder, or the result of `find`; or the name of a run that comes with
            refrain or was fetched, such as `python-docs`. A folder of that name comes first if it is a run; with a
            separator, as in `./python-docs`, a text is always a path.
        kind: `language-model` or `tagger`, if it must be one: another run is refused, and type checkers know the class
            of the result.
        model: for the run of a network of your own: the network, whose weights are replaced, or a function that maps
            the vocabulary to it. Nothing is imported by the class name that is recorded in the run.
        device: `cpu`, `cuda` or `auto`.
        weights: `float32`, or `int8`, which rounds every matrix row by row; see `TrainedLanguageModel`. None is what
            the run has: `int8` for one that `compress` wrote with int8 weights, otherwise `float32`.

    Raises:
        CheckpointError: when the folder has no complete checkpoint, the checkpoint does not fit this version or the
            given network, or a network is missing or not needed.
        UserError: when the device is missing or unknown, or the weights or the kind are.
    """
    if kind not in (None, "language-model", "tagger"):
        raise UserError(f"kind: must be 'language-model' or 'tagger' (got {shown(kind)})")
    found = path if isinstance(path, SavedModel) else find(path)
    _check_kind(found, kind)
    check_given(found.document, model, found.path)

    # imports torch, which a mistake in the path need not wait for
    from .building import build

    return build(found.experiment, found.checkpoint, model, device, weights)


def load_language_model(
    path: str | Path | SavedModel, *, device: str = "cpu", weights: "WeightType | None" = None
) -> "TrainedLanguageModel":
    """Load the language model of a run, as `load` does.

    Args:
        path: the run folder or checkpoint folder, or the result of `find_language_model`.
        device: `cpu`, `cuda` or `auto`.
        weights: `float32`, `int8`, or None for what the run has.

    Raises:
        CheckpointError: when the run is that of a tagger, or as in `load`.
    """
    found = path if isinstance(path, SavedModel) else find_language_model(path)
    return cast("TrainedLanguageModel", load(found, device=device, weights=weights))


def load_tagger(
    path: str | Path | SavedModel, *, device: str = "cpu", weights: "WeightType | None" = None
) -> "TrainedTagger":
    """Load the tagger of a run, as `load` does.

    Args:
        path: the run folder or checkpoint folder, or the result of `find_tagger`.
        device: `cpu`, `cuda` or `auto`.
        weights: `float32`, `int8`, or None for what the run has.

    Raises:
        CheckpointError: when the run is that of a language model, or as in `load`.
    """
    found = path if isinstance(path, SavedModel) else find_tagger(path)
    return cast("TrainedTagger", load(found, device=device, weights=weights))


def find_checkpoint(path: Path) -> Checkpoint:
    """Find the checkpoint of a folder: a checkpoint folder itself, or the best checkpoint of a run folder.

    Raises:
        CheckpointError: when the folder has no checkpoint, or a part of it is a link to another place.
    """
    if path.name == BEST and (path.parent / "checkpoints").is_dir():
        # a link or a text file, which may lead to a checkpoint of this run only
        check_parts(path.parent, writing=False)
        return Checkpoint((best_of(path.parent) or path).resolve())
    check_is_there(path)
    if path.parent.name == "checkpoints":
        check_parts(path.parents[1], writing=False)
    if os.path.lexists(path / MANIFEST) and not (path / "checkpoints").is_dir():
        return Checkpoint(path)
    if not (path / "checkpoints").is_dir():
        series = series_in(path)
        if series:
            what = "folds" if series[0].name.startswith("fold-") else "seeds"
            raise CheckpointError(f"{path}: contains the runs of several {what}; give one of them, such as {series[0]}")
        below = sorted(str(each.parent) for each in path.glob("*/checkpoints"))
        if below:
            named = ", ".join(below[:MOST_NAMED]) + ", ..." * (len(below) > MOST_NAMED)
            raise CheckpointError(f"{path}: is a folder of runs, and not a run; give one of them: {named}")
        raise CheckpointError(
            f"{path}: is not a run folder (it has no checkpoints); give a folder that refrain train has made"
        )
    check_parts(path, writing=False)
    best = best_of(path)
    if best is not None:
        try:
            checkpoint = Checkpoint(best)
            checkpoint.folder = best.resolve()
            return checkpoint
        except UnreadableError:
            raise
        except CheckpointError as error:
            problem = str(error)
    else:
        problem = f"{path}: has no best checkpoint yet"
    checkpoint, problems = RunFolder(path).newest()
    problems = list(dict.fromkeys([problem, *problems]))
    # imports torch, which is needed only here
    from refrain.training.resume import trained_steps

    if best is not None and trained_steps(checkpoint) == 0:
        raise CheckpointError("; ".join([*problems, "no other checkpoint of this run was trained"]))
    warnings.warn("; ".join([*problems, f"using {checkpoint.folder}"]), stacklevel=3)
    return checkpoint
