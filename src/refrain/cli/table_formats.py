"""Tables as aligned text, CSV, Markdown or JSON: the option --format."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from cyclopts import Parameter

Format = Literal["text", "csv", "markdown", "json"]

FormatOption = Annotated[
    Format, Parameter(help="How the table is printed: text, csv, markdown, or json, which is the same as --json.")
]


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], form: Format) -> None:
    """Print a table as text, CSV or Markdown.

    Args:
        head: the names of the columns.
        rows: the cells of each row.
        form: the format; `json` is not a table, and is printed by `print_json`.
    """
    from refrain.storage.plain_text import visible

    from .output import table

    cells = [[visible(cell) for cell in row] for row in (head, *rows)]
    if form == "csv":
        written = io.StringIO()
        csv.writer(written, lineterminator="\n").writerows(cells)
        print(written.getvalue(), end="")
    elif form == "markdown":
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
        print("\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]]))
    else:
        print(table(cells))


def figure_cells(figure: Mapping[str, Any], *, plain: bool) -> list[str]:
    """The mean of a figure with the standard deviation over seeds, if there are several.

    Args:
        figure: `name`, `mean` and `std`, as `Group.figure` returns it; empty without a figure.
        plain: whether they are numbers for a program, in a cell each.
    """
    from refrain.runs.figure_names import text_of_figure

    if plain:
        return ["" if figure.get(key) is None else f"{figure[key]:.6g}" for key in ("mean", "std")]
    if not figure:
        return ["-"]
    mean = text_of_figure(figure["name"], figure["mean"])
    return [mean if figure["std"] is None else f"{mean} ± {text_of_figure(figure['name'], figure['std'])}"]


def value_cell(value: Any) -> str:
    """The value of a setting in a cell, as the command line reads it; six digits of a number that has more.

    Args:
        value: the value.
    """
    from json import dumps

    match value:
        case None:
            return "none"
        case str():
            return value
        case float() if len(repr(value)) > 8:
            return f"{value:.6g}"
    return dumps(value, separators=(",", ":"))
