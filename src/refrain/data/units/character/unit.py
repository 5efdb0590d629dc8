"""Characters as a unit: any text in UTF-8, with a vocabulary of its characters."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ...corpus import Corpus
from ...text.files import Spans, blocks
from ..encoded import Encoded, open_encoded_corpus
from ..line_figures import line_figures
from ..protocol import Vocabulary
from ..text_splits import find_all_text, find_text_splits, holds_splits
from ..unit import Report, TextOptions, not_in_a_file, own_vocabulary
from .vocabulary import UNKNOWN, CharacterVocabulary, build_character_vocabulary, character_vocabulary_from


class CharacterUnit:
    """The unit `character`; see `Unit` for the methods."""

    exchangeable = True
    in_bytes = True
    read_vocabulary = staticmethod(not_in_a_file)
    vocabulary_from = staticmethod(character_vocabulary_from)
    names_splits = staticmethod(holds_splits)
    find_splits = staticmethod(find_text_splits)
    find_all = staticmethod(find_all_text)
    survey = staticmethod(line_figures)

    def open(
        self, name: str, texts: Mapping[str, Spans], options: TextOptions, vocabulary: Vocabulary | None, log: Report
    ) -> Corpus:
        """The corpus of some texts by split, prepared once and kept in the cache."""
        vocabulary = own_vocabulary(vocabulary, CharacterVocabulary)
        fixed = own_vocabulary(options.fixed, CharacterVocabulary)
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
        elif fixed is not None:
            settings = {"fixed": fixed.characters}
        return open_encoded_corpus(
            name,
            texts,
            subfolder="characters",
            settings=settings,
            build=lambda folder: Encoded(_counted(texts, options, fixed)),
            read=character_vocabulary_from,
            vocabulary=vocabulary,
            errors=options.errors,
            workers=options.workers,
            whole_lines=False,
            whole_words=False,
            log=log,
        )


def _counted(
    texts: Mapping[str, Spans], options: TextOptions, fixed: CharacterVocabulary | None
) -> CharacterVocabulary:
    """The vocabulary of the training text, or of all texts; or fixed characters, with the count of all others."""
    counts: dict[str, Counter[str]] = {}
    for split, part in texts.items():
        if split == "train" or options.vocabulary_from == "all":
            counts[split] = Counter()
            for text in blocks(part, options.errors, whole_lines=False, whole_words=False):
                counts[split].update(text)
    made = fixed or build_character_vocabulary(
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
