"""Words as a unit: text whose words are separated by blanks, with a vocabulary made from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refrain.errors import DataError, shown

from ...corpus import Corpus
from ...tagged.formats import in_conllu
from ...tagged.trees import begin_as_trees
from ...text.files import Spans, blocks
from ...text.forms import table_note
from ..protocol import Vocabulary
from ..text_splits import find_all_text, find_text_splits, holds_splits
from ..unit import Report, TextOptions, own_vocabulary
from .corpus import open_word_corpus
from .preparation import Preparation
from .survey import word_figures
from .vocabulary import WordVocabulary, word_vocabulary_from
from .word_list import read_word_list

HEAD_LINES = 50


class WordUnit:
    """The unit `word`; see `Unit` for the methods."""

    exchangeable = True
    in_bytes = False

    def vocabulary_from(self, document: Mapping[str, Any]) -> WordVocabulary:
        """The vocabulary of a list of words."""
        return word_vocabulary_from(document)

    def read_vocabulary(self, path: Path, options: TextOptions) -> WordVocabulary:
        """The vocabulary of a file with one word on each line.

        Raises:
            DataError: when it cannot be read, or has a word that the text, as it is prepared, cannot have.
        """
        words = read_word_list(path)
        if options.lowercase and (capitals := [word for word in words if word != word.lower()]):
            raise DataError(
                f"{path}: {shown(capitals[0])} can never be read, because data.lowercase=true lowers the text; "
                "convert the file as well, or leave data.lowercase out"
            )
        return WordVocabulary(words, _preparation(options))

    def names_splits(self, path: Path) -> bool:
        """Whether it is a folder whose files or folders are the splits."""
        return holds_splits(path)

    def find_splits(
        self, path: Path, options: TextOptions, requested: tuple[str, ...], log: Report
    ) -> dict[str, Spans]:
        """Where the text of each requested split is, in a folder or in one text that is cut."""
        _note_table(path, log)
        found = find_text_splits(path, options, requested, log)
        _note_tagged(next(iter(found.values()), ()), log)
        return found

    def find_all(self, path: Path, log: Report) -> Spans:
        """All of a file, or of many that are one text."""
        _note_table(path, log)
        found = find_all_text(path, log)
        _note_tagged(found, log)
        return found

    def open(
        self, name: str, texts: Mapping[str, Spans], options: TextOptions, vocabulary: Vocabulary | None, log: Report
    ) -> Corpus:
        """The corpus of some texts by split, prepared once and kept in the cache."""
        return open_word_corpus(
            name,
            texts,
            vocabulary=own_vocabulary(vocabulary, WordVocabulary),
            fixed=own_vocabulary(options.fixed, WordVocabulary),
            order=options.order,
            order_seed=1 if options.order_seed is None else options.order_seed,
            ties=options.ties,
            min_count=options.min_count,
            max_words=options.max_words,
            vocabulary_from=options.vocabulary_from,
            preparation=_preparation(options),
            errors=options.errors,
            workers=options.workers,
            log=log,
        )

    def survey(self, corpus: Corpus) -> dict[str, dict[str, Any]]:
        """Literal `<unk>`, empty and very long lines, and lines that also occur in `train`."""
        return word_figures(corpus)


def _preparation(options: TextOptions) -> Preparation:
    return Preparation(options.lowercase, options.tokenise, options.normalise)


def _note_tagged(text: Spans, log: Report) -> None:
    """Log that tagged sentences are read as plain text, judged by the first lines of a text."""
    head = next(blocks(text[:1], "replace"), "").split("\n")[:HEAD_LINES]
    beside = None
    if begin_as_trees(head):
        beside = "the brackets and labels of its trees"
    elif text and in_conllu(str(text[0].path), head):
        beside = "the columns of CoNLL-U"
    if beside is not None:
        log(
            f"{text[0].path}: is read as plain text, with {beside}; extract the words first, or train a tagger, which "
            "reads words and tags: refrain train pos-default"
        )


def _note_table(path: Path, log: Report) -> None:
    note = table_note(path)
    if note is not None and path.is_file():
        log(note)
