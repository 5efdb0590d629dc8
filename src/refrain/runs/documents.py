"""The JSON documents of a run besides its settings: what must be in them where they are read again."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from refrain.storage.documents import Amount, Document, Index, checked
from refrain.storage.run_folder import RunFolder

from .figure_names import with_infinity

# samples of a large text of bytes are hashed, see `refrain.data.units.byte.corpus.fingerprint`
Hash = Annotated[str, StringConstraints(pattern=r"^(sampled:)?[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


MOST_RUNS = 100_000
"""The runs of a series."""


class SplitEntry(Document):
    """A split of the corpus. One that was not trained on, as in a compressed run, may have no sha256."""

    sha256: Hash | None = None


class DataEntry(Document):
    """The corpus of a run."""

    unit: str
    vocabulary: Index
    splits: dict[str, SplitEntry]


class ChangedSetting(Document):
    """A setting before and after a change."""

    before: Any
    after: Any


class Resumed(Document):
    """A change of settings, with which a run was resumed."""

    time: str
    epoch: Index
    window: Index
    step: Index
    settings: dict[str, ChangedSetting]
    notes: list[str] = Field(default_factory=list)


class CarriedUnits(Document):
    """What became of the words, or other units of a vocabulary, of a run from which another one starts."""

    known: Index
    new: Index
    left_out: Index
    mean_of: Index | None = None


class StartEntry(Document):
    """The run from whose weights another one starts."""

    run: str
    checkpoint: str
    units: dict[str, CarriedUnits]
    shorter_vectors: Index = 0
    compressed: bool = False


class Manifest(Document):
    """`manifest.json` of a run."""

    refrain: str
    torch: str
    python: str
    machine: str
    threads: Annotated[int, Field(ge=1)]
    seed: Index
    data: DataEntry
    backend: dict[str, str] = Field(default_factory=dict)
    engine: dict[str, str] = Field(default_factory=dict)
    resumed: list[Resumed] = Field(default_factory=list)
    start: StartEntry | None = None


class Figure(Document):
    """The figures of a split. A perplexity that is too large for a number is null."""

    perplexity: Amount | None = None
    nats_per_token: Amount | None = None
    bits_per_byte: Amount | None = None
    accuracy: Share | None = None
    interval: tuple[Share, Share] | None = None
    protocol: str = ""


class LanguageModelFigure(Figure):
    """The figures of a split for a language model."""

    nats_per_token: Amount
    protocol: str


class TaggerFigure(Figure):
    """The figures of a split for a tagger."""

    accuracy: Share
    interval: Annotated[tuple[Share, Share], Field(strict=False)]


class Summary(Document):
    """`summary.json` of a run."""

    run: str
    recipe: str
    corpus: str
    parameters: Index
    epochs: Index
    best_epoch: Index
    valid: LanguageModelFigure | None
    test: LanguageModelFigure | None
    backend: dict[str, str] = Field(default_factory=dict)


class TaggerSummary(Summary):
    """`summary.json` of the run of a tagger."""

    valid: TaggerFigure | None  # type: ignore[assignment]
    test: TaggerFigure | None  # type: ignore[assignment]


class Plan(Document):
    """`seeds.json`: the runs of several seeds or folds."""

    seeds: Annotated[list[Index], Field(min_length=1, max_length=MOST_RUNS)]
    folds: Index | None = None
    config: dict[str, Any]
    start: str | None = Field(alias="from")
    recipe: str
    command: str


def read_manifest(run: RunFolder) -> dict[str, Any]:
    """Read `manifest.json` of a run, and check it.

    Raises:
        CheckpointError: when it is missing or damaged.
    """
    found = run.read_json("manifest.json")
    checked(
        Manifest, found, run.path / "manifest.json", "restore the file from a copy, or start a new run with --from RUN"
    )
    return dict(found)


def read_summary(run: RunFolder) -> dict[str, Any]:
    """Read `summary.json` of a run, and check it. The path of the run is the one given.

    Raises:
        CheckpointError: when it is missing or damaged.
    """
    found = run.read_json("summary.json")
    tagger = isinstance(found, dict) and found.get("task") == "tagger"
    path = run.path / "summary.json"
    checked(TaggerSummary if tagger else Summary, found, path, "remove the file, and --resume measures the run again")
    figures = {split: found[split] and with_infinity(found[split]) for split in ("valid", "test")}
    return {**found, **figures, "run": str(run.path)}


def read_plan(folder: RunFolder, name: str) -> dict[str, Any]:
    """Read `seeds.json`, and check it.

    Args:
        folder: the folder of the runs.
        name: the name of the file.

    Raises:
        CheckpointError: when it is missing or damaged.
    """
    found = folder.read_json(name)
    remedy = "restore the file from a copy, or resume each run on its own"
    plan = checked(Plan, found, folder.path / name, remedy)
    distinct = list(dict.fromkeys(plan.seeds))
    return {**found, "seeds": distinct}
