"""Notes about a text on which a model is measured, and the text on which it was trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refrain.data import Split
    from refrain.data.tagged.corpus import TaggedSplit
    from refrain.runs import SavedModel


def training_text_concerns(saved: "SavedModel", part: "Split | TaggedSplit", split: str, *, own: bool) -> list[str]:
    """Notes that the text of a run has changed since its training, or that a text is the one that it was trained on.

    Args:
        saved: the model.
        part: the text that was read.
        split: the name of its split.
        own: whether it is a part of the corpus of the run, and not a text that the user has named.
    """
    from refrain.data.text.files import place_of, size_of

    recorded = _recorded_splits(saved)
    if own:
        before = recorded.get(split, {}).get("sha256")
        if before in (None, part.sha256):
            return []
        remedy = "restore the old text, or name a text with --data"
        return [
            f"{place_of(part.source)}: the {split} text has changed since the run was trained (sha256 "
            f"{part.sha256[:20]}..., in manifest.json {str(before)[:20]}...), so that it may hold lines that the model "
            f"was trained on; {remedy}"
        ]
    if concern := _of_other_folds(saved, part):
        return [concern]
    train = recorded.get("train", {})
    size, digest = train.get("bytes"), train.get("sha256")
    if not isinstance(size, int) or not isinstance(digest, str) or not 0 < size <= size_of(part.source):
        return []
    if digest not in (part.sha256, _digest_of_first(part, size, digest)):
        return []
    share = min(train.get("tokens", 0) / max(len(part.tokens), 1), 1.0)
    return [
        f"{place_of(part.source)}: {share:.0%} of it is the training text of the run, so that the figures are not "
        "those of a new text; give another text, or leave out --data for the test text of the run"
    ]


def split_of(saved: "SavedModel", part: "Split | TaggedSplit") -> str | None:
    """The split of the run's own corpus that a text is, by its hash; None where it is none of them.

    Args:
        saved: the model.
        part: the text that was read.
    """
    hashes = {name: entry.get("sha256") for name, entry in _recorded_splits(saved).items()}
    return next((name for name, digest in hashes.items() if digest == part.sha256), None)


def _of_other_folds(saved: "SavedModel", part: "Split | TaggedSplit") -> str:
    """A note that a text is of the corpus of a cross-validation, most of which the run was trained on; or nothing."""
    from refrain.data.text.files import place_of

    folds = getattr(saved.experiment.data, "folds", None)
    corpus = Path(saved.experiment.data.corpus).resolve()
    paths = [span.path.resolve() for span in part.source]
    if folds is None or not any(path == corpus or corpus in path.parents for path in paths):
        return ""
    return (
        f"{place_of(part.source)}: is of the corpus of the cross-validation, of whose {folds} parts the run was "
        f"trained on {folds - 2}, so that the figures are not those of a new text; give another text, or leave out "
        "--data for the test text of the run"
    )


def _digest_of_first(part: "Split | TaggedSplit", size: int, digest: str) -> str:
    """The hash of the first bytes of a text, which are the training text where a single text is cut."""
    from refrain.data.text.files import part_of, sha256_of
    from refrain.data.units.byte.corpus import fingerprint

    first = part_of(part.source, 0, size)
    return fingerprint(first) if digest.startswith("sampled:") else sha256_of(first)


def _recorded_splits(saved: "SavedModel") -> dict[str, dict[str, Any]]:
    """What the manifest of a run says of its texts; nothing where it has none, as for an imported model."""
    from refrain.errors import CheckpointError
    from refrain.storage.run_folder import RunFolder

    folder = saved.checkpoint.folder.resolve()
    run = folder.parents[1] if folder.parent.name == "checkpoints" else folder
    try:
        found: Any = RunFolder(run).read_json("manifest.json")
    except CheckpointError:
        return {}
    splits = found.get("data", {}).get("splits", {}) if isinstance(found, dict) else {}
    return {name: entry for name, entry in splits.items() if isinstance(entry, dict)}
