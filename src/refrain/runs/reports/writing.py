"""Makes the report of one run or of several, and writes that of a run into its folder."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from refrain._version import __version__
from refrain.config import Experiment
from refrain.pictures.report.blocks import Block, Charts, Fold, Page, Paragraph, Section, Table
from refrain.pictures.report.page import report_html
from refrain.storage.run_folder import RunFolder
from refrain.storage.run_layout import REPORT

from ..groups import copies_among, differing, grouped
from ..table_cells import figure_cells, value_cell
from .charts import charts_of_one, charts_of_several
from .curves import MOST_LINES, Curves, curves_of, numbers
from .figures import figure_blocks, shape_of, tag_blocks, tiles
from .folder import RunData, number, read_run
from .sections import data_blocks, machine_blocks, notes, sample_blocks, setting_blocks

# beyond the six colours, which are repeated with dashes, lines cannot be told apart
MOST_RUNS = 18
# settings, or runs, that a table has as columns
MOST_ACROSS = 5


def write_report(run: RunFolder, model: nn.Module, log: Callable[[str], None]) -> None:
    """Write `report.html` into the folder of a run that has ended. An error is logged, and does not fail the run.

    Args:
        run: the run folder, with its summary.
        model: the model with the weights of the best checkpoint.
        log: receives the line about an error.
    """
    try:
        run.write_text(REPORT, report_of_one(run.path, model))
    # whatever goes wrong, the run is trained and measured
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        log(f"warning: {run.path / REPORT} was not written ({text}); try: refrain report {run.path} --out FILE.html")


def is_sparse(run: RunData) -> bool:
    """Whether a run has settings of sparsity, so that its report shows the units and the matrices of its model."""
    return isinstance(run.experiment, Experiment) and run.experiment.sparsity.active()


def report_of_one(path: Path, model: nn.Module | None = None) -> str:
    """The report of one run, as HTML.

    Args:
        path: the run folder.
        model: its model with the weights of the best checkpoint, for pictures of its sparsity; None leaves them out.

    Raises:
        CheckpointError: when there is no run, or its settings or checkpoints are damaged.
    """
    return _page_of_one(read_run(path), model)


def _page_of_one(run: RunData, model: nn.Module | None) -> str:
    curves = curves_of(run)
    sections = [
        Section("Figures", [*notes(run), *figure_blocks(run)]),
        Section("Curves", _curve_blocks(run, curves)),
        Section("Tags", tag_blocks(run)),
        Section("Sparsity", _sparsity(run, model)),
        Section("Samples", sample_blocks(run)),
        Section("Settings", setting_blocks(run)),
        Section("Data", data_blocks(run)),
        Section("Machine", machine_blocks(run)),
    ]
    corpus = run.summary.get("corpus") or run.manifest.get("data", {}).get("corpus") or run.experiment.data.corpus
    title = f"{run.experiment.name} on {corpus}"
    subtitle = f"{shape_of(run)}. {run.path}"
    return report_html(Page(title, subtitle, tiles(run), [each for each in sections if each.blocks], _foot()))


def _foot() -> str:
    return f"Written by refrain {__version__} at {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}."


def _sparsity(run: RunData, model: nn.Module | None) -> list[Block]:
    if model is None or not is_sparse(run):
        return []
    from .sparse import sparsity_blocks

    return sparsity_blocks(model)


def levels_of(run: RunData) -> dict[str, tuple[str, float]]:
    """What the curves of a run are compared with: title of a chart -> name and value."""
    found: dict[str, tuple[str, float]] = {}
    if (norm := number(getattr(run.experiment.training, "max_norm", None))) is not None:
        found["Gradient norm"] = (f"max_norm {norm:g}", float(norm))
    if isinstance(run.experiment, Experiment) and (target := run.experiment.sparsity.target) is not None:
        sizes = [value for name, value in target.model_dump().items() if name != "reached"]
        if values := [float(value) for value in sizes if number(value) is not None]:
            found["Size once compacted"] = ("target", values[0])
    return found


def _curve_blocks(run: RunData, curves: Curves) -> list[Block]:
    if not curves.x:
        return []
    charts = charts_of_one(curves, "numbers", levels_of(run))
    return [Charts(charts), *_thinned([curves]), Fold("All numbers of the curves", [numbers(curves, "numbers")])]


def _thinned(curves: Sequence[Curves]) -> list[Block]:
    every = max(each.every for each in curves)
    if every == 1:
        return []
    return [Paragraph(f"Of the lines of training in metrics.jsonl, at least one in {every} is drawn.")]


def report_of_several(runs: Sequence[RunData]) -> str:
    """The report of several runs, as HTML: their differences, their curves over one another, and each by itself.

    Args:
        runs: the runs.
    """
    names = names_of([run.path for run in runs])
    most = max(50, MOST_LINES // len(runs))
    curves = [curves_of(run, most) for run in runs]
    drawn = [
        (name, each, f"numbers-{place}") for place, (name, each) in enumerate(zip(names, curves, strict=True)) if each.x
    ][:MOST_RUNS]
    tables: list[Block] = [Fold(f"All numbers of {name}", [numbers(each, identity)]) for name, each, identity in drawn]
    left_out = len(runs) - len(drawn)
    verb = "run is" if left_out == 1 else "runs are"
    notice = [Paragraph(f"{left_out} {verb} not drawn.", warning=True)] if left_out else []
    sections = [
        Section("Comparison", difference_blocks(runs)),
        Section("Curves", [*notice, Charts(charts_of_several(drawn)), *_thinned(curves), *tables] if drawn else notice),
        *(_one_of_several(name, run) for name, run in zip(names, runs, strict=True)),
    ]
    return report_html(Page(f"{len(runs)} runs", ", ".join(names), [], sections, _foot()))


def _one_of_several(name: str, run: RunData) -> Section:
    """A run among others: its figures, and everything else folded."""
    parts: list[tuple[str, list[Block]]] = [
        ("Tags", tag_blocks(run)),
        ("Samples", sample_blocks(run)),
        ("Settings", setting_blocks(run)),
        ("Data", data_blocks(run)),
        ("Machine", machine_blocks(run)),
    ]
    folds = [Fold(title, blocks) for title, blocks in parts if blocks]
    return Section(name, [Paragraph(f"{shape_of(run)}. {run.path}"), *notes(run), *figure_blocks(run), *folds])


def names_of(paths: Sequence[Path]) -> list[str]:
    """Short names of run folders that tell them apart: the ends of their paths.

    Args:
        paths: the run folders.
    """
    parts = [Path(path).resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def difference_blocks(runs: Sequence[RunData]) -> list[Block]:
    """The table of `refrain compare`: the settings in which runs differ, and their figures, in its order.

    Args:
        runs: the runs; those that differ in the seed alone are one row.
    """
    copies = copies_among([run.compared for run in runs])
    left_out = {copy.entry.path for copy, _ in copies}
    groups = grouped(run.compared for run in runs if run.compared.entry.path not in left_out)
    names = differing(groups)
    short = dict(zip([run.path for run in runs], names_of([run.path for run in runs]), strict=True))
    head = ["run", *names, "seeds", "parameters", "figure", "validation", "test"]
    rows = []
    for group in groups:
        settings: dict[str, Any] = group.runs[0].settings
        shown = [value_cell(settings[name]) if name in settings else "-" for name in names]
        name = group.figure("valid").get("name") or group.figure("test").get("name", "-")
        every = [figure if figure.get("name") == name else {} for figure in map(group.figure, ("valid", "test"))]
        figures = [cell for figure in every for cell in figure_cells(figure, plain=False)]
        parameters = group.runs[0].entry.parameters
        more = f" +{len(group.runs) - 1}" if len(group.runs) > 1 else ""
        seeds = " ".join(map(str, group.seeds))
        count = "-" if parameters is None else f"{parameters:,}"
        rows.append([short[group.runs[0].entry.path] + more, *shown, seeds, count, name.replace("_", " "), *figures])
    notices: list[Block] = [
        Paragraph(
            f"{short[copy.entry.path]} is left out, as it has the settings, the seed and the figures of "
            f"{short[original.entry.path]}.",
            warning=True,
        )
        for copy, original in copies
    ]
    if len(names) <= MOST_ACROSS or len(groups) > MOST_ACROSS:
        return [Table(head, rows), *notices]
    # few runs with many settings are read from top to bottom, the figures first
    turned = [list(row) for row in zip(head, *rows, strict=True)]
    return [Table(turned[0], turned[-3:] + turned[-4:-3] + turned[1:-4]), *notices]


def report_of(runs: Sequence[RunData]) -> str:
    """The report of one run or of several, as HTML.

    Args:
        runs: the runs.

    Raises:
        CheckpointError: when the model of a single run with sparsity is damaged.
    """
    if len(runs) != 1:
        return report_of_several(runs)
    return _page_of_one(runs[0], _model(runs[0]))


def _model(run: RunData) -> nn.Module | None:
    """The model of a run with sparsity; None for other runs, and for those that have no model to load."""
    if not is_sparse(run) or "network" in run.summary or not run.figure("valid"):
        return None
    from ..loading import load_language_model

    model: nn.Module = load_language_model(run.path).model
    return model
