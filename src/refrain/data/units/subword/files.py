"""Tokenizers in files: models of SentencePiece, those of icefall with their `tokens.txt`, and `tokenizer.json`."""

from pathlib import Path

from refrain.errors import DataError, UserError, shown
from refrain.storage.regular_files import read_regular

from .tokenizers import TOKENIZERS, Kind, Tokenizer

LARGEST_MODEL = 1 << 27
FORMS = "give a SentencePiece model or a tokenizer.json"
# the names that icefall gives to the two files of a model
MODEL, TABLE = "bpe.model", "tokens.txt"
REMEDY = "give the two files of one model"
TABLE_FORM = "give a tokens.txt, in which each line is a piece and its id"


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer from a file, whose kind is known by its content.

    Args:
        path: a model of SentencePiece, a `tokenizer.json`, or the `tokens.txt` of icefall beside its `bpe.model`. A
            `tokens.txt` beside a `bpe.model` is compared with it.

    Raises:
        DataError: when the file cannot be read or is of another kind, or the two files are not of one model.
        UserError: when the package that reads the file is missing.
    """
    if path.name == TABLE:
        if not path.with_name(MODEL).is_file():
            raise DataError(f"{path}: lists pieces only, and {MODEL} is not beside it; {FORMS}")
        path = path.with_name(MODEL)
    content = _read(path)
    kind: Kind = "tokenizers" if content.lstrip().startswith(b"{") else "sentencepiece"
    try:
        tokenizer = TOKENIZERS[kind](content)
    except UserError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: {error}; {FORMS}") from None
    table = path.with_name(TABLE)
    if path.name == MODEL and table.is_file():
        _compare(table, path, tokenizer)
    return tokenizer


def _read(path: Path, remedy: str = FORMS) -> bytes:
    try:
        return read_regular(path, limit=LARGEST_MODEL)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; {remedy}") from None


def read_table(table: Path) -> dict[int, str]:
    """Read a table of the pieces of a recogniser, a `tokens.txt`: a piece and its id in each line.

    Args:
        table: the file.

    Raises:
        DataError: when it cannot be read or is no such table.
    """
    listed: dict[int, str] = {}
    for number, line in enumerate(_read(table, TABLE_FORM).decode("utf-8", "replace").split("\n"), 1):
        line = line.removesuffix("\r")
        name, _, index = line.replace("\t", " ").rpartition(" ")
        if not line:
            continue
        if not index.isdecimal() or len(index) > 9:
            raise DataError(f"{table}: line {number} is no piece with its id; {TABLE_FORM}")
        if int(index) in listed:
            raise DataError(f"{table}: line {number} has the id {int(index)} again; {TABLE_FORM}")
        listed[int(index)] = name
    return listed


def _compare(table: Path, path: Path, tokenizer: Tokenizer) -> None:
    """Check that the lines of a table are the pieces of a model, besides the marks #0, #1 and so on of a lexicon."""
    every = read_table(table)
    listed = {index: name for index, name in every.items() if not name.startswith("#") or index < len(tokenizer)}
    if len(listed) != len(tokenizer):
        raise DataError(f"{table}: lists {len(listed):,} pieces, but {path} has {len(tokenizer):,}; {REMEDY}")
    for place, name in listed.items():
        own = tokenizer.name(place) if place < len(tokenizer) else ""
        if name != own:
            raise DataError(f"{table}: piece {place} is {shown(name)}, but {shown(own)} in {path}; {REMEDY}")
