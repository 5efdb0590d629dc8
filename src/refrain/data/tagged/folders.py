"""Finding the files of tagged sentences for each split of a folder."""

import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from refrain.arguments import path_of
from refrain.errors import DataError

from ..text.splits import SPLITS
from .formats import CONLLU, PLUS, unpacked_name

SPELLINGS = {
    "train": {"train", "training"},
    "valid": {"valid", "validation", "val", "dev", "devel", "development", "testa"},
    "test": {"test", "testb"},
}
TREEBANKS = (*CONLLU, *PLUS)
ENDINGS = (
    *TREEBANKS, ".conll", ".conllx", ".conll09", ".tsv", ".tab", ".tagged", ".tags", ".tag", ".pos", ".iob", ".iob2",
    ".bio", ".bioes", ".ner", ".mrg", ".parse", ".ptb", ".tree", ".trees", ".txt",
)  # fmt: skip


def find_tagged(
    path: str | Path, requested: Sequence[str] = SPLITS, log: Callable[[str], None] = lambda line: None
) -> dict[str, list[Path]]:
    """The files of each split in a folder, in the order in which they are joined.

    Args:
        path: a folder with files or folders for each split, whose names contain train, dev or valid, or test.
        requested: the splits to look for. A missing `test` is left out; any other missing split is an error.
        log: called with a line of text about files that are joined.

    Raises:
        DataError: when something is missing or ambiguous.
    """
    path = path_of(path, "path")
    entries = _listed(path)
    files = [entry for entry in entries if not entry.is_dir() and _is_tagged(entry)]
    folders = [entry for entry in entries if entry.is_dir() and _split_of(entry.name)]
    # treebanks are published together with their plain text
    files = [file for file in files if _ending(file) in TREEBANKS] or files
    found: dict[str, list[Path]] = {}
    for split in requested:
        named = [file for file in files if _split_of(file.name) == split]
        inside = [file for folder in folders if _split_of(folder.name) == split for file in _inside(folder)]
        if named or inside:
            found[split] = _checked(path, split, [*named, *inside], log)
        elif split != "test" or split == requested[0]:
            raise _missing(path, split, [entry.name for entry in entries])
    return found


def find_any(path: Path, log: Callable[[str], None] = lambda line: None) -> dict[str, list[Path]]:
    """The files of each split that a folder has, at least one.

    Args:
        path: the folder.
        log: called with a line of text about files that are joined.

    Raises:
        DataError: when there is no file of any split, or a split is ambiguous.
    """
    found: dict[str, list[Path]] = {}
    for split in SPLITS:
        with contextlib.suppress(_Missing):
            found |= find_tagged(path, [split], log)
    return found or find_tagged(path, log=log)


class _Missing(DataError):
    """No file for a split."""


def _missing(path: Path, split: str, names: Sequence[str]) -> DataError:
    spelling = {"train": "train", "valid": "dev", "test": "test"}[split]
    here = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "") or "no files"
    return _Missing(
        f"{path}: no {split} sentences; expected a file such as {spelling}.conllu, {spelling}.tsv or xx.{spelling}, "
        f"or a folder {spelling} (found {here})"
    )


def _checked(path: Path, split: str, files: list[Path], log: Callable[[str], None]) -> list[Path]:
    endings = sorted({_ending(file) for file in files if not _split_of(f"x{_ending(file)}")})
    if len(endings) > 1:
        names = ", ".join(file.name for file in files[:6])
        raise DataError(
            f"{path}: the {split} sentences are in files with different endings, which could be the same sentences "
            f"twice: {names}; keep those of one ending"
        )
    if len(files) > 1:
        log(f"{split}: {len(files)} files are joined: {', '.join(file.name for file in files[:6])}")
    return files


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted((entry for entry in folder.iterdir() if not entry.name.startswith(".")), key=_natural)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None


def _inside(folder: Path) -> list[Path]:
    """The files of tagged sentences below a folder of a split; all files if none has a known ending."""
    entries = _listed(folder)
    files = [entry for entry in entries if not entry.is_dir()]
    known = [file for file in files if _ending(file) in TREEBANKS] or [file for file in files if _is_tagged(file)]
    below = [file for entry in entries if entry.is_dir() and not entry.is_symlink() for file in _inside(entry)]
    return [*(known or files), *below]


def _ending(file: Path) -> str:
    """The ending of a file, that of the text in a compressed file."""
    return PurePath(unpacked_name(file.name)).suffix


def _is_tagged(file: Path) -> bool:
    # esp.train is a file of CoNLL-2002, eng.testa one of CoNLL-2003
    return _ending(file) in ENDINGS or (_ending(file) != "" and _split_of(f"x{_ending(file)}") is not None)


def _split_of(name: str) -> str | None:
    """The split that the words of a name fit; None for none.

    Raises:
        DataError: when it fits two.
    """
    words = set(re.split(r"[^a-z]+", name.lower()))
    found = [split for split, spellings in SPELLINGS.items() if words & spellings]
    if len(found) > 1:
        raise DataError(f"{name}: could be the {found[0]} or the {found[1]} sentences; rename it")
    return found[0] if found else None


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """A key that sorts part-2 before part-10; part-2 and part-02 have an order too."""
    parts = re.split(r"([0-9]{1,15})", path.name)
    return [(0, int(part), "") if part.isdecimal() and part.isascii() else (1, 0, part) for part in parts], path.name
