"""The report of a sparse run, and its pictures as PNG and as a page without external resources."""

import base64
import html
import json
from pathlib import Path
from typing import Any

from refrain.sparsity.pictures import Course, Part, parts, png
from refrain.sparsity.report import report, views
from refrain.trained import TrainedLanguageModel

from .sparsity import removable_widths

PIXELS = 420
FIGURES = {"parameters": "parameters", "multiply_adds": "multiply-adds a token"}


def sparsity_report(lm: TrainedLanguageModel) -> dict[str, Any]:
    """The figures of a trained model; see `refrain.sparsity.report.report`.

    Args:
        lm: the trained model; it stays as it is.
    """
    model = lm.model
    return report(dict(model.named_parameters()), model.axes(), model.widths(), removable_widths(model))


def sparsity_parts(lm: TrainedLanguageModel) -> list[Part]:
    """The parts of the picture of a trained model; the course of its training where its run is at hand.

    Args:
        lm: the trained model; it stays as it is.
    """
    model = lm.model
    matrices, widths = views(dict(model.named_parameters()), model.axes(), removable_widths(model), pixels=PIXELS)
    return parts(matrices, widths, _courses(lm))


def sparsity_picture(lm: TrainedLanguageModel) -> bytes:
    """The picture of a trained model, as PNG.

    Args:
        lm: the trained model.

    Raises:
        UserError: when matplotlib is not installed.
    """
    return png(sparsity_parts(lm), title=_title(lm))


def sparsity_page(lm: TrainedLanguageModel) -> str:
    """The report and the pictures of a trained model, as HTML.

    Args:
        lm: the trained model.

    Raises:
        UserError: when matplotlib is not installed.
    """
    found = sparsity_report(lm)
    sizes = [
        [words, f"{found[name]:,}", f"{found[f'compact_{name}']:,}", _percent(found[f"compact_{name}"] / found[name])]
        for name, words in FIGURES.items()
    ]
    widths = [[name, *(f"{row[key]:,}" for key in ("units", "dead", "left"))] for name, row in found["widths"].items()]
    tensors = [
        [
            name,
            " × ".join(f"{length:,}" for length in row["shape"]),
            _percent(row["zeros"]),
            *("" if row[key] is None else f"{row[key]:,}" for key in ("zero_rows", "zero_columns")),
        ]
        for name, row in found["tensors"].items()
    ]
    pictures = [
        f"<h2>{html.escape(part.title)}</h2><p>{html.escape(part.note)}</p>"
        f'<img alt="{html.escape(part.title)}" src="data:image/png;base64,{base64.b64encode(png([part])).decode()}">'
        for part in sparsity_parts(lm)
    ]
    title = html.escape(_title(lm))
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style></head><body><main>",
        f"<h1>{title}</h1>",
        _table(["", "now", "compacted", "of now"], sizes),
        "<h2>Widths</h2><p>A dead unit is one that the model computes the same without.</p>",
        _table(["width", "units", "dead", "left"], widths),
        *pictures,
        "<h2>Tensors</h2>",
        _table(["tensor", "shape", "zeros", "rows of zeros", "columns of zeros"], tensors),
        "</main></body></html>",
    ]
    return "\n".join(lines) + "\n"


def _title(lm: TrainedLanguageModel) -> str:
    sizes = "-".join(str(size) for size in (lm.config["model"]["embedding_size"], *lm.config["model"]["hidden_sizes"]))
    return f"{lm.config['name']}: {lm.config['model']['cell']['kind']} {sizes}, {lm.folder.name}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}\u00a0%"


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>'


def _courses(lm: TrainedLanguageModel) -> list[Course]:
    """What the run's metrics say of sparsity."""
    folder = lm.folder.resolve()
    lines = _lines(folder.parents[1] / "metrics.jsonl") if folder.parent.name == "checkpoints" else []
    curves: dict[str, dict[str, tuple[list[int], list[float]]]] = {}

    def add(title: str, name: str, step: int, value: float) -> None:
        steps, values = curves.setdefault(title, {}).setdefault(name, ([], []))
        steps.append(step)
        values.append(value)

    targets = {name: value for name, value in (lm.config["sparsity"]["target"] or {}).items() if name != "reached"}
    measure, target = next(((name, value) for name, value in targets.items() if value is not None), ("", None))
    size, strength = f"{FIGURES.get(measure, measure)} once compacted", "strength of the group lasso"
    for line in lines:
        step = line["step"]
        for width, units in line.get("units", {}).items():
            add("units that are not dead", width, step, units)
        if "controlled_size" in line:
            add(size, measure, step, line["controlled_size"])
        if "sparsity" in line:
            add("zeros in the matrices, %", "zeros", step, 100 * line["sparsity"])
        if line.get("group_lasso"):
            add(strength, "strength", step, line["group_lasso"])
    steps = max((line["step"] for line in lines), default=0)
    return [
        Course(title, found, steps, logarithmic=title == strength, level=target if title == size else None)
        for title, found in curves.items()
    ]


def _lines(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics that are whole; a run may be writing."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [line for line in found if isinstance(line, dict) and "step" in line]


_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1f24; --soft: #5b6470; --line: #d9dde2 }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14171b; --ink: #eceff3; --soft: #a0a8b3; --line: #343a42 }
}
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif }
main { max-width: 66rem; margin: 0 auto; padding: 2rem 1.25rem 4rem }
h1 { font-size: 1.4rem; margin: 0 0 1rem }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem }
p { margin: .1rem 0 .6rem; color: var(--soft) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .9rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600 }
th:first-child, td:first-child { text-align: left; padding-left: 0 }
img { display: block; width: 100%; height: auto; border-radius: .3rem }
"""
