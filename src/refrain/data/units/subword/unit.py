"""Subwords as a unit: text whose words are divided into pieces, by a tokenizer that is given or trained on the text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...corpus import Corpus
from ...text.files import Spans
from ..encoded import Encoded, open_encoded_corpus
from ..line_figures import line_figures
from ..protocol import Vocabulary
from ..text_splits import find_all_text, find_text_splits, holds_splits
from ..unit import Report, TextOptions, not_in_a_file, own_vocabulary
from .files import read_tokenizer
from .tokenizers import SentencePieceTokenizer, package
from .training import train_pieces
from .vocabulary import SubwordVocabulary, subword_vocabulary_from


class SubwordUnit:
    """The unit `subword`; see `Unit` for the methods."""

    exchangeable = False
    in_bytes = True
    read_vocabulary = staticmethod(not_in_a_file)
    vocabulary_from = staticmethod(subword_vocabulary_from)
    names_splits = staticmethod(holds_splits)
    find_splits = staticmethod(find_text_splits)
    find_all = staticmethod(find_all_text)
    survey = staticmethod(line_figures)

    def open(
        self, name: str, texts: Mapping[str, Spans], options: TextOptions, vocabulary: Vocabulary | None, log: Report
    ) -> Corpus:
        """The corpus of some texts by split, prepared once and kept in the cache."""
        vocabulary = own_vocabulary(vocabulary or options.fixed, SubwordVocabulary)
        if vocabulary is None and options.tokens is not None:
            vocabulary = SubwordVocabulary(read_tokenizer(Path(options.tokens)))
        settings: dict[str, Any] = {
            "pieces": options.pieces,
            "piece_model": options.piece_model,
            "piece_seed": options.piece_seed,
        }
        if vocabulary is None:
            # a corpus in the cache needs the package too, and its absence is no damage
            package("sentencepiece")
        else:
            settings = {"kind": vocabulary.tokenizer.kind, "sha256": vocabulary.sha256}
        return open_encoded_corpus(
            name,
            texts,
            subfolder="subwords",
            settings=settings,
            build=lambda folder: Encoded(_trained(texts["train"], options, log)),
            read=subword_vocabulary_from,
            vocabulary=vocabulary,
            errors=options.errors,
            workers=options.workers,
            log=log,
        )


def _trained(text: Spans, options: TextOptions, log: Report) -> SubwordVocabulary:
    """The vocabulary of pieces that are trained on a text."""
    log(f"training {options.pieces:,} pieces ({options.piece_model})")
    model = train_pieces(text, options.errors, count=options.pieces, model=options.piece_model, seed=options.piece_seed)
    found = SubwordVocabulary(SentencePieceTokenizer(model))
    if len(found) < options.pieces:
        log(f"the text has {len(found):,} pieces instead of {options.pieces:,}")
    return found
