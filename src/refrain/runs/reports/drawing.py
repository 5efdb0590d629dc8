"""The curves of runs by themselves: as charts for a picture, and as an object that a notebook shows."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from refrain.errors import CheckpointError, UserError
from refrain.pictures.notebook import charts_html
from refrain.pictures.report.chart import Chart

from ..figure_names import with_infinity
from ..groups import runs_at
from .charts import Across, along, charts_of_one, charts_of_several
from .curves import Curves, curves_of, heading
from .folder import RunData, read_run
from .writing import MOST_RUNS, levels_of, names_of

# the value of --curves -> the titles of the charts that it names
CHOICES = {
    "main": ("Accuracy", "F1 of spans", "Perplexity", "Bits per byte", "Nats per word", "Accuracy in training"),
    "accuracy": ("Accuracy", "F1 of spans", "Accuracy in training"),
    "learning-rate": ("Learning rate",),
    "gradient-norm": ("Gradient norm",),
    "speed": ("Speed",),
    "sparsity": (
        "Zeros in the matrices", "Units that are not dead", "Size once compacted", "Strength of the group lasso",
    ),
}  # fmt: skip
# lines of training that are drawn for each run
MOST_LINES = 4000


class LeftOut(NamedTuple):
    """A run that is not drawn, and why not."""

    path: Path
    reason: str


class Drawing(NamedTuple):
    """The charts of runs, the folders of those that are drawn, and the runs that are not."""

    charts: list[Chart]
    paths: list[Path]
    left_out: list[LeftOut]


def drawing_of(
    runs: Sequence[RunData], choice: str = "all", by: Across = "epoch", references: Sequence[tuple[str, float]] = ()
) -> Drawing:
    """The charts of runs. Of those that have such curves, the first `MOST_RUNS` are drawn.

    Args:
        runs: the runs.
        choice: `all`, or a key of `CHOICES`.
        by: what the horizontal axis counts; `epoch` becomes `step` for all runs if one of them does not record the
            length of its epochs.
        references: the names and values of horizontal lines in the first chart.

    Raises:
        CheckpointError: when none of them has these curves, or one that is drawn by minutes has a line without a
            time.
        UserError: when a line is to be drawn where the quantity has no values.
    """
    found: list[tuple[RunData, Curves]] = []
    left_out: list[LeftOut] = []
    for run in runs:
        own = _chosen(curves_of(run, MOST_LINES), choice)
        if own.columns and len(found) < MOST_RUNS:
            found.append((run, own))
        elif not own.columns:
            left_out.append(LeftOut(run.path, _reason(run, choice)))
        else:
            left_out.append(LeftOut(run.path, f"a picture has {MOST_RUNS} runs at most; name fewer runs"))
    if not found:
        raise CheckpointError(f"{left_out[0].path}: {left_out[0].reason}")
    drawn = [run.path for run, _ in found]
    if len(runs) == 1:
        ((run, own),) = found
        charts = charts_of_one(_along(own, by, run.path), None, levels_of(run))
    else:
        named = zip(names_of(drawn), found, strict=True)
        charts = charts_of_several([(name, _along(own, by, run.path), None) for name, (run, own) in named])
    first, *others = charts
    for name, value in references:
        if first.logarithmic and value <= 0:
            raise UserError(f"the line {name}={value:g} is below the scale of {first.title}; give a value above 0")
    return Drawing([first._replace(levels=[*first.levels, *references]), *others], drawn, left_out)


def _reason(run: RunData, choice: str) -> str:
    """Why a run has no curves of a kind, and what to do."""
    kind = "curves" if choice == "all" else f"curves of this kind ({choice})"
    if compressed := run.compared.entry.compressed:
        return f"has no curves, as it was compressed and not trained; draw {compressed['compressed_from']}"
    if not run.metrics:
        remedy = "nothing was recorded while it trained" if run.summary else "wait for the first lines of metrics.jsonl"
        return f"has no {kind}{'' if run.summary else ' yet'}; {remedy}"
    if choice == "main" and math.inf in (with_infinity(line).get("perplexity") for line in run.metrics):
        return "has no finite perplexity to draw, as its training has diverged; choose other curves, such as all"
    return f"has no {kind}; choose others, such as all"


def _along(curves: Curves, by: Across, path: Path) -> Curves:
    try:
        return along(curves, by)
    except ValueError as error:
        raise CheckpointError(f"{path / 'metrics.jsonl'}: {error}; draw it by epoch or by step") from None


def _chosen(curves: Curves, choice: str) -> Curves:
    if choice == "all":
        return curves
    titles = CHOICES[choice]
    return curves._replace(columns={name: each for name, each in curves.columns.items() if name.chart in titles})


class RunCurves:
    """The curves of one run or of several. A notebook shows them as charts.

    Args:
        charts: the charts; those of several runs have the first `MOST_RUNS` of them.
        columns: for each run, its name and its columns: for each quantity its values, and their places under `epoch`
            or `step`.
    """

    def __init__(self, charts: Sequence[Chart], columns: dict[str, dict[str, list[float | None]]]) -> None:
        self.charts = list(charts)
        self.columns = columns

    def __repr__(self) -> str:
        names, count = ", ".join(map(repr, self.columns)), len(self.charts)
        return f"RunCurves({names}: {count} chart{'s' * (count != 1)})"

    def _repr_html_(self) -> str:
        return charts_html(self.charts)


def curves(runs: str | Path | Iterable[str | Path]) -> RunCurves:
    """Read the curves of a run or of several, for a notebook or a plot of one's own.

    Args:
        runs: a run folder, a folder with runs in it, or several of these.

    Raises:
        CheckpointError: when there is no run, one is damaged, or none has curves yet.
    """
    given = [Path(runs)] if isinstance(runs, str | Path) else [Path(each) for each in runs]
    paths = runs_at(given)
    every = [read_run(path) for path in paths]
    columns = {}
    for name, run in zip(names_of(paths), every, strict=True):
        found = curves_of(run, MOST_LINES)
        places: dict[str, list[float | None]] = {found.across: [*found.x]}
        columns[name] = places | {heading(quantity): [*values] for quantity, values in found.columns.items()}
    return RunCurves(drawing_of(every).charts, columns)
