"""Labelled texts: a table each for training, validation and test."""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from refrain.arguments import check_choice, path_of
from refrain.errors import DataError, InvalidUTF8Error, quantity, shown
from refrain.storage.regular_files import open_regular

from .csv_rows import csv_rows
from .forms import HEAD_BYTES, check_text, invalid_remedy, packing_of
from .splits import SPELLINGS, SPLITS

LABELS = ("label", "class", "sentiment", "target")
TEXTS = ("sentence", "text", "review", "content", "document")
ENDINGS = (".csv", ".tsv", ".txt")


class Labelled(NamedTuple):
    """The texts and the labels of a table, in the order of its rows."""

    texts: list[str]
    labels: list[str]


def read_labelled(folder: str | Path, errors: Literal["strict", "replace"] = "strict") -> dict[str, Labelled]:
    """The tables of a folder by split: train, valid and test.

    The name of a table contains the name of its split, as in `train_binary_sent.csv` and `dev.tsv`. A `.csv` file is
    separated by commas and begins with the names of its columns. A `.tsv` or `.txt` file is separated by tabs; without
    names of columns each line is a label, a tab and a text. Columns other than a label and a text are ignored.

    Args:
        folder: the folder of the tables.
        errors: how invalid UTF-8 is handled: as an error, or as U+FFFD.

    Raises:
        UserError: when `folder` is no path, or `errors` another word.
        DataError: when a table is missing, empty or broken, or a split does not have the same two labels as the others.
    """
    folder = path_of(folder, "folder")
    check_choice("errors", errors, ("strict", "replace"))
    tables = {split: _read(_find(folder, split), errors) for split in SPLITS}
    try:
        two_labels(tables)
    except DataError as error:
        raise DataError(f"{folder}: {error}") from None
    return tables


def two_labels(tables: Mapping[str, Labelled]) -> tuple[str, str]:
    """Return the two labels of the training table, in the order of their spelling, which every table must have.

    Args:
        tables: the tables of the splits, among them `train`.

    Raises:
        DataError: when the training table has another number of labels, or another table has others.
    """
    classes = sorted(set(tables["train"].labels))
    if len(classes) != 2:
        some = ", ".join(map(shown, classes[:5])) + (", ..." if len(classes) > 5 else "")
        raise DataError(f"two labels are needed, the training table has {len(classes)} ({some})")
    for split, table in tables.items():
        if surplus := sorted(set(table.labels) - set(classes)):
            raise DataError(f"the {split} table has a label {shown(surplus[0])} that the training table lacks")
        if missing := sorted(set(classes) - set(table.labels)):
            raise DataError(f"the {split} table has no row labelled {shown(missing[0])}")
    return classes[0], classes[1]


def _find(folder: Path, split: str) -> Path:
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and path.is_file())
    except OSError as error:
        raise DataError(
            f"{folder}: {error.strerror}; give a folder with the tables train.csv, dev.csv and test.csv"
        ) from None
    found = [path for path in files if set(re.split(r"[^a-z]+", path.stem.lower())) & set(SPELLINGS[split])]
    if not found:
        here = ", ".join(path.name for path in files[:6]) or "no tables"
        raise DataError(
            f"{folder}: no {split} table; expected a file such as {SPELLINGS[split][-1]}.csv (found {here})"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder}: {len(found)} files could be the {split} table: {names}; keep one")
    return found[0]


def _read(path: Path, errors: Literal["strict", "replace"]) -> Labelled:
    try:
        with open_regular(path) as file:
            raw = file.read()
        if (packing := packing_of(raw)) is not None:
            raise DataError(f"{path}: is {packing} data; unpack it first")
        check_text(raw[:HEAD_BYTES], path)
        text = raw.decode("utf-8-sig", errors)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a table that can be read") from None
    except UnicodeDecodeError as error:
        raise InvalidUTF8Error(
            f"{path}: invalid UTF-8 at byte {error.start} (0x{error.object[error.start]:02x}); {invalid_remedy(path)}"
        ) from None
    rows = _rows(path, text)
    number, first = next(rows, (0, None))
    if first is None:
        raise DataError(f"{path}: the table is empty")
    label = _column(first, LABELS)
    column = _column(first, TEXTS)
    labelled = Labelled([], [])
    if label is None or column is None:
        if path.suffix == ".csv" or label is not None or column is not None or len(first) != 2:
            missing, known = ("label", LABELS) if label is None else ("text", TEXTS)
            raise DataError(
                f"{path}:{number}: no column for the {missing}; the first line must name one of {', '.join(known)}"
            )
        label, column = 0, 1
        labelled.labels.append(first[0].strip())
        labelled.texts.append(first[1])
    for number, row in rows:
        if len(row) <= max(label, column):
            raise DataError(
                f"{path}:{number}: {quantity(len(row), 'column')}, at least {max(label, column) + 1} are needed"
            )
        # a text that is cut at a comma or a tab of its own
        if any(cell.strip() for cell in row[len(first) :]):
            remedy = "put a text with commas in quotes" if path.suffix == ".csv" else "replace the tabs inside of texts"
            raise DataError(
                f"{path}:{number}: {quantity(len(row), 'column')}, where the first line has {len(first)}; {remedy}"
            )
        labelled.labels.append(row[label].strip())
        labelled.texts.append(row[column])
    if not labelled.texts:
        raise DataError(f"{path}: the table has no rows")
    return labelled


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of its last line."""
    if path.suffix != ".csv":
        # in tab-separated files quotes are part of the text
        ended = text.replace("\r\n", "\n") if "\n" in text else text.replace("\r", "\n")
        lines = enumerate(ended.split("\n"), 1)
        yield from ((number, line.split("\t")) for number, line in lines if line.strip())
        return
    yield from csv_rows(io.StringIO(text, newline=""), str(path))


def _column(head: list[str], names: tuple[str, ...]) -> int | None:
    """The index of the first column with one of the names, or None."""
    lowered = [name.strip().lower() for name in head]
    return next((lowered.index(name) for name in names if name in lowered), None)
