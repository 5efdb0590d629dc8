"""The rows of a table with commas and quotes."""

import csv
from collections.abc import Iterable

from refrain.errors import DataError

# a cell may hold a whole document; the limit is a C long, which has 32 bits on Windows
LONGEST_CELL = 2**31 - 1


def csv_rows(lines: Iterable[str], name: str) -> list[tuple[int, list[str]]]:
    """The rows of a table that are not blank, each with the number of its last line.

    Args:
        lines: the lines of the table with their ends.
        name: the name of the file, for messages.

    Raises:
        DataError: when the quotes of a row are broken.
    """
    reader = csv.reader(lines, strict=True)
    # the limit of Python, 131,072 characters, is one for the whole process
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        return [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{name}:{reader.line_num}: {error}; correct the quotes of the table") from None
    finally:
        csv.field_size_limit(before)
