"""The order of files whose names have numbers."""

import re
from pathlib import Path


def natural(path: Path) -> tuple[list[list[str | int]], str]:
    """A key that sorts paths name by name with their numbers by value, so that part-9 comes before part-10.

    Names that differ in the zeros before a number alone have an order of their own, so that every machine reads files
    in the same order.
    """
    numbers: list[list[str | int]] = [
        [int(piece) if index % 2 else piece for index, piece in enumerate(re.split(r"([0-9]{1,18})", part))]
        for part in path.parts
    ]
    return numbers, str(path)
