"""Tables as aligned text, CSV, Markdown or JSON: the option --format."""

import csv
import io
from collections.abc import Sequence
from typing import Annotated, Literal

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
