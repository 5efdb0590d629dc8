"""Reads what a report shows of a run folder. What is missing or damaged beside the settings is left out."""

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from refrain.config import AnyExperiment, Experiment
from refrain.errors import CheckpointError
from refrain.storage.plain_json import loads
from refrain.storage.regular_files import read_regular
from refrain.storage.run_folder import TEXT_LIMIT

from ..figure_names import with_infinity
from ..groups import Compared, compared_run, runs_at
from ..listing import METRICS_LIMIT

# bytes of a sample, and the number of samples, that are shown; the files have all
SAMPLE_BYTES = 4000
MOST_SAMPLES = 30
RECIPE_BYTES = 1 << 16
LARGEST = 1e100
"""The largest number that is shown; a perplexity beyond it is as good as infinite."""


class RunData(NamedTuple):
    """A run, as a report shows it.

    Attributes:
        compared: its state, its best figures and its settings by name.
        summary: the content of `summary.json`; empty before the run is finished.
        manifest: the content of `manifest.json`; empty where it cannot be read.
        metrics: the lines of `metrics.jsonl`.
        samples: the name and the text of each sample that is shown.
        recipe_text: the content of `recipe.toml`.
    """

    compared: Compared
    summary: dict[str, Any]
    manifest: dict[str, Any]
    metrics: list[dict[str, Any]]
    samples: list[tuple[str, str]]
    recipe_text: str

    @property
    def experiment(self) -> AnyExperiment:
        """Its settings."""
        return self.compared.experiment

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.compared.entry.path

    @property
    def state(self) -> str:
        """`finished` where the run has its final figures, also while its process writes the report; see `RunEntry`."""
        return "finished" if self.summary else self.compared.entry.state

    @property
    def is_tagger(self) -> bool:
        """Whether it trains a tagger."""
        return not isinstance(self.experiment, Experiment)

    def figure(self, split: str) -> dict[str, Any]:
        """The figures of a split; for `valid` of an unfinished run those of its best validation so far."""
        found = self.summary.get(split)
        return with_infinity(found) if isinstance(found, dict) else dict(getattr(self.compared.entry, split))


def read_run(path: Path) -> RunData:
    """Read a run.

    Args:
        path: the run folder.

    Raises:
        CheckpointError: when there is no run, or its settings or checkpoints are damaged.
    """
    return RunData(
        compared_run(path),
        _document(path / "summary.json"),
        _document(path / "manifest.json"),
        _metrics(path / "metrics.jsonl"),
        _samples(path / "samples"),
        _text(path / "recipe.toml", RECIPE_BYTES),
    )


def read_runs(paths: Sequence[Path], log: Callable[[str], None]) -> list[RunData]:
    """Read the runs that paths name. One below a folder that cannot be read is left out, with a line of text.

    Args:
        paths: run folders, and folders with runs below them.
        log: called with a line about each run that is left out.

    Raises:
        CheckpointError: when there are no runs at a path, one that is named itself cannot be read, or none is left.
    """
    found = []
    for path in runs_at(paths):
        try:
            found.append(read_run(path))
        except CheckpointError as error:
            if path in paths:
                raise
            log(f"note: left out: {error}")
    if not found:
        raise CheckpointError(f"{paths[0]}: no run here can be read; see what they are with: refrain runs")
    return found


def number(value: Any) -> float | None:
    """A finite number that a picture can show, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= LARGEST else None


def _document(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = loads(read_regular(path, limit=TEXT_LIMIT, follow_links=False))
        return found if isinstance(found, dict) else {}
    return {}


def _metrics(path: Path) -> list[dict[str, Any]]:
    """The lines that are JSON objects; the last one may be incomplete while a run is writing."""
    found = []
    with contextlib.suppress(OSError):
        for line in read_regular(path, limit=METRICS_LIMIT, follow_links=False).split(b"\n"):
            with contextlib.suppress(ValueError):
                record = loads(line)
                found += [record] if isinstance(record, dict) else []
    return found


def _samples(folder: Path) -> list[tuple[str, str]]:
    """The samples that are shown: all, or some at equal distances and the last one."""
    files = sorted(folder.glob("*.txt"))
    step = math.ceil(len(files) / MOST_SAMPLES) or 1
    found = []
    for path in files[::-1][::step][::-1]:
        if text := _text(path, SAMPLE_BYTES):
            found.append((path.stem, text))
    return found


def _text(path: Path, most: int) -> str:
    """The beginning of a file of text; empty where it cannot be read."""
    with contextlib.suppress(OSError):
        text = read_regular(path, limit=TEXT_LIMIT, follow_links=False).decode("utf-8", "replace").strip("\n")
        return text if len(text) <= most else f"{text[:most]} …"
    return ""
