"""What `refrain sweep` prints: how far the sweep is, and its best settings."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import log_written, print_json, print_next, table

if TYPE_CHECKING:
    from refrain.runs.sweeps.folder import SweepFolder
    from refrain.runs.sweeps.status import Best, CellStatus

MOST_ROWS = 10
STATES = ("done", "pruned", "failed", "running", "stopped", "waiting")
ENDED = ("done", "pruned", "failed")


def print_status(folder: "SweepFolder", *, json: bool, again: bool = False) -> bool:
    """Print the number of cells in each state, those that are trained, the best settings and the time that is left.

    Args:
        folder: the folder of the sweep.
        json: whether one JSON object is printed, with all cells.
        again: whether it takes the place of what was printed before, on a terminal.

    Returns:
        Whether all cells have ended.
    """
    from refrain.progress import duration
    from refrain.runs.sweeps.status import has_diverged, ranking, seconds_left, status_of

    cells = status_of(folder)
    best = ranking(cells)
    counts = {state: sum(cell.state == state for cell in cells) for state in STATES}
    left = seconds_left(cells)
    over = all(cell.state in ENDED for cell in cells)
    if json:
        if over or not again:
            print_json(_document(folder, cells, best, counts, left))
        return over
    if again and sys.stdout.isatty():
        print("\x1b[H\x1b[2J", end="")
    parts = [f"{count} {state}" for state, count in counts.items() if count]
    remaining = "" if left is None else f"; about {duration(left)} left"
    print(f"{folder.path}: {len(cells)} cell{'s' * (len(cells) != 1)}: {', '.join(parts)}{remaining}")
    shown = {
        "running": [cell for cell in cells if cell.state in ("running", "stopped")],
        "failed": [cell for cell in cells if cell.state == "failed"],
        "diverged": [cell for cell in cells if has_diverged(cell)],
    }
    for title, found in shown.items():
        if found:
            print(f"\n{title}\n{table([_HEADS[title], *(_ROWS[title](cell) for cell in found[:MOST_ROWS])])}")
    if best:
        print(f"\nbest of {len(best)}\n{_best_table(best[:MOST_ROWS])}")
    print()
    if over and best:
        file, out, cells_folder = (
            shlex.quote(str(path)) for path in (folder.sweep.path, folder.path, folder.path / "cells")
        )
        print_next(f"refrain sweep {file} --out {out} --best best.toml", f"refrain compare {cells_folder} --split test")
    return over


def print_cell(folder: "SweepFolder", number: int) -> None:
    """Print the state and the figures of a cell as one JSON object.

    Args:
        folder: the folder of the sweep.
        number: the number of the cell.
    """
    from refrain.runs.sweeps.status import status_of

    print_json(_cell_document(folder, status_of(folder)[number - 1]))


def write_best(folder: "SweepFolder", path: Path, *, force: bool, json: bool) -> None:
    """Write the best settings as a recipe.

    Args:
        folder: the folder of the sweep.
        path: the TOML file.
        force: whether it is replaced if it exists.
        json: whether one JSON object is printed.

    Raises:
        CheckpointError: when no cell is done, or all that are have diverged.
    """
    from refrain.errors import CheckpointError
    from refrain.runs.sweeps.status import has_diverged, ranking, status_of
    from refrain.storage.output_files import write_files

    cells = status_of(folder)
    found = ranking(cells)
    if not found and any(map(has_diverged, cells)):
        raise CheckpointError(
            f"{folder.path}: the training of every cell that is done has diverged; lower training.learning_rate in "
            f"{folder.sweep.path}, and give another --out"
        )
    if not found:
        raise CheckpointError(f"{folder.path}: no cell is done yet; see how far the sweep is with --status")
    cell = folder.cell(found[0].cells[0].number)
    assert cell is not None
    write_files([(path, folder.sweep.recipe_text(cell.experiment))], force=force)
    log_written(path)
    if json:
        print_json({"recipe": str(path), **_best_document(found[0])})
    else:
        print(_best_table(found[:1]), end="\n\n")
        print_next(f"refrain train {shlex.quote(str(path))}")


def _running(cell: "CellStatus") -> list[str]:
    from refrain.progress import duration

    epochs = "-" if cell.epochs is None else str(cell.epochs)
    return [f"{cell.number:04d}", cell.state, _settings(cell), epochs, _figure(cell), duration(cell.seconds),
            cell.worker]  # fmt: skip


def _failed(cell: "CellStatus") -> list[str]:
    return [f"{cell.number:04d}", _settings(cell), cell.error]


def _diverged(cell: "CellStatus") -> list[str]:
    return [f"{cell.number:04d}", _settings(cell), _figure(cell)]


_HEADS = {
    "running": ["cell", "state", "settings", "epoch", "valid", "time", "worker"],
    "failed": ["cell", "settings", "error"],
    "diverged": ["cell", "settings", "valid"],
}
_ROWS = {"running": _running, "failed": _failed, "diverged": _diverged}


def _settings(cell: "CellStatus") -> str:
    from refrain.runs.sweeps.labels import label_of

    return "-" if cell.settings is None else label_of(cell.settings)


def _figure(cell: "CellStatus") -> str:
    from refrain.runs.figure_names import deciding, text_of_figure

    name = deciding(cell.valid, cell.unit)
    return "-" if name is None else text_of_figure(name, cell.valid[name])


def _best_table(best: "list[Best]") -> str:
    from refrain.runs.table_cells import value_cell

    names = list(dict.fromkeys(name for each in best for name in each.settings))
    rows = [["cells", *names, "valid", "test"]]
    for each in best:
        numbers = " ".join(f"{cell.number:04d}" for cell in each.cells)
        shown = [value_cell(each.settings[name]) if name in each.settings else "-" for name in names]
        rows.append([numbers, *shown, *(_spread_cell(each, split) for split in ("valid", "test"))])
    return table(rows)


def _spread(best: "Best", split: str) -> dict[str, Any]:
    """The deciding figure of settings over their seeds."""
    from refrain.runs.figure_names import deciding
    from refrain.runs.groups import spread

    found = [figures for cell in best.cells if (figures := getattr(cell, split))]
    name = deciding(found[0], best.cells[0].unit) if found else None
    return {} if name is None else {"name": name, **spread([figures[name] for figures in found])}


def _spread_cell(best: "Best", split: str) -> str:
    from refrain.runs.table_cells import figure_cells

    return figure_cells(_spread(best, split), plain=False)[0]


def _best_document(best: "Best") -> dict[str, Any]:
    return {
        "settings": best.settings,
        "cells": [cell.number for cell in best.cells],
        **{split: _spread(best, split) for split in ("valid", "test")},
    }


def _cell_document(folder: "SweepFolder", cell: "CellStatus") -> dict[str, Any]:
    more = {name: value for name, value in cell._asdict().items() if name != "number"}
    return {"cell": cell.number, "run": str(folder.run(cell.number)), **more}


def _document(
    folder: "SweepFolder", cells: "list[CellStatus]", best: "list[Best]", counts: dict[str, int], left: float | None
) -> dict[str, Any]:
    return {
        "folder": str(folder.path),
        "cells": [_cell_document(folder, cell) for cell in cells],
        "counts": counts,
        "seconds_left": left,
        "best": _best_document(best[0]) if best else None,
    }
