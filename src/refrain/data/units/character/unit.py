"""Characters as a unit: any text in UTF-8, with a vocabulary of its characters."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...corpus import Corpus
from ...text.files import Spans, blocks
from ...text.packed import text_file
from ..encoded import open_encoded_corpus
from ..line_figures import line_figures
from ..protocol import Vocabulary
from ..text_splits import find_text_splits
from ..unit import Report, TextOptions
from .vocabulary import UNKNOWN, CharacterVocabulary, build_character_vocabulary, character_vocabulary_from


class CharacterUnit:
    """The unit `character`; see `Unit` for the methods."""

    def vocabulary_from(self, document: Mapping[str, Any]) -> CharacterVocabulary:
        """The vocabulary of a list of characters."""
        return character_vocabulary_from(document)

    def names_splits(self, path: Path) -> bool:
        """Whether it is a folder: its files are the splits."""
        return path.is_dir()

    def find_splits(
        self, path: Path, options: TextOptions, requested: tuple[str, ...], log: Report
    ) -> dict[str, Spans]:
        """Where the text of each requested split is, in a folder or in one file that is cut."""
        return find_text_splits(path, options, requested, log)

    def find_all(self, path: Path, log: Report) -> Spans:
        """All of a file."""
        return text_file(path, log)

    def open(
        self, name: str, texts: Mapping[str, Spans], options: TextOptions, vocabulary: Vocabulary | None, log: Report
    ) -> Corpus:
        """The corpus of some texts by split, prepared once and kept in the cache."""
        if vocabulary is not None and not isinstance(vocabulary, CharacterVocabulary):
            raise TypeError(f"characters need a vocabulary of characters (got one of {vocabulary.unit}s)")
        settings: dict[str, Any] = {
            "order": options.order,
            "order_seed": options.order_seed,
            "ties": options.ties,
            "min_count": options.min_count,
            "max_characters": options.max_characters,
            "from": options.vocabulary_from,
        }
        if vocabulary is not None:
            settings = {"vocabulary": vocabulary.document()}
        return open_encoded_corpus(
            name,
            texts,
            subfolder="characters",
            settings=settings,
            build=lambda: _counted(texts, options),
            read=character_vocabulary_from,
            vocabulary=vocabulary,
            errors=options.errors,
            whole_lines=False,
            whole_words=False,
            log=log,
        )

    def survey(self, corpus: Corpus) -> dict[str, dict[str, Any]]:
        """Characters, bytes, empty lines and the longest line."""
        return line_figures(corpus)


def _counted(texts: Mapping[str, Spans], options: TextOptions) -> CharacterVocabulary:
    """The vocabulary of the training text, or of all texts."""
    counts: dict[str, Counter[str]] = {}
    for split, part in texts.items():
        if split == "train" or options.vocabulary_from == "all":
            counts[split] = Counter()
            for text in blocks(part, options.errors, whole_lines=False, whole_words=False):
                counts[split].update(text)
    made = build_character_vocabulary(
        sum(counts.values(), Counter()),  # characters stay in the order of first occurrence
        order=options.order,
        order_seed=1 if options.order_seed is None else options.order_seed,
        ties=options.ties,
        min_count=options.min_count,
        max_characters=options.max_characters,
    )
    trained = counts.get("train", Counter())
    unknown = sum(count for character, count in trained.items() if character == UNKNOWN or character not in made.index)
    return CharacterVocabulary(made.characters, unknown_count=unknown)
