"""Finding the training, validation and test text in what a user points at."""

import fnmatch
from pathlib import Path

from refrain.errors import DataError

from .text import Span, line_offsets, whole

SPLITS = ("train", "valid", "test")
SPELLINGS = {"train": ("train",), "valid": ("valid", "validation", "val", "dev"), "test": ("test",)}
ENDINGS = ("txt", "tokens")


def find_splits(path: Path, *, by_line: bool = True, wanted: tuple[str, ...] = SPLITS) -> dict[str, Span]:
    """The text of each split.

    Args:
        path: a folder that holds a file a split, named in the style of PTB or WikiText, or one plain file, which is
            split 90/5/5 in the order of the text.
        by_line: cut a plain file between lines; else between any two bytes.
        wanted: the splits to look for. A missing `test` is left out, any other is an error.

    Returns:
        Split name -> where its text stands.

    Raises:
        DataError: when something is missing, empty or ambiguous.
    """
    if path.is_dir():
        return {name: span for name in wanted if (span := _in_folder(path, name, optional=name == "test" != wanted[0]))}
    file = whole(path)
    if by_line:
        first, second = line_offsets(file, (0.9, 0.95))
    elif file.stop < 3:
        raise DataError(f"{path}: {file.stop} byte(s) cannot be split in 3")
    else:
        first, second = min(file.stop * 90 // 100, file.stop - 2), min(file.stop * 95 // 100, file.stop - 1)
        first, second = max(first, 1), max(second, first + 1)
    ends = {"train": (0, first), "valid": (first, second), "test": (second, file.stop)}
    return {name: Span(path, *ends[name]) for name in wanted}


def _in_folder(folder: Path, split: str, *, optional: bool) -> Span | None:
    try:
        files = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None
    patterns = [
        f"{prefix}{spelling}.{ending}" for spelling in SPELLINGS[split] for ending in ENDINGS for prefix in ("", "*.")
    ]
    found = [name for name in files if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    if len(found) > 1:
        raise DataError(f"{folder}: {len(found)} files could be the {split} text: {', '.join(found)}; keep one")
    if found:
        return whole(folder / found[0])
    if optional:
        return None
    here = ", ".join(files[:6]) + (", ..." if len(files) > 6 else "") or "no files"
    raise DataError(
        f"{folder}: no {split} text; expected a file such as ptb.{split}.txt, {split}.txt or wiki.{split}.tokens "
        f"(found {here})"
    )
