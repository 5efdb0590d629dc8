"""Tables with named columns that users give: commas for `.csv`, tabs for any other file."""

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from .options import Errors
from .texts import lines_of, name_of


class Table(NamedTuple):
    """A table.

    Attributes:
        file: the name of the file, for messages.
        head: the names of the columns.
        rows: the cells of each row.
        lines: the number of the last line of each row in the file.
    """

    file: str
    head: list[str]
    rows: list[list[str]]
    lines: list[int]

    def column(self, name: str) -> int:
        """The index of a column.

        Raises:
            DataError: when there is no such column, or several.
        """
        from refrain.errors import DataError

        if self.head.count(name) > 1:
            raise DataError(f"{self.file}:1: {self.head.count(name)} columns are named {name!r}; rename the others")
        if name not in self.head:
            raise DataError(f"{self.file}:1: no column is named {name!r}; the columns are {', '.join(self.head)}")
        return self.head.index(name)


def is_table(file: str) -> bool:
    """Whether the name of a file promises a table."""
    return Path(file).suffix.lower() in (".csv", ".tsv", ".tab")


def read_table(file: str, errors: Errors) -> Table:
    """Read a table whose first line names the columns; - is standard input.

    A `.csv` file has commas and the quotes of CSV. Any other has tabs, and quotes are part of its text.

    Args:
        file: the file.
        errors: what to do at invalid UTF-8.

    Raises:
        DataError: when the file cannot be read, has no rows, or a row has not as many cells as the first line.
    """
    from refrain.errors import DataError

    rows = _commas(file, errors) if Path(file).suffix.lower() == ".csv" else _tabs(file, errors)
    name = name_of(file)
    table = Table(name, [], [], [])
    for line, row in rows:
        if not table.head:
            table.head.extend(cell.strip() for cell in row)
            continue
        if len(row) != len(table.head):
            raise DataError(
                f"{name}:{line}: the row has {_cells(row)}, and the first line has {len(table.head)}; "
                "give each row a cell for each column"
            )
        table.rows.append(row)
        table.lines.append(line)
    if not table.rows:
        raise DataError(f"{name}: the table has no rows; name the columns in the first line, and give rows below it")
    return table


def check_out(out: Path | None, run: Path, read: Sequence[str], *, force: bool) -> None:
    """Check that the table of --out can be written, and that no file of the run or that is read would be replaced.

    Args:
        out: the table; None where there is none.
        run: the run folder or checkpoint folder.
        read: the files that are read.
        force: whether a file that exists is replaced.

    Raises:
        UserError: when the file cannot be written, has a wrong ending, exists or is read.
    """
    from refrain.errors import UserError
    from refrain.storage.output_checks import check_outputs, run_files
    from refrain.storage.plain_text import check_table_ending

    if out is not None:
        check_table_ending("--out", out)
        check_outputs([("--out", out)], [*run_files(run), *read], force=force)
    elif force:
        raise UserError("--force cannot take effect without --out")


def row_writer(file: TextIO, path: Path) -> Callable[[Sequence[str]], Any]:
    """The function that writes a row of cells: with commas if the path ends in .csv, otherwise with tabs.

    Args:
        file: the open file.
        path: the path that the user gave.
    """
    from refrain.storage.plain_text import tsv_cell

    if path.suffix.lower() == ".csv":
        return csv.writer(file).writerow
    return lambda cells: file.write("\t".join(map(tsv_cell, cells)) + "\n")


def _cells(row: Sequence[str]) -> str:
    return f"{len(row)} cell{'s' * (len(row) != 1)}"


def _tabs(file: str, errors: Errors) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines_of(file, errors), 1):
        if line.strip():
            yield number, line.removesuffix("\r").split("\t")


def _commas(file: str, errors: Errors) -> Iterator[tuple[int, list[str]]]:
    from refrain.data.text.csv_rows import csv_rows

    # a table on standard input has no ending, and is read with tabs
    yield from csv_rows((f"{line}\n" for line in lines_of(file, errors)), file)
