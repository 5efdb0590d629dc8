"""The units of tokens by name: a unit is registered by one line here."""

from collections.abc import Mapping
from typing import Any

from refrain.errors import DataError, UserError, shown

from .byte.unit import ByteUnit
from .character.unit import CharacterUnit
from .protocol import Vocabulary
from .subword.unit import SubwordUnit
from .unit import Unit
from .word.unit import WordUnit

UNITS: dict[str, Unit] = {
    "word": WordUnit(),
    "byte": ByteUnit(),
    "character": CharacterUnit(),
    "subword": SubwordUnit(),
}


def vocabulary_from(document: Any) -> Vocabulary:
    """The vocabulary of a document that `Vocabulary.document` made.

    Raises:
        DataError: when the document is damaged or names no known unit.
        UserError: when a package is missing that the unit needs.
    """
    unit = document.get("unit") if isinstance(document, Mapping) else None
    if not isinstance(unit, str) or unit not in UNITS:
        raise DataError(f"vocabulary: unknown unit {shown(unit)}; known: {', '.join(UNITS)}")
    try:
        return UNITS[unit].vocabulary_from(document)
    except UserError:
        raise
    except ValueError as error:
        raise DataError(f"vocabulary: {error}") from None


def same_tokens(first: Any, second: Any) -> bool:
    """Whether the documents of two vocabularies have the same tokens with the same ids, for texts read alike."""
    return bool(_tokens(first) == _tokens(second))


def _tokens(document: Any) -> Any:
    # counts and the column of tags, which runs of earlier versions lack, do not decide the ids
    if not isinstance(document, Mapping):
        return document
    return {key: value for key, value in document.items() if key not in ("unknown_count", "counts", "column")}
