"""Which files of a folder are the training, validation and test text."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from refrain.errors import DataError, MissingSplitError, quantity

from .files import Span, Spans
from .forms import PACKED_ENDINGS
from .natural_order import natural

SPLITS = ("train", "valid", "test")
SPELLINGS = {
    "train": ("training", "train"),
    "valid": ("valid", "validation", "val", "devel", "development", "heldout", "dev"),
    "test": ("test",),
}

# the ending of a folder, and of a file whose ending is the name of its split, as in childes.train
FOLDER, SPLIT = "/", "SPLIT"
# the endings of texts of words; a file without an ending may be a shard
TEXT_ENDINGS = ("", SPLIT, ".txt", ".text", ".tokens", ".tok", ".raw")
# those of other plain texts; beside the files of a split, such a file is rather about them, as download.log is
DOCUMENT_ENDINGS = (".log", ".md", ".markdown", ".rst")
# the languages of parallel corpora, as in train.en
LANGUAGES = (
    ".ar", ".bg", ".bn", ".ca", ".cs", ".cy", ".da", ".de", ".el", ".en", ".es", ".et", ".eu", ".fa", ".fi", ".fr",
    ".ga", ".he", ".hi", ".hr", ".hu", ".id", ".is", ".it", ".ja", ".ka", ".kk", ".ko", ".lt", ".lv", ".mk", ".ms",
    ".nb", ".nl", ".no", ".pl", ".pt", ".ro", ".ru", ".sk", ".sl", ".sq", ".sr", ".sv", ".ta", ".te", ".th", ".tr",
    ".uk", ".ur", ".vi", ".zh",
)  # fmt: skip
_NOTES = ("readme", "license", "licence", "copying", "changelog", "notice", "makefile")

Log = Callable[[str], None]
Reads = Callable[[str], bool]


class Entry(NamedTuple):
    """A file or folder whose name has the name of a split as a word of letters.

    Attributes:
        path: the file or folder.
        spelling: how the split is spelled, such as `dev`.
        ending: the ending of the name, without that of a compressed file.
        words: the other words of the name.
        shape: the name without the split and the numbers of shards.
    """

    path: Path
    spelling: str
    ending: str
    words: frozenset[str]
    shape: str


def named_entries(folder: Path, reads: Reads | None = None) -> dict[str, list[Entry]]:
    """The files and folders that are named after splits, in natural order.

    Args:
        folder: the folder.
        reads: whether a file is read by its ending; None reads all.

    Raises:
        DataError: when the folder cannot be listed, or a name fits two splits.
    """
    found: dict[str, list[Entry]] = {}
    for path in sorted((folder / name for name in visible(folder)), key=natural):
        words = set(re.findall(r"[^\W\d_]+", path.name.lower()))
        splits = [split for split, spellings in SPELLINGS.items() if words.intersection(spellings)]
        if not splits:
            continue
        entry = _entry(path, next(word for word in SPELLINGS[splits[0]] if word in words))
        if entry.ending != FOLDER and reads is not None and not reads(entry.ending):
            continue
        if not (path.is_file() or path.is_dir() or path.is_symlink()):
            continue
        if len(splits) > 1:
            raise DataError(f"{path}: could be the {splits[0]} or the {splits[1]} text; rename it")
        found.setdefault(splits[0], []).append(entry)
    return {split: _unpacked_once(entries) for split, entries in found.items()}


def files_of_splits(
    folder: Path, requested: Sequence[str], reads: Reads | None = None, log: Log = lambda line: None
) -> dict[str, list[Path]]:
    """The files and folders of each requested split, in natural order; what has none is missing.

    Shards, which differ in their numbers or in other words of their names, are joined. Where a name has only a part of
    the words of another, such as `ptb.train.txt` beside `ptb.char.train.txt`, it is read alone.

    Args:
        folder: the folder.
        requested: the splits to look for.
        reads: whether a file is read by its ending; None reads all.
        log: called with a line of text about files that are left out or joined.

    Raises:
        DataError: when it is ambiguous which of them are meant.
    """
    entries = named_entries(folder, reads)
    shapes = [{(entry.shape, entry.ending) for entry in entries.get(split, [])} for split in ("train", "valid")]
    complete = shapes[0] & shapes[1]
    chosen = {split: _chosen(folder, split, entries[split], complete, log) for split in requested if split in entries}
    for path in chain.from_iterable(chosen.values()):
        # such as a file that git-annex or DVC has not fetched
        if path.is_symlink() and not path.exists():
            raise DataError(f"{path}: is a link to a file that does not exist; fetch the file, or remove the link")
    return chosen


def _chosen(folder: Path, split: str, entries: list[Entry], complete: set[tuple[str, str]], log: Log) -> list[Path]:
    # files in the style of the other splits come before a single one in a style of its own
    kept = [entry for entry in entries if (entry.shape, entry.ending) in complete] or entries
    kept = [entry for entry in kept if not any(other.words < entry.words for other in kept if _alike(other, entry))]
    for entry in kept[1:]:
        first = kept[0]
        if not _alike(first, entry) or (entry.shape != first.shape and entry.words == first.words):
            names = f"{_name(first)} and {_name(entry)}"
            raise DataError(
                f"{folder}: {len(kept)} files or folders could be the {split} text, such as {names}; "
                "move those that are not meant to another folder"
            )
    if len(kept) < len(entries):
        left_out = listed([_name(entry) for entry in entries if entry not in kept])
        log(f"{folder}: the {split} text is {listed([_name(entry) for entry in kept])}; left out: {left_out}")
    elif len({entry.shape for entry in kept}) > 1:
        log(f"{folder}: the {split} text is {listed([_name(entry) for entry in kept])}, joined in this order")
    return [entry.path for entry in kept]


def _alike(first: Entry, second: Entry) -> bool:
    return first.ending == second.ending and first.spelling == second.spelling


def _entry(path: Path, spelling: str) -> Entry:
    name = path.name.lower()
    ending = FOLDER
    if not path.is_dir():
        name = name.removesuffix(next((packed for packed in PACKED_ENDINGS if name.endswith(packed)), ""))
        ending = Path(name).suffix
        ending = SPLIT if ending == f".{spelling}" else ending if not re.search(r"\d", ending) else ""
    stem = re.sub(rf"(?<![^\W\d_]){spelling}(?![^\W\d_])", SPLIT, name, count=1)
    words = frozenset(re.findall(r"[^\W\d_]+", stem)) - {SPLIT, ending.removeprefix(".")}
    # a number before letters is a size, as in train_10M
    return Entry(path, spelling, ending, words, re.sub(r"\d+(?![^\W_])", "0", stem))


def _unpacked_once(entries: list[Entry]) -> list[Entry]:
    """The entries without the compressed form of a file that is there as well."""
    names = {entry.path.name for entry in entries}
    return [
        entry
        for entry in entries
        if not any(entry.path.name == name + packed for name in names for packed in PACKED_ENDINGS)
    ]


def _name(entry: Entry) -> str:
    return entry.path.name + (FOLDER if entry.ending == FOLDER else "")


def listed(names: Sequence[str]) -> str:
    """The first six of some names, for messages."""
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def reads_as_text(ending: str) -> bool:
    """Whether a file with an ending is read as a text of words."""
    return ending in TEXT_ENDINGS or ending in LANGUAGES


def is_text(path: Path) -> bool:
    """Whether a file in a folder without splits is a text, by its name."""
    return is_shard(path, (*TEXT_ENDINGS, *DOCUMENT_ENDINGS))


def is_shard(path: Path, endings: Sequence[str] = TEXT_ENDINGS) -> bool:
    """Whether a file in the folder of a split is a part of its text, by its name.

    Args:
        path: the file.
        endings: the endings of texts; those with a number, such as `.1`, and the name of a split always are.
    """
    name = path.name.lower()
    name = name.removesuffix(next((packed for packed in PACKED_ENDINGS if name.endswith(packed)), ""))
    ending = Path(name).suffix
    spellings = {f".{word}" for words in SPELLINGS.values() for word in words}
    if ending in spellings or re.search(r"\d", ending):
        return True
    return ending in endings and name.split(".")[0] not in _NOTES


def left_out(every: Iterable[Path], files: Iterable[Path], folder: Path) -> str:
    """Describe the files of a folder that are not read; empty where there are none.

    Args:
        every: all files.
        files: those that are read.
        folder: the folder.
    """
    read = set(files)
    others = [str(path.relative_to(folder)) for path in every if path not in read]
    return f"left out {quantity(len(others), 'file')} without the name of a text ({listed(others)})" * bool(others)


def all_files(folder: Path) -> str:
    """The pattern of all files below a folder, quoted for a shell."""
    return quote(f"{folder}/**")


def visible(folder: Path) -> list[str]:
    """The names in a folder that are not hidden, sorted.

    Raises:
        DataError: when the folder cannot be listed.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None
    return [name for name in names if not name.startswith(".")]


def files_under(folder: Path) -> list[Path]:
    """All files below a folder that are not hidden, in natural order. Folders that are links are left out."""
    files: list[Path] = []
    # a folder that cannot be listed is counted as a file that cannot be read
    for place, folders, names in os.walk(folder, onerror=lambda error: files.append(Path(error.filename))):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files.extend(Path(place, name) for name in names if not name.startswith("."))
    return sorted(files, key=natural)


def readable(files: Iterable[Path], place: Path, opened: Callable[[Path], Spans], log: Log) -> Spans:
    """The text of those of some files that are not empty and can be read.

    Args:
        files: the files, in order.
        place: the folder or pattern, for messages.
        opened: returns the text of a file.
        log: called with a line of text when files are left out.

    Raises:
        DataError: when there is no file to read.
    """
    found: list[Span] = []
    empty = unreadable = 0
    for path in files:
        # a pipe is not opened, because that would block until something writes to it
        if not path.is_file() or not os.access(path, os.R_OK):
            unreadable += 1
        elif not path.stat().st_size:
            empty += 1
        else:
            found += opened(path)
    left_out = f"left out: {empty} empty, {unreadable} unreadable" if empty or unreadable else ""
    if not found:
        cause = f"no files to read ({left_out})" if left_out else "no files to read"
        raise DataError(f"{place}: {cause}; give a corpus with text in it")
    if left_out:
        log(f"{place}: {quantity(len(found), 'file')} read, {left_out}")
    return tuple(found)


def missing(folder: Path, split: str, remedy: str = "") -> MissingSplitError:
    """The error that a folder has no text for a split; it lists what the folder has.

    Args:
        folder: the folder.
        split: the split.
        remedy: what to do instead, after the names that are expected.
    """
    names = [name + (FOLDER if (folder / name).is_dir() else "") for name in visible(folder)]
    here = listed(names) or "no files"
    inside = next((name for name in names if name.endswith(FOLDER) and holds_splits(folder / name)), None)
    if inside is not None:
        remedy = f"{remedy}; its folder {inside} holds splits, give that"
    return MissingSplitError(
        f"{folder}: no {split} text; expected a file such as ptb.{split}.txt, {split}.txt or wiki.{split}.tokens"
        f"{remedy} (found {here})"
    )


def holds_splits(folder: Path) -> bool:
    """Whether files or folders in a folder are named after the training and the validation text."""
    try:
        return {"train", "valid"} <= set(named_entries(folder))
    except DataError:
        return False
