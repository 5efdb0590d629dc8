"""Which token of a language model each token of a speech recogniser is.

A recogniser has a table of tokens, `tokens.txt`, with the blank as token 0. V tokens of the model, R of the recogniser.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refrain.data import Vocabulary
from refrain.data.units.subword.files import read_table
from refrain.errors import DataError, UserError, shown

BLANKS = ("<blk>", "<blank>", "<eps>", "<pad>")
ENDS = ("<sos/eos>", "</s>", "<eos>", "<s>", "<sos>")
UNKNOWNS = ("<unk>", "<UNK>")
SPACE = "\u2581"


class TokenIds(NamedTuple):
    """The tokens of a model and of a recogniser.

    Attributes:
        read: the model's token for each of the recogniser's (R,).
        write: the recogniser's token for each of the model's (V,), -1 where it has none.
        line_end: the recogniser's token before and after a text; R if its table has none.
        read_line_end: the model's token before and after a text.
        renames: whether a token has another id in the two.
    """

    read: Any
    write: Any
    line_end: int
    read_line_end: int
    renames: bool


def same_ids(size: int, line_end: int) -> TokenIds:
    """The ids of a recogniser that has those of the model, V of them."""
    every = np.arange(size)
    return TokenIds(every, every, line_end, line_end, renames=False)


def token_ids(vocabulary: Vocabulary, table: Path | None, log: Callable[[str], None]) -> TokenIds:
    """Compare the tokens of a model with those of a recogniser.

    Args:
        vocabulary: of the model.
        table: the `tokens.txt` of the recogniser; None for the ids of the tokenizer that a model of subwords has.
        log: called with a line about tokens that the model does not know.

    Raises:
        UserError: when the table is needed.
        DataError: when it cannot be read, or has tokens of another kind than the model.
    """
    if table is None:
        if vocabulary.unit != "subword":
            raise UserError(
                f"a recogniser numbers its tokens in another way than a model of {vocabulary.unit}s; give its table: "
                "--tokens tokens.txt"
            )
        log(
            "the ids are those of the model's tokenizer; give --tokens tokens.txt to compare them with the recogniser's"
        )
        return same_ids(len(vocabulary), vocabulary.line_end)
    names = _names(table)
    own = {_spelled(token, vocabulary.unit): index for index, token in enumerate(vocabulary)}
    unknown = vocabulary.line_end if vocabulary.unknown is None else vocabulary.unknown
    special = (
        dict.fromkeys(BLANKS, unknown) | dict.fromkeys(ENDS, vocabulary.line_end) | dict.fromkeys(UNKNOWNS, unknown)
    )
    found = [own.get(name, special.get(name, -1)) for name in names]
    _check_missing(table, vocabulary, [index for index, token in enumerate(found) if token < 0], names, log)
    read = np.array([unknown if token < 0 else token for token in found])
    write = np.full(len(vocabulary), -1)
    # the first of several tokens that the model does not distinguish, but the blank is no part of a text
    for index in reversed(range(len(names))):
        if found[index] >= 0 and (index or names[0] in own):
            write[found[index]] = index
    _log_lacking(table, vocabulary, write, log)
    ends = [index for index, name in enumerate(names) if found[index] == vocabulary.line_end and index]
    line_end = next(iter(ends), len(names))
    same = len(names) == len(vocabulary) and line_end < len(names) and np.array_equal(read, np.arange(len(names)))
    return TokenIds(read, write, line_end, vocabulary.line_end, renames=not same)


def _names(table: Path) -> list[str]:
    listed = read_table(table)
    # marks #0, #1 and so on of a lexicon are at the end
    for last in sorted(listed, reverse=True):
        if not last or listed[last][:1] != "#" or not listed[last][1:].isdecimal():
            break
        del listed[last]
    if not listed or sorted(listed) != list(range(len(listed))):
        raise DataError(
            f"{table}: the ids of the tokens are not 0, 1, 2 and so on; give the tokens.txt of a recogniser"
        )
    return [listed[index] for index in range(len(listed))]


def _spelled(token: str | bytes, unit: str) -> str:
    """How a table of tokens spells a token of the model."""
    if isinstance(token, bytes):
        return f"<0x{token.hex().upper()}>"
    return SPACE if unit == "character" and token == " " else token


def _check_missing(
    table: Path, vocabulary: Vocabulary, missing: list[int], names: list[str], log: Callable[[str], None]
) -> None:
    if not missing:
        return
    first = f"token {missing[0]}, {shown(names[missing[0]])}"
    if vocabulary.unit == "subword":
        raise DataError(
            f"{table}: {len(missing):,} of {len(names):,} tokens are no pieces of the model, first {first}; train the "
            "model with the tokenizer of the recogniser: data.unit=subword data.tokens=bpe.model"
        )
    if 2 * len(missing) > len(names):
        raise DataError(
            f"{table}: {len(missing):,} of {len(names):,} tokens are not in the model's vocabulary, first {first}; "
            "train the model on the tokens of the recogniser"
        )
    log(f"{table}: {len(missing):,} of {len(names):,} tokens are unknown to the model, first {first}")


def _log_lacking(table: Path, vocabulary: Vocabulary, write: Any, log: Callable[[str], None]) -> None:
    """Say how many tokens of the model a table lacks, besides the line end and the unknown token."""
    other = (vocabulary.line_end, vocabulary.unknown)
    lacking = [index for index in np.flatnonzero(write < 0).tolist() if index not in other]
    if lacking:
        log(
            f"{table}: lacks {len(lacking):,} of the {len(vocabulary):,} tokens of the model, first "
            f"{shown(vocabulary.token(lacking[0]))}, which the recogniser cannot write"
        )
