"""Bytes as a unit: any files, read as they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...corpus import Corpus
from ...text.files import Spans
from ...text.shards import find_byte_splits, names_splits, one_text
from ..protocol import Vocabulary
from ..unit import Report, TextOptions, not_in_a_file
from .corpus import open_byte_corpus
from .survey import byte_figures
from .vocabulary import ByteVocabulary


class ByteUnit:
    """The unit `byte`; see `Unit` for the methods."""

    exchangeable = True
    in_bytes = True
    read_vocabulary = staticmethod(not_in_a_file)

    def vocabulary_from(self, document: Mapping[str, Any]) -> ByteVocabulary:
        """The one vocabulary of bytes."""
        return ByteVocabulary()

    def names_splits(self, path: Path) -> bool:
        """Whether a folder holds something that is named as a split."""
        return names_splits(path)

    def find_splits(
        self, path: Path, options: TextOptions, requested: tuple[str, ...], log: Report
    ) -> dict[str, Spans]:
        """Where the bytes of each requested split are."""
        # a cleaned document is a line, and no cut may fall inside it
        between_lines = options.cleaning != "none"
        return find_byte_splits(path, shares=options.split, between_lines=between_lines, requested=requested, log=log)

    def find_all(self, path: Path, log: Report) -> Spans:
        """All bytes of a file, a folder or a pattern."""
        return one_text(path, log)

    def open(
        self, name: str, texts: Mapping[str, Spans], options: TextOptions, vocabulary: Vocabulary | None, log: Report
    ) -> Corpus:
        """The corpus of some bytes by split."""
        return open_byte_corpus(name, texts, cleaning=options.cleaning, log=log)

    def survey(self, corpus: Corpus) -> dict[str, dict[str, Any]]:
        """Files, lines, byte values, the longest line, and how many bytes are not UTF-8."""
        return {name: byte_figures(split) for name, split in corpus.splits.items()}
