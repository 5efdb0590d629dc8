"""The report of a sparse run, and the data of its pictures."""

from pathlib import Path
from typing import Any

from pydantic import Field

from refrain.assembly.widths import removable_widths
from refrain.config import Sparsity
from refrain.config.sparsity import SIZE_LABELS
from refrain.errors import CheckpointError
from refrain.pictures.sparsity import Curves, Part, parts, png
from refrain.pictures.sparsity_page import sparsity_page_html
from refrain.sparsity.report import report, views
from refrain.storage.documents import Amount, Document, Index, checked
from refrain.storage.plain_json import loads
from refrain.storage.regular_files import read_regular
from refrain.trained.language_model import TrainedLanguageModel

PIXELS = 420
METRICS_LIMIT = 2**28
"""Bytes of metrics that are read: a million lines."""


def sparsity_report(lm: TrainedLanguageModel) -> dict[str, Any]:
    """Return the figures of a trained model; see `refrain.sparsity.report.report`.

    Args:
        lm: the trained model; it is not changed.
    """
    model = lm.model
    return report(dict(model.named_parameters()), model.axes(), model.widths(), removable_widths(model))


def sparsity_parts(lm: TrainedLanguageModel) -> list[Part]:
    """Return the parts of the picture of a trained model, with curves of the training if its run folder exists.

    Args:
        lm: the trained model; it is not changed.
    """
    model = lm.model
    matrices, widths = views(dict(model.named_parameters()), model.axes(), removable_widths(model), pixels=PIXELS)
    return parts(matrices, widths, _curves(lm))


def sparsity_picture(lm: TrainedLanguageModel) -> bytes:
    """Draw the picture of a trained model, as PNG.

    Args:
        lm: the trained model.

    Raises:
        UserError: when matplotlib is not installed.
    """
    return png(sparsity_parts(lm), title=_title(lm))


def sparsity_page(lm: TrainedLanguageModel) -> str:
    """Return the report and the pictures of a trained model, as HTML.

    Args:
        lm: the trained model.

    Raises:
        UserError: when matplotlib is not installed.
    """
    return sparsity_page_html(_title(lm), sparsity_report(lm), SIZE_LABELS, sparsity_parts(lm))


def _title(lm: TrainedLanguageModel) -> str:
    sizes = "-".join(str(size) for size in (lm.config["model"]["embedding_size"], *lm.config["model"]["hidden_sizes"]))
    return f"{lm.config['name']}: {lm.config['model']['cell']['kind']} {sizes}, {lm.folder.name}"


def _curves(lm: TrainedLanguageModel) -> list[Curves]:
    """Read the curves of the sparsity from the metrics of the run."""
    folder = lm.folder.resolve()
    # without a setting of sparsity, figures of these names are those of a user's method
    sparsity = Sparsity.model_validate(lm.config["sparsity"])
    drawn = sparsity.active() and folder.parent.name == "checkpoints"
    lines = _lines(folder.parents[1] / "metrics.jsonl", units=bool(sparsity.group_lasso)) if drawn else []
    diagrams: dict[str, dict[str, tuple[list[int], list[float]]]] = {}

    def add(title: str, name: str, step: int, value: float) -> None:
        steps, values = diagrams.setdefault(title, {}).setdefault(name, ([], []))
        steps.append(step)
        values.append(value)

    targets = {name: value for name, value in (lm.config["sparsity"]["target"] or {}).items() if name != "reached"}
    measure, target = next(((name, value) for name, value in targets.items() if value is not None), ("", None))
    size = f"{SIZE_LABELS.get(measure, measure)} once compacted"
    strength = "strength of the group lasso"
    for line in lines:
        for width, units in line.units.items():
            add("units that are not dead", width, line.step, units)
        if line.controlled_size is not None:
            add(size, measure, line.step, line.controlled_size)
        if line.sparsity is not None:
            add("zeros in the matrices, %", "zeros", line.step, 100 * line.sparsity)
        if line.group_lasso:
            add(strength, "strength", line.step, line.group_lasso)
    steps = max((line.step for line in lines), default=0)
    return [
        Curves(title, series, steps, logarithmic=title == strength, level=target if title == size else None)
        for title, series in diagrams.items()
    ]


OF_UNITS = ("units", "group_lasso", "controlled_size")
"""The figures of a group lasso in a line of metrics."""


class _Line(Document):
    """A line of metrics, as far as it is drawn."""

    step: Index
    units: dict[str, Index] = Field(default_factory=dict)
    controlled_size: Amount | None = None
    sparsity: Amount | None = None
    group_lasso: Amount | None = None


def _lines(path: Path, *, units: bool) -> list[_Line]:
    """Read the lines of metrics; the last one may be incomplete while a run is writing.

    Args:
        path: the file.
        units: whether the run has a group lasso, whose figures these are.

    Raises:
        CheckpointError: when a line is damaged.
    """
    found = []
    try:
        text = read_regular(path, limit=METRICS_LIMIT, follow_links=False).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    lines = text.splitlines()
    remedy = "remove the line, or draw without the curves from a copy of the checkpoint"
    for number, line in enumerate(lines, 1):
        try:
            record = loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise CheckpointError(f"{path}:{number}: is not JSON ({error}); {remedy}") from None
        if isinstance(record, dict) and not units:
            record = {name: value for name, value in record.items() if name not in OF_UNITS}
        found.append(checked(_Line, record, f"{path}:{number}", remedy))
    return found
